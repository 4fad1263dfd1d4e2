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
from .call import NetworkCall
from .chain import Hook
from .keys import item_keys
from .slices import SliceSettings, slice_pass

__all__ = ["RegressionInferer"]


class RegressionInferer(Inferer):
    """Restores by a network that was trained to return the image, or its residual, from the degraded image alone.

    It stands where :py:class:`RestorationInferer` stands; the network is the same but for the noisy image, which it
    does not get. Volumes go through a network for 2-D images slice by slice, along the last axis.

    Args:
        parameterization: what the network returns: the image or the scaled residual to the condition.
        amp: run the network under autocast.
        consistency: function ``hook(image, inputs) -> image`` that makes the image agree with what was measured.
        seed: give the network one generator per item as ``generator``, seeded by this number and the item's key, so
            that one with noise of its own draws a restoration; None for the network's deterministic output.
        batch_size: most slices of volumes in one network call.
        neighbours: slices on either side that a network for 2-D images sees, as in :py:class:`SliceSettings`.

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
        batch_size: int = 16,
        neighbours: int = 0,
    ) -> None:
        self.parameterization = parameterization
        self.amp = check_flag("amp", amp)
        if consistency is not None and not callable(consistency):
            raise ValueError(f"consistency={consistency!r} must be a function or None.")
        self.consistency = consistency
        self.seed = None if seed is None else check_integer("seed", seed, 0)
        self.batch_size = check_integer("batch_size", batch_size, 1)
        self.slices = SliceSettings(neighbours=neighbours)

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
            inputs: degraded images, normalised as in training: (B, C, H, W), or (B, C, H, W, D) for a 3-D network or,
                slice by slice, a 2-D one.
            network: called ``network(inputs, *args, **kwargs)``.
            args: passed on to the network; tensors with one entry per item of ``inputs`` go with their items.
            keys: one per item, what its noise depends on besides ``seed``; else its metadata or its content are.
            kwargs: passed on as ``args`` are.

        Returns:
            Restored images (B, C_out, H, W[, D]), of the device, floating type and metadata of ``inputs``.

        Raises:
            ValueError: if the inputs or what the network returns hold NaN, there is not one key per item, or a network
                without noise is given a seed.
        """
        condition, known = check_finite("inputs", as_plain(inputs)), item_keys(inputs, keys)
        call = NetworkCall(network, args, kwargs, len(condition))
        if condition.ndim == 5 and call.spatial_dims == 2:
            found = slice_pass(condition, known, 2, self.slices)
            origin = torch.arange(len(found.items)) // found.per_input
            parts = [slice(n, n + self.batch_size) for n in range(0, len(found.items), self.batch_size)]
            images = [
                self._restore(found.items[part], found.keys[part], network, *call.arguments(origin[part]))
                for part in parts
            ]
            image = found.assemble(torch.cat(images))
        else:
            image = self._restore(condition, known, network, args, kwargs)
        return convert_to_dst_type(image.to(condition.dtype), dst=inputs, dtype=condition.dtype)[0]

    def _restore(
        self, condition: torch.Tensor, keys: Sequence[Any], network: Any, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> torch.Tensor:
        if self.seed is not None:
            kwargs = {**kwargs, "generator": self._generators(condition, network, keys)}
        with autocast(condition.device, self.amp):
            value = network(condition, *args, **kwargs)
        image = self.parameterization.decode(check_finite("the network's output", value.float()), condition)
        return image if self.consistency is None else self.consistency(image, condition)

    def _generators(self, condition: torch.Tensor, network: Any, keys: Sequence[Any]) -> list[torch.Generator]:
        called = getattr(network, "module", network)
        if "generator" not in inspect.signature(getattr(called, "forward", called)).parameters:
            raise ValueError(
                f"seed={self.seed!r} was given, but {type(called).__name__} has no noise to draw: its call takes no "
                "generator."
            )
        names = [content_key(item) if key is None else key for key, item in zip(keys, condition)]
        return item_generators(self.seed or 0, names)
