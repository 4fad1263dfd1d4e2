"""A network with the further arguments of one call of an inferer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn.modules.conv import _ConvNd

__all__ = ["NetworkCall"]


class NetworkCall:
    """Calls a network with arguments that follow the items of a batch, and knows what it takes and returns.

    Args:
        network: called ``network(x, timesteps, *args, **kwargs)``.
        args: its further arguments; a tensor with ``count`` entries has one per input.
        kwargs: further ones by name.
        count: inputs of the call.
    """

    def __init__(
        self, network: Callable[..., torch.Tensor], args: Sequence[Any], kwargs: Mapping[str, Any], count: int
    ) -> None:
        self._network, self._args, self._kwargs, self._count = network, args, kwargs, count
        weights = network.parameters() if isinstance(network, torch.nn.Module) else ()
        self._weights = [weight for weight in weights if weight.is_floating_point()]
        self._dtypes = {weight.dtype for weight in self._weights}

    def __call__(self, x: torch.Tensor, timesteps: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
        """Predict for items.

        Args:
            x: shape (N, C, ...).
            timesteps: shape (N,).
            of: the input that each item belongs to, shape (N,).

        Returns:
            The prediction in float32, shape (N, channels, ...).

        Raises:
            ValueError: if the network returns anything else.
        """
        dtype = next(iter(self._dtypes)) if len(self._dtypes) == 1 else x.dtype
        args, kwargs = self.arguments(of)
        output = self._network(x.to(dtype), timesteps, *args, **kwargs)
        wanted = (len(x), self.channels, *x.shape[2:])
        if not isinstance(output, torch.Tensor) or output.shape != wanted:
            got = f"shape {tuple(output.shape)}" if isinstance(output, torch.Tensor) else type(output).__name__
            raise ValueError(
                f"network returned {got} for {tuple(x.shape)}; expected {wanted}, with {self.channels} channels as its "
                "out_channels says (1 if it says nothing)."
            )
        return output.float()

    def arguments(self, of: torch.Tensor) -> tuple[list[Any], dict[str, Any]]:
        """The further arguments for items of the inputs ``of``, shape (N,)."""
        args = [self._part(value, of) for value in self._args]
        return args, {name: self._part(value, of) for name, value in self._kwargs.items()}

    def _part(self, value: Any, of: torch.Tensor) -> Any:
        if isinstance(value, torch.Tensor) and value.ndim and len(value) == self._count:
            return value[of.to(value.device)]
        return value

    def _says(self, name: str) -> Any:
        """What the network, or the one inside it, says of itself; None if nothing."""
        return getattr(getattr(self._network, "module", self._network), name, None)

    @property
    def channels(self) -> int:
        """Channels of the image."""
        return self._says("out_channels") or 1

    @property
    def spatial_dims(self) -> int | None:
        """Dimensions of the images it takes: as it says, or as all its convolutions are; None if unknown."""
        said = self._says("spatial_dims")
        if said is not None or not isinstance(self._network, torch.nn.Module):
            return said
        kinds = {module.weight.ndim - 2 for module in self._network.modules() if isinstance(module, _ConvNd)}
        return kinds.pop() if len(kinds) == 1 else None

    @property
    def device(self) -> torch.device | None:
        """Where its weights are; None if it has none."""
        return self._weights[0].device if self._weights else None

    def check_channels(self, items: Any) -> None:
        """Refuse items whose channels are not what the network takes."""
        condition = items[:1].shape[1]
        if condition < self.channels:
            raise ValueError(f"inputs has {condition} channels; the network restores out_channels={self.channels}.")
        taken = self._says("in_channels")
        if taken is not None and taken != self.channels + condition:
            raise ValueError(
                f"inputs has {condition} channels; with the {self.channels} of the noisy image that makes "
                f"{self.channels + condition}, but the network takes in_channels={taken}."
            )
