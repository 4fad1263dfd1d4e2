"""Which slices stand beside a slice, and in which order: the same in training and in restoration."""

from __future__ import annotations

__all__ = ["with_neighbours"]


def with_neighbours(place: int, count: int, depth: int) -> list[int]:
    """A slice and its neighbours: itself, nearest before, nearest after, next before and so on.

    Args:
        place: number of the slice, from 0.
        count: neighbours on either side; beyond the ends the last slice is repeated.
        depth: slices of the volume.

    Example:
        >>> with_neighbours(1, 2, 5)
        [1, 0, 2, 0, 3]
    """
    places = [place]
    for distance in range(1, count + 1):
        places += [max(place - distance, 0), min(place + distance, depth - 1)]
    return places
