"""Images of any size for networks whose coarsest grid asks for a multiple."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

__all__ = ["crop_to_size", "pad_to_multiple"]


def pad_to_multiple(x: torch.Tensor, multiple: int) -> torch.Tensor:
    """Repeat the border until each axis is a multiple.

    At the far end only, so that the grid of the coarser levels keeps its origin whatever the size.

    Args:
        x: shape (B, C, H, W[, D]).
        multiple: what each size is to be a multiple of, from 1.

    Returns:
        ``x`` itself where nothing is missing, else a larger tensor that begins with ``x``.

    Example:
        >>> pad_to_multiple(torch.zeros(1, 1, 5, 8), 4).shape
        torch.Size([1, 1, 8, 8])
    """
    missing = [-length % multiple for length in x.shape[2:]]
    if not any(missing):
        return x
    return F.pad(x, [side for pad in reversed(missing) for side in (0, pad)], mode="replicate")


def crop_to_size(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Take what :func:`pad_to_multiple` added away again.

    Args:
        x: shape (B, C, H, W[, D]).
        size: (H', W'[, D']), along no axis more than ``x`` has.

    Returns:
        ``x`` itself where it has that size, else its near end, contiguous.

    Example:
        >>> crop_to_size(torch.zeros(1, 1, 8, 8), (5, 8)).shape
        torch.Size([1, 1, 5, 8])
    """
    if x.shape[2:] == torch.Size(size):
        return x
    for axis, length in enumerate(size, start=2):
        x = x.narrow(axis, 0, length)
    return x.contiguous()
