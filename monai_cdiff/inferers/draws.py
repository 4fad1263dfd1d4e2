"""How many samples an image gets, and what becomes of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import torch

__all__ = ["Draws", "average", "moments"]


@dataclasses.dataclass(frozen=True)
class Draws:
    """The samples of an image.

    Args:
        count: how many.
        mirrored: whether their noise comes in mirrored pairs.
        combine: what becomes of them.
    """

    count: int
    mirrored: bool
    combine: Callable[[Iterator[torch.Tensor]], list[torch.Tensor]]


def average(images: Iterator[torch.Tensor]) -> list[torch.Tensor]:
    """The mean, updated image by image: where all agree it is what they agree on, to the bit."""
    mean = next(images)
    for count, image in enumerate(images, start=2):
        mean = mean + (image - mean) / count
    return [mean]


def moments(images: Iterator[torch.Tensor]) -> list[torch.Tensor]:
    """Mean and standard deviation, one image at a time (Welford 1962, doi:10.1080/00401706.1962.10490022)."""
    mean, count = next(images), 1
    squares = torch.zeros_like(mean)
    for image in images:
        count += 1
        change = image - mean
        mean = mean + change / count
        squares += change * (image - mean)
    return [mean, (squares / (count - 1)).sqrt()]
