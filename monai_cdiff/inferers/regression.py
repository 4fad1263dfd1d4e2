"""One call without noise: the rival that every generative restoration has to be compared with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type

from ..networks import Parameterization
from ..utils import as_plain, autocast, check_finite, check_flag, check_integer, content_key, item_generators
from .chain import Hook
from .keys import item_keys

__all__ = ["RegressionInferer"]


class RegressionInferer(Inferer):
    """Restores by a network that was trained to return the image, or its residual, from the degraded image alone.

    It stands where :py:class:`RestorationInferer` stands; the network is the same but for the noisy image, which it
    does not get.

    Args:
        parameterization: what the network returns: the image or the scaled residual to the condition.
        amp: run the network under autocast.
        consistency: function ``hook(image, inputs) -> image`` that makes the image agree with what was measured.
        seed: give the network one generator per item as ``generator``, seeded by this number and the item's key, so
            that one with noise of its own draws a restoration; None for the network's deterministic output.

    Raises:
        ValueError: for an argument outside what is allowed.

    Example:
        >>> import torch
        >>> restore = RegressionInferer(Parameterization("sample", target="residual"))
        >>> restore(torch.ones(1, 1, 4, 4), torch.zeros_like).sum().item()
        16.0
    """

    num_samples = 1

    def __init__(
        self,
        parameterization: Parameterization,
        amp: bool = False,
        consistency: Hook | None = None,
        seed: int | None = None,
    ) -> None:
        self.parameterization = parameterization
        self.amp = check_flag("amp", amp)
        if consistency is not None and not callable(consistency):
            raise ValueError(f"consistency={consistency!r} must be a function or None.")
        self.consistency = consistency
        self.seed = None if seed is None else check_integer("seed", seed, 0)

    @torch.no_grad()
    def __call__(
        self,
        inputs: torch.Tensor,
        network: Callable[..., torch.Tensor],
        *args: Any,
        keys: Sequence[int | str] | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Restore a batch of degraded images.

        Args:
            inputs: degraded images, normalised as in training: (B, C, H, W) or (B, C, H, W, D).
            network: called ``network(inputs, *args, **kwargs)``.
            args: passed on to the network.
            keys: one per item, what its noise depends on besides ``seed``; else its metadata or its content are.
            kwargs: passed on to the network.

        Returns:
            Restored images (B, C_out, H, W[, D]), of the device, floating type and metadata of ``inputs``.

        Raises:
            ValueError: if the inputs or what the network returns hold NaN, there is not one key per item, or a network
                without noise is given a seed.
        """
        condition = check_finite("inputs", as_plain(inputs))
        if self.seed is not None:
            kwargs["generator"] = self._generators(inputs, condition, network, keys)
        with autocast(condition.device, self.amp):
            value = network(condition, *args, **kwargs)
        image = self.parameterization.decode(check_finite("the network's output", value.float()), condition)
        if self.consistency is not None:
            image = self.consistency(image, condition)
        return convert_to_dst_type(image.to(condition.dtype), dst=inputs, dtype=condition.dtype)[0]

    def _generators(
        self, inputs: torch.Tensor, condition: torch.Tensor, network: Any, keys: Sequence[int | str] | None
    ) -> list[torch.Generator]:
        called = getattr(network, "module", network)
        if "generator" not in inspect.signature(getattr(called, "forward", called)).parameters:
            raise ValueError(
                f"seed={self.seed!r} was given, but {type(called).__name__} has no noise to draw: its call takes no "
                "generator."
            )
        known = item_keys(inputs, keys)
        names = [content_key(item) if key is None else key for key, item in zip(known, condition)]
        return item_generators(self.seed or 0, names)
