"""What the operators share: which axes of a tensor are meant, and in which type to compute."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..utils import check_integer

__all__ = ["checked_axes", "compute_dtype", "result_dtype"]


def checked_axes(name: str, image: torch.Tensor, spatial_axes: Sequence[int]) -> list[int]:
    """The axes of the tensor that ``spatial_axes`` means."""
    if image.ndim not in (4, 5):
        raise ValueError(f"{name} of shape {tuple(image.shape)} must be (B, C, H, W) or (B, C, H, W, D).")
    if image.is_complex():
        raise TypeError(f"{name} of type {image.dtype} must be real; give its magnitude.")
    axes = [check_integer("spatial_axes", axis, 0, image.ndim - 3) + 2 for axis in spatial_axes]
    if not axes or len(set(axes)) < len(axes):
        raise ValueError(f"spatial_axes={tuple(spatial_axes)} must name at least one axis, and each only once.")
    return axes


def compute_dtype(image: torch.Tensor) -> torch.dtype:
    """The type to compute in: float64 for it, else float32."""
    return torch.float64 if image.dtype == torch.float64 else torch.float32


def result_dtype(image: torch.Tensor) -> torch.dtype:
    """The type of the result: the image's if it is floating, else float32."""
    return image.dtype if image.is_floating_point() else torch.float32
