"""What degrades an image, as tensors in and tensors out, with its pseudo-inverse where it has one."""

from __future__ import annotations

from .downsampling import (
    UPSAMPLE_MODES,
    downsample,
    downsample_upsample,
    high_resolution_size,
    low_resolution_size,
    upsample,
)
from .projection import match_low_resolution, recover_low_resolution

__all__ = [
    "UPSAMPLE_MODES",
    "downsample",
    "downsample_upsample",
    "high_resolution_size",
    "low_resolution_size",
    "match_low_resolution",
    "recover_low_resolution",
    "upsample",
]
