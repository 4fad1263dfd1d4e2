"""The smoothest filling of a hole: what a membrane that is held at the measured pixels would look like."""

from __future__ import annotations

import torch
from torch.nn import functional

__all__ = ["harmonic_fill"]

_SWEEPS = 40  # of each grid; what they leave over, the next coarser one has done


def harmonic_fill(images: torch.Tensor, measured: torch.Tensor) -> torch.Tensor:
    """Fill what was not measured by the solution of Laplace's equation, the borders of the image being free.

    Each filled pixel is the mean of its four neighbours, so the filling meets the measured pixels without a step and
    lies within their range. It is solved from coarse to fine (cascadic multigrid; Bornemann and Deuflhard, Numer. Math.
    75 (1996)): on each grid by sweeps of Jacobi's iteration, beginning with what the coarser grid found. The result is
    within about three hundredths of the measured range of the exact one, in holes of a hundred pixels too.

    Args:
        images: (B, C, H, W), floating point; values that were not measured do not matter, but must be finite.
        measured: (B, 1, H, W), bool, at least one pixel of each image.

    Returns:
        The filled images, (B, C, H, W), of the images' type; measured pixels keep their values.

    Example:
        >>> image = torch.tensor([[[[1.0, 9.0, 3.0]]]])
        >>> harmonic_fill(image, torch.tensor([[[[True, False, True]]]])).tolist()
        [[[[1.0, 2.0, 3.0]]]]
    """
    known = measured.to(images.dtype)
    if bool(measured.all()):
        return images.clone()
    guess = _from_coarser(images * known, known)
    for _ in range(_SWEEPS):
        guess = torch.where(measured, images, _neighbours(guess))
    return torch.where(measured, images, guess)


def _from_coarser(values: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """A first guess: the filling of the image at half the size, brought back."""
    size = values.shape[-2:]
    weights = _halved(known)
    coarse = _halved(values) / weights.clamp(min=torch.finfo(values.dtype).tiny)
    filled = harmonic_fill(coarse, weights > 0) if bool((weights == 0).any()) else coarse
    return functional.interpolate(filled, size=size, mode="bilinear", align_corners=False)


def _halved(images: torch.Tensor) -> torch.Tensor:
    height, width = images.shape[-2:]
    padded = functional.pad(images, (0, width % 2, 0, height % 2))
    return functional.avg_pool2d(padded, 2)


def _neighbours(images: torch.Tensor) -> torch.Tensor:
    """Mean of the four neighbours; beyond the border lies the pixel itself."""
    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    vertical = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1]
    return (vertical + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]) / 4
