"""Loss of resolution, in the image domain or in k-space, and the way back to the finer grid.

All grids here cover the same field of view: along an axis of ``n`` fine and ``m`` coarse pixels, the centre of the
coarse pixel ``j`` lies at ``(j + 0.5) n / m - 0.5`` in fine pixels, in both domains. So an image can be degraded in
one domain and brought back in another without a shift, for any ``n / m``.

All operations are linear, separable over the axes and differentiable, and run on the device of their input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

from ..utils import DownsampleDomain, check_integer, check_number, check_option
from .axes import checked_axes, compute_dtype, result_dtype

__all__ = [
    "UPSAMPLE_MODES",
    "downsample",
    "downsample_upsample",
    "high_resolution_size",
    "low_resolution_size",
    "upsample",
]

UPSAMPLE_MODES = ("bilinear", "bicubic", "nearest-exact", "kspace")


def low_resolution_size(size: Sequence[int], factor: float) -> tuple[int, ...]:
    """Size of the grid that is coarser by ``factor``: ``max(1, round(n / factor))`` along each axis.

    Args:
        size: pixels along each axis, each at least 1.
        factor: how much coarser, a finite number more than 1, not necessarily whole.

    Returns:
        As many whole numbers as ``size`` has, each at least 1.

    Raises:
        ValueError: if ``factor`` is not a finite number more than 1, or a size is not a whole number above 0.

    Example:
        >>> low_resolution_size((128, 100), 2 * 2**0.5)
        (45, 35)
    """
    factor = check_number("factor", factor, 1.0, open_low=True)
    return tuple(max(1, round(check_integer("size", n, 1) / factor)) for n in size)


def high_resolution_size(size: Sequence[int], factor: float) -> tuple[int, ...]:
    """Size of the grid that is finer by ``factor``: ``round(n * factor)`` along each axis.

    Args:
        size: pixels along each axis, each at least 1.
        factor: how much finer, a finite number more than 1, not necessarily whole.

    Returns:
        As many whole numbers as ``size`` has.

    Raises:
        ValueError: if ``factor`` is not a finite number more than 1, or a size is not a whole number above 0.

    Example:
        >>> high_resolution_size((45, 35), 2 * 2**0.5)
        (127, 99)
    """
    factor = check_number("factor", factor, 1.0, open_low=True)
    return tuple(round(check_integer("size", n, 1) * factor) for n in size)


def downsample(
    image: torch.Tensor,
    factor: float | None = None,
    size: Sequence[int] | None = None,
    domain: str = DownsampleDomain.IMAGE,
    spatial_axes: Sequence[int] = (0, 1),
) -> torch.Tensor:
    """Bring an image to a coarser grid, in-plane unless told otherwise.

    ``"image"`` is an anti-aliased linear resize. ``"kspace"`` keeps the centre of the Fourier transform along each
    axis, as a scanner does that samples less of it, with the phase ramp that keeps the fields of view aligned; the
    real part is taken and the mean preserved. What lies above the new Nyquist frequency is gone in both domains.

    Args:
        image: shape (B, C, H, W) or (B, C, H, W, D). Integers and half types are computed in float32.
        factor: how much coarser, a finite number more than 1; see :func:`low_resolution_size`.
        size: instead of ``factor``, the pixels along each of ``spatial_axes``, from 2 to what the image has.
        domain: ``"image"`` or ``"kspace"``.
        spatial_axes: the axes that lose resolution, numbered after batch and channel; ``(0, 1)`` is in-plane,
            ``(0, 1, 2)`` the whole volume.

    Returns:
        The image on the coarser grid, same number of axes; of the image's floating point type, float32 for integers.

    Raises:
        TypeError: if the image is complex.
        ValueError: if the image has neither 4 nor 5 axes, an axis does not exist, not exactly one of ``factor`` and
            ``size`` is given, either is out of range, fewer than 2 pixels would remain, or the domain is unknown.

    Example:
        >>> downsample(torch.ones(1, 1, 128, 128, 20), 4 * 2**0.5, domain="kspace").shape
        torch.Size([1, 1, 23, 23, 20])
    """
    domain = check_option("domain", domain, DownsampleDomain)
    axes = checked_axes("image", image, spatial_axes)
    plane = tuple(image.shape[axis] for axis in axes)
    if (factor is None) == (size is None):
        raise ValueError(f"factor={factor!r} and size={size!r}: exactly one of the two must be given.")
    if size is not None:
        target = _checked_size(size, [(2, n) for n in plane])
    else:
        target = low_resolution_size(plane, factor)  # type: ignore[arg-type]
        if min(target) < 2:
            raise ValueError(
                f"factor={factor!r} is too large for an image of {plane} pixels along spatial_axes="
                f"{tuple(spatial_axes)}: {target} would remain, at least 2 along each axis must."
            )
    return _resample(image, axes, target, "kspace" if domain == DownsampleDomain.KSPACE else "antialias")


def upsample(
    low: torch.Tensor, size: Sequence[int], mode: str = "bilinear", spatial_axes: Sequence[int] = (0, 1)
) -> torch.Tensor:
    """Bring an image to a finer grid of the same field of view, in-plane unless told otherwise.

    ``"kspace"`` fills the Fourier transform with zeros. It is the pseudo-inverse of
    ``downsample(..., domain="kspace")``: downsampling what it returns gives ``low`` again.

    Args:
        low: shape (B, C, h, w) or (B, C, h, w, D). Integers and half types are computed in float32.
        size: pixels along each of ``spatial_axes``, none fewer than ``low`` has.
        mode: ``"bilinear"``, ``"bicubic"``, ``"nearest-exact"`` or ``"kspace"``.
        spatial_axes: the axes that change, numbered after batch and channel.

    Returns:
        The image on the finer grid; of the floating point type of ``low``, float32 for integers.

    Raises:
        TypeError: if ``low`` is complex.
        ValueError: if ``low`` has neither 4 nor 5 axes, an axis does not exist, the size does not fit, or the mode
            is unknown.

    Example:
        >>> upsample(torch.ones(1, 1, 45, 45), (128, 128)).shape
        torch.Size([1, 1, 128, 128])
    """
    mode = check_option("mode", mode, UPSAMPLE_MODES)
    axes = checked_axes("low", low, spatial_axes)
    return _resample(low, axes, _checked_size(size, [(low.shape[axis], None) for axis in axes]), mode)


def downsample_upsample(
    image: torch.Tensor,
    factor: float,
    domain: str = DownsampleDomain.IMAGE,
    mode: str = "bilinear",
    spatial_axes: Sequence[int] = (0, 1),
) -> torch.Tensor:
    """Take resolution away and return to the original grid: the condition of super-resolution.

    Args:
        image: shape (B, C, H, W) or (B, C, H, W, D).
        factor: how much coarser the grid in between is, a finite number more than 1.
        domain: where resolution is taken away; see :func:`downsample`.
        mode: the interpolation on the way back; see :func:`upsample`.
        spatial_axes: the axes that lose resolution, numbered after batch and channel.

    Returns:
        The degraded image, shape of ``image``; of its floating point type, float32 for integers.

    Raises:
        TypeError: as :func:`downsample`.
        ValueError: as :func:`downsample` and :func:`upsample`.

    Example:
        >>> downsample_upsample(torch.ones(1, 1, 128, 100), 8).shape
        torch.Size([1, 1, 128, 100])
    """
    mode = check_option("mode", mode, UPSAMPLE_MODES)
    axes = checked_axes("image", image, spatial_axes)
    precise = image.to(compute_dtype(image))  # half types are rounded once, at the end
    low = downsample(precise, factor, domain=domain, spatial_axes=spatial_axes)
    return upsample(low, [image.shape[axis] for axis in axes], mode, spatial_axes).to(result_dtype(image))


def _checked_size(size: Sequence[int], limits: Sequence[tuple[int, int | None]]) -> tuple[int, ...]:
    if len(size) != len(limits):
        raise ValueError(f"size={tuple(size)} must hold {len(limits)} numbers, one for each of spatial_axes.")
    return tuple(check_integer("size", n, low, high) for n, (low, high) in zip(size, limits, strict=True))


def _resample(image: torch.Tensor, axes: Sequence[int], size: Sequence[int], mode: str) -> torch.Tensor:
    """Resample one axis after the other; the slices of a volume never mix."""
    result = image.to(compute_dtype(image), copy=True)
    for axis, target in zip(axes, size, strict=True):
        if target != result.shape[axis]:
            lines = result.movedim(axis, -1)
            lines = _fourier_lines(lines, target) if mode == "kspace" else _interpolate_lines(lines, target, mode)
            result = lines.movedim(-1, axis)
    return result.contiguous().to(result_dtype(image))


def _interpolate_lines(lines: torch.Tensor, size: int, mode: str) -> torch.Tensor:
    antialias = mode == "antialias"
    resized = functional.interpolate(
        lines.reshape(-1, 1, *lines.shape[-2:]),
        size=(lines.shape[-2], size),
        mode="bilinear" if antialias else mode,
        align_corners=None if mode == "nearest-exact" else False,
        antialias=antialias,
    )
    return resized.reshape(*lines.shape[:-1], size)


def _fourier_lines(lines: torch.Tensor, size: int) -> torch.Tensor:
    """Crop the spectrum or fill it with zeros; the ramp moves the samples to the pixel centres of the new grid.

    With ``x(p) = sum_k X_k exp(2 pi i k p / n) / n`` at ``p = (j + 0.5) n / m - 0.5``, each frequency is multiplied by
    ``exp(i pi k (1 / m - 1 / n))`` and the sum over ``j`` is an inverse transform of length ``m``.
    """
    n = lines.shape[-1]
    spectrum = torch.fft.rfft(lines)[..., : min(n, size) // 2 + 1]
    angle = math.pi * (1 / size - 1 / n) * torch.arange(spectrum.shape[-1], dtype=torch.float64)
    ramp = torch.polar(torch.full_like(angle, size / n), angle).to(device=spectrum.device, dtype=spectrum.dtype)
    return torch.fft.irfft(spectrum * ramp, n=size)
