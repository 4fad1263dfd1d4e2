"""Agreement of an image with its low-resolution version, exactly and with the least change.

Downsampling ``D`` and interpolation ``U`` of :mod:`.downsampling` are linear and separable, so along each axis they
are small matrices, taken here from the functions themselves, and the pseudo-inverse of the whole is the pseudo-inverse
along each axis. ``low = U^+ condition`` undoes the interpolation, and ``image + D^+ (low - D image)`` is the nearest
image whose downsampling is ``low``: what the change adds is orthogonal to all that ``D`` cannot see.

The pseudo-inverses are applied in float64, which neither autocast nor TF32 touches.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch

from ..utils import DownsampleDomain, check_number, check_option
from .axes import checked_axes, compute_dtype, result_dtype
from .downsampling import UPSAMPLE_MODES, downsample, low_resolution_size, upsample

__all__ = ["match_low_resolution", "recover_low_resolution"]

CACHED_MATRICES = 8  # of each kind; one of 512 x 256 pixels takes 1 MiB


def recover_low_resolution(
    condition: torch.Tensor,
    factor: float,
    mode: str = "bilinear",
    spatial_axes: Sequence[int] = (0, 1),
    tolerance: float = 1e-3,
) -> torch.Tensor:
    """The low-resolution image that was interpolated to ``condition``: the inverse of ``upsample``.

    It is the least-squares solution, exact for an image that :func:`upsample` made from the grid that ``factor``
    leaves. An image that no low-resolution image explains is refused, for example one made with another factor or
    mode, cropped after the interpolation, or clipped.

    Args:
        condition: the interpolated image, shape (B, C, H, W) or (B, C, H, W, D).
        factor: how much coarser the grid was, a finite number more than 1; see :func:`low_resolution_size`.
        mode: the interpolation, one of ``UPSAMPLE_MODES``.
        spatial_axes: the axes that were interpolated, numbered after batch and channel.
        tolerance: the most that may be left unexplained of each item, root mean square, relative to how much it varies.

    Returns:
        The image on the coarser grid; of the floating point type of ``condition``, float32 for integers.

    Raises:
        TypeError: if the condition is complex.
        ValueError: if the condition has neither 4 nor 5 axes or is not such an interpolation, an axis does not exist,
            the factor or tolerance is out of range, or the mode is unknown.

    Example:
        >>> low = torch.rand(1, 1, 12, 17)
        >>> torch.allclose(recover_low_resolution(upsample(low, (33, 47)), 2 * 2**0.5), low, atol=1e-5)
        True
    """
    mode = check_option("mode", mode, UPSAMPLE_MODES)
    tolerance = check_number("tolerance", tolerance, 0)
    axes = checked_axes("condition", condition, spatial_axes)
    fine = tuple(condition.shape[axis] for axis in axes)
    coarse = low_resolution_size(fine, factor)
    precise = condition.to(compute_dtype(condition))
    matrices = [_upsample_inverse(m, n, mode, condition.device) for m, n in zip(coarse, fine, strict=True)]
    low = _apply(matrices, precise, axes)
    unexplained = _norms(upsample(low, fine, mode, spatial_axes) - precise)
    # of what varies in the item: a mean far from 0 would hide anything
    contrast = _norms(precise - precise.mean(dim=list(range(1, precise.ndim)), keepdim=True))
    rounding = 4 * torch.finfo(precise.dtype).eps * _norms(precise) / tolerance if tolerance else 0.0
    worst = float((unexplained / (contrast + rounding).clamp_min(torch.finfo(precise.dtype).tiny)).max())
    if not worst <= tolerance:
        raise ValueError(
            f"condition of shape {tuple(condition.shape)} is no interpolation with mode={mode!r} from the {coarse} "
            f"pixels that factor={factor!r} leaves along spatial_axes={tuple(spatial_axes)}: {worst:.3g} of it, root "
            f"mean square, is left unexplained, at most tolerance={tolerance:g} may be. Give the factor, mode and axes "
            "it was made with, and the whole image, neither cropped nor clipped."
        )
    return low.to(result_dtype(condition))


def match_low_resolution(
    image: torch.Tensor,
    low: torch.Tensor,
    domain: str = DownsampleDomain.IMAGE,
    spatial_axes: Sequence[int] = (0, 1),
) -> torch.Tensor:
    """The image nearest to ``image``, in least squares, whose downsampling is ``low``.

    Args:
        image: shape (B, C, H, W) or (B, C, H, W, D). Half types are computed in float32 and rounded at the end, which
            costs them agreement.
        low: what the downsampled image shall be; shape of ``image`` but for ``spatial_axes``, along which it has from
            2 pixels to what the image has.
        domain: where resolution is taken away, ``"image"`` or ``"kspace"``; see :func:`downsample`.
        spatial_axes: the axes that lose resolution, numbered after batch and channel.

    Returns:
        The projected image, shape of ``image``; of its floating point type, float32 for integers.

    Raises:
        TypeError: if either image is complex.
        ValueError: if either has neither 4 nor 5 axes, their shapes do not fit, an axis does not exist, or the domain
            is unknown.

    Example:
        >>> image, low = torch.rand(1, 1, 33, 47), torch.rand(1, 1, 12, 17)
        >>> matched = match_low_resolution(image, low, domain="kspace")
        >>> torch.allclose(downsample(matched, size=(12, 17), domain="kspace"), low, atol=1e-5)
        True
    """
    domain = check_option("domain", domain, DownsampleDomain)
    axes = checked_axes("image", image, spatial_axes)
    checked_axes("low", low, spatial_axes)
    allowed = [(2, n) if axis in axes else (n, n) for axis, n in enumerate(image.shape)]
    if low.ndim != image.ndim or not all(a <= n <= b for n, (a, b) in zip(low.shape, allowed, strict=True)):
        raise ValueError(
            f"low of shape {tuple(low.shape)} must have the shape of image, {tuple(image.shape)}, but for "
            f"spatial_axes={tuple(spatial_axes)}, along which it must have from 2 pixels to what the image has."
        )
    coarse = [low.shape[axis] for axis in axes]
    precise = image.to(compute_dtype(image))
    missing = low.to(precise) - downsample(precise, size=coarse, domain=domain, spatial_axes=spatial_axes)
    matrices = [
        _downsample_inverse(image.shape[axis], m, domain, image.device) for axis, m in zip(axes, coarse, strict=True)
    ]
    return (precise + _apply(matrices, missing, axes)).to(result_dtype(image))


@lru_cache(CACHED_MATRICES)
@torch.inference_mode(False)  # a matrix made in inference mode could not be used for a gradient later
def _downsample_inverse(fine: int, coarse: int, domain: str, device: torch.device) -> torch.Tensor:
    identity = torch.eye(fine, dtype=torch.float64, device="cpu")[None, None]
    matrix = downsample(identity, size=(coarse,), domain=domain, spatial_axes=(0,))[0, 0]
    return torch.linalg.pinv(matrix).to(device)


@lru_cache(CACHED_MATRICES)
@torch.inference_mode(False)
def _upsample_inverse(coarse: int, fine: int, mode: str, device: torch.device) -> torch.Tensor:
    identity = torch.eye(coarse, dtype=torch.float64, device="cpu")[None, None]
    return torch.linalg.pinv(upsample(identity, (fine,), mode, spatial_axes=(0,))[0, 0]).to(device)


def _apply(matrices: Sequence[torch.Tensor], image: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
    """One matrix along each axis, in float64; the result has the type of the image."""
    result = image.double()
    for axis, matrix in zip(axes, matrices, strict=True):
        result = (result.movedim(axis, -1) @ matrix.T).movedim(-1, axis)
    return result.to(image.dtype).contiguous()


def _norms(image: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(image.detach().flatten(1), dim=1)
