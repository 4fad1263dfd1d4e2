"""Dynamic thresholding of a predicted image."""

from __future__ import annotations

import math

import torch

__all__ = ["dynamic_threshold"]


def dynamic_threshold(x0: torch.Tensor, quantile: float, low: float, high: float) -> torch.Tensor:
    """Scale each item back into a range by a quantile of its distance from the middle (arXiv:2205.11487, section 2.3).

    With ``s`` the quantile of ``|x0|`` on a range of [-1, 1], an item with ``s > 1`` is clamped to ``[-s, s]`` and
    divided by ``s``; another is clamped to the range.

    Args:
        x0: predicted images, shape (B, ...).
        quantile: from 0 to 1.
        low: lower end of the range.
        high: upper end of the range.

    Returns:
        Images of the same shape within the range.
    """
    middle, half = (high + low) / 2, (high - low) / 2
    centred = (x0 - middle) / half
    # kthvalue, since torch.quantile refuses tensors of more than 16 million values
    distance = centred.abs().flatten(1)
    rank = quantile * (distance.shape[1] - 1)
    below, above = (distance.kthvalue(k + 1, dim=1).values for k in (math.floor(rank), math.ceil(rank)))
    scale = torch.lerp(below, above, rank - math.floor(rank)).clamp(min=1).view(-1, *[1] * (x0.ndim - 1))
    return centred.clamp(-scale, scale) / scale * half + middle
