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
from .harmonic import harmonic_fill
from .masks import FILLS, check_area, check_shapes, draw_mask, fill_masked
from .noise import gaussian_salt_pepper
from .projection import match_low_resolution, recover_low_resolution

__all__ = [
    "FILLS",
    "UPSAMPLE_MODES",
    "check_area",
    "check_shapes",
    "downsample",
    "downsample_upsample",
    "draw_mask",
    "fill_masked",
    "harmonic_fill",
    "gaussian_salt_pepper",
    "high_resolution_size",
    "low_resolution_size",
    "match_low_resolution",
    "recover_low_resolution",
    "upsample",
]
