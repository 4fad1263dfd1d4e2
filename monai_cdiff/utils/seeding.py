"""Keyed randomness: what is drawn for an item depends on a seed and the item's key, and on nothing else.

A generator that is shared by a batch makes the noise of an item depend on its neighbours. Here every item has a
generator of its own, seeded by a hash of what identifies it, so batch size, order and number of processes do not
matter. Generators live on the CPU: the same seed gives the same numbers on every device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

from .transfer import to_device

__all__ = ["Generators", "NoiseSource", "content_key", "derive_seed", "item_generators", "randn"]


class NoiseSource:
    """Noise of one item that is not independent of another's: partly shared, or turned over.

    A draw is ``sign (sqrt(c) shared + sqrt(1 - c) own)``: standard normal as an independent one, with correlation
    ``c`` between all items that share, and mirrored between the two items of a pair with opposite signs.

    Args:
        own: generator of the item alone.
        shared: generator in the same state for all items that share; needed for a correlation above 0.
        correlation: from 0 (independent) to 1 (the same noise).
        sign: 1.0 or -1.0.
    """

    def __init__(
        self,
        own: torch.Generator,
        shared: torch.Generator | None = None,
        correlation: float = 0.0,
        sign: float = 1.0,
    ) -> None:
        self.own, self.shared, self.correlation, self.sign = own, shared, correlation, sign

    def draw(self, shape: Sequence[int]) -> torch.Tensor:
        """Standard normal noise of a shape, from the CPU."""
        noise = torch.randn(tuple(shape), generator=self.own)
        if self.shared is not None and self.correlation > 0:
            common = torch.randn(tuple(shape), generator=self.shared)
            noise = self.correlation**0.5 * common + (1 - self.correlation) ** 0.5 * noise
        return self.sign * noise


Generators = torch.Generator | Sequence[torch.Generator | NoiseSource] | None


def derive_seed(*parts: int | str) -> int:
    """Hash numbers and strings into one seed.

    Args:
        parts: what identifies the draw, for example ``(seed, iteration, item)`` or ``(seed, "subject-1:slice-12")``.

    Returns:
        A number from 0 to 2^63 - 1; the same on every machine and in every process.

    Example:
        >>> derive_seed(0, "a") == derive_seed(0, "a"), derive_seed(0, "a") == derive_seed(1, "a")
        (True, False)
    """
    text = "\x1f".join(f"s{part}" if isinstance(part, str) else f"i{int(part)}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def item_generators(seed: int, keys: Sequence[int | str]) -> list[torch.Generator]:
    """One CPU generator per item, seeded by ``(seed, key)``."""
    return [torch.Generator().manual_seed(derive_seed(seed, key)) for key in keys]


def randn(
    shape: Sequence[int],
    generator: Generators = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Standard normal noise; with a list of generators, one for each item of the batch.

    Args:
        shape: shape of the result, batch first.
        generator: one generator for the whole batch, or one per item (``len(generator) == shape[0]``).
        device: device of the result; drawing happens on the generator's own device.
        dtype: floating point type of the result; half types are drawn in float32 and rounded.

    Raises:
        ValueError: if the number of generators is not the batch size.
    """
    if generator is None or isinstance(generator, torch.Generator):
        source = device if generator is None else generator.device
        return to_device(torch.randn(tuple(shape), generator=generator, device=source), device, dtype)
    if len(generator) != shape[0]:
        raise ValueError(f"generator holds {len(generator)} generators for a batch of {shape[0]}; give one per item.")
    draws = [
        item.draw(shape[1:])
        if isinstance(item, NoiseSource)
        else torch.randn(tuple(shape[1:]), generator=item, device=item.device)
        for item in generator
    ]
    return to_device(torch.stack(draws), device, dtype)


def content_key(item: torch.Tensor) -> str:
    """A key made from the values of one item (no batch axis), for items that carry no other."""
    array = item.detach().to(device="cpu", dtype=torch.float32).contiguous().numpy()
    return hashlib.blake2b(array.tobytes(), digest_size=16).hexdigest()
