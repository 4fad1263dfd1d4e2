"""Volumes through a network for 2-D images: which axis is cut, what a slice sees, and how much noise slices share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from ..utils import check_integer, check_number, content_key, with_neighbours

__all__ = ["Pass", "SliceSettings", "SliceStack", "slice_pass"]


@dataclasses.dataclass(frozen=True)
class SliceSettings:
    """How a network for 2-D images restores volumes.

    Args:
        axis: the spatial axis that is cut, 0 to 2 or -3 to -1; several give one restoration of the volume along each,
            and their average is returned: less noise, and no axis has jumps of its own.
        noise_correlation: correlation of the noise between the slices of a volume, from 0 (each slice its own) to 1
            (all the same). More of it means fewer jumps from slice to slice.
        neighbours: slices on either side that the network sees as further channels of the condition, in the order
            nearest before, nearest after, next before and so on; at the ends the last slice is repeated. The network
            must have been trained so.

    Raises:
        ValueError: for an argument outside what is allowed, with its name and value.

    Example:
        >>> SliceSettings(axis=0, noise_correlation=0.5).axes
        (0,)
    """

    axis: int | Sequence[int] = -1
    noise_correlation: float = 0.0
    neighbours: int = 0
    axes: tuple[int, ...] = dataclasses.field(init=False, repr=False)  # from 0 to 2, in the order they are cut

    def __post_init__(self) -> None:
        several = isinstance(self.axis, Sequence) and not isinstance(self.axis, str)
        axes = self.axis if several else [self.axis]
        found = tuple(check_integer("axis", axis, -3, 2) % 3 for axis in axes)  # type: ignore[union-attr]
        if not found or len(set(found)) < len(found):
            raise ValueError(f"axis={self.axis!r} must name at least one axis, and each only once.")
        object.__setattr__(self, "axes", found)
        object.__setattr__(self, "noise_correlation", check_number("noise_correlation", self.noise_correlation, 0, 1))
        object.__setattr__(self, "neighbours", check_integer("neighbours", self.neighbours, 0))


class SliceStack:
    """The items of a batch of volumes along one axis, cut only when they are asked for.

    Args:
        volumes: shape (B, C, H, W, D).
        axis: the spatial axis that is cut, from 0 to 2.
        neighbours: slices on either side that are further channels.
    """

    def __init__(self, volumes: torch.Tensor, axis: int, neighbours: int = 0) -> None:
        self.axis, self.neighbours = axis, neighbours
        self._moved = volumes.movedim(axis + 2, 1)  # (B, slices, C, ...)

    @property
    def per_volume(self) -> int:
        """Slices of a volume."""
        return self._moved.shape[1]

    def __len__(self) -> int:
        return self._moved.shape[0] * self.per_volume

    def __getitem__(self, chosen: slice) -> torch.Tensor:
        """Some of the items, shape (N, C (1 + 2 neighbours), ...)."""
        return torch.stack([self._item(*divmod(i, self.per_volume)) for i in range(*chosen.indices(len(self)))])

    def _item(self, volume: int, place: int) -> torch.Tensor:
        return self._moved[volume, with_neighbours(place, self.neighbours, self.per_volume)].flatten(0, 1)

    def assemble(self, items: torch.Tensor) -> torch.Tensor:
        """Volumes (B, C_out, H, W, D) of restored items (N, C_out, ...)."""
        return items.unflatten(0, (self._moved.shape[0], self.per_volume)).movedim(1, self.axis + 2)


class Pass(NamedTuple):
    """Items to restore, and how they become what was asked for.

    Args:
        items: (N, C, ...), or a stack that is cut as needed.
        keys: key of each item, None for one that only its content identifies.
        shared_keys: key of the noise that it shares with other items.
        correlation: of the noise of items with one shared key.
        channels: channels of an item that are its own; further ones are its neighbours'.
        per_input: items of each input.
        assemble: from the restored items to the result.
    """

    items: torch.Tensor | SliceStack
    keys: list[Any]
    shared_keys: list[Any]
    correlation: float
    channels: int
    per_input: int
    assemble: Callable[[torch.Tensor], torch.Tensor]


def slice_pass(volumes: torch.Tensor, keys: Sequence[Any], axis: int, settings: SliceSettings) -> Pass:
    """The slices of volumes along an axis, with their keys.

    Args:
        volumes: shape (B, C, H, W, D).
        keys: one per volume, or None.
        axis: the spatial axis that is cut, from 0 to 2.
        settings: what the slices see and share.
    """
    stack = SliceStack(volumes, axis, settings.neighbours)
    place = "" if axis == 2 else f"/{axis}"
    own = [None if key is None else f"{key}{place}:{z}" for key in keys for z in range(stack.per_volume)]
    shared: list[Any] = own
    if settings.noise_correlation:
        names = [content_key(volume) if key is None else key for key, volume in zip(keys, volumes)]
        shared = [f"all slices of {name}{place}" for name in names for _ in range(stack.per_volume)]
    correlation = settings.noise_correlation
    return Pass(stack, own, shared, correlation, volumes.shape[1], stack.per_volume, stack.assemble)
