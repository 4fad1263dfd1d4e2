"""The convolution between two levels of a U-Net."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["halve"]


def halve(conv: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Apply a convolution of kernel 3, stride 2 and padding 1.

    On CPUs with AMX, torch 2.14 returns unwritten memory for such a convolution in bfloat16 where one voxel remains
    along the last axis. The zeros that are appended there are those the padding has anyway, so the result is the same.

    Args:
        conv: the convolution.
        x: shape (B, C, H, W[, D]).

    Returns:
        The features of the next level, half as many along each axis, rounded up.
    """
    if x.device.type == "cpu" and x.shape[-1] < 3:
        return conv(F.pad(x, (0, 3 - x.shape[-1])))[..., :1]
    return conv(x)
