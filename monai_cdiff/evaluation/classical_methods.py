"""Restorations without a trained network: the interpolations and filters that a network has to beat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from ..operators import fill_masked, upsample
from .bundle_evaluation import Case

__all__ = ["CLASSICAL_METHODS", "ClassicalMethod", "remove_impulses"]

_IMPULSE_WINDOW = 5
# Strength in standard deviations of the noise: the best of a few on validation X-rays (docs/evaluation.md).
_NLM_STRENGTH, _TV_WEIGHT = 0.8, 2.0


class ClassicalMethod(NamedTuple):
    """A restoration that needs no training.

    Args:
        tasks: what it restores.
        kind: "trivial" for the degraded image itself, else "classical".
        title: what it is called in a table.
        function: case -> image of the original's shape, on the scale of the scores.
        package: what it comes from beyond numpy and torch, "" if nothing.
    """

    tasks: tuple[str, ...]
    kind: str
    title: str
    function: Callable[[Case], np.ndarray]
    package: str = ""


def remove_impulses(image: np.ndarray, window: int = _IMPULSE_WINDOW) -> np.ndarray:
    """Replace the pixels that salt and pepper hit by the median of their neighbours.

    Salt and pepper is cut to the range of the image, so what equals its smallest or largest value is taken as hit
    (the first step of the adaptive median filter; Hwang and Haddad, IEEE Trans. Image Process. 4 (1995)); the median is
    that of the pixels of the window that were not hit.

    Args:
        image: (H, W).
        window: side of the window, an odd number of pixels; where all were hit, the median of the image is taken.

    Returns:
        The image without impulses, float32.

    Example:
        >>> image = np.full((5, 5), 0.5); image[2, 2] = 1.0; image[0, 0] = 0.0
        >>> np.unique(remove_impulses(image)).tolist()
        [0.5]
    """
    values = np.asarray(image, dtype=np.float32)
    hit = (values == values.min()) | (values == values.max())
    if not hit.any() or hit.all():
        return values.copy()
    kept = np.where(hit, np.nan, values)
    border = window // 2
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(kept, border, constant_values=np.nan), (window, window))
    around = windows[hit].reshape(int(hit.sum()), -1)
    alone = np.isnan(around).all(axis=1)
    around[alone] = np.nanmedian(kept)
    cleaned = values.copy()
    cleaned[hit] = np.nanmedian(around, axis=1)
    return cleaned


def _condition(case: Case) -> np.ndarray:
    return case.condition


def _bicubic(case: Case) -> np.ndarray:
    low_res = torch.from_numpy(np.asarray(case.low_res))[None, None]
    return upsample(low_res, case.original.shape[:2], mode="bicubic")[0, 0].numpy()


def _filled(fill: str) -> Callable[[Case], np.ndarray]:
    """Filled anew, whatever the condition of the networks is filled with."""

    def restore(case: Case) -> np.ndarray:
        image, mask = (torch.from_numpy(np.asarray(values))[None] for values in (case.condition, case.mask))
        return fill_masked(image, mask > 0, fill)[0].numpy()

    return restore


def _slice_by_slice(function: Callable[[np.ndarray], np.ndarray], image: np.ndarray) -> np.ndarray:
    if image.ndim == 2:
        return function(np.ascontiguousarray(image))
    return np.stack([function(np.ascontiguousarray(image[..., z])) for z in range(image.shape[-1])], axis=-1)


def _denoised(function: Callable[[np.ndarray, float], np.ndarray]) -> Callable[[Case], np.ndarray]:
    """Impulses out first, then the filter, which gets the image and the noise that is estimated from it."""

    def restore(image: np.ndarray) -> np.ndarray:
        skimage = _skimage("restoration")
        cleaned = remove_impulses(image)
        sigma = float(skimage.estimate_sigma(cleaned)) if np.ptp(cleaned) > 0 else 0.0
        return function(cleaned, sigma).astype(np.float32) if sigma > 0 else cleaned

    return lambda case: _slice_by_slice(restore, case.condition)


def _median(image: np.ndarray, sigma: float) -> np.ndarray:
    return np.asarray(_skimage("filters").median(image, footprint=np.ones((3, 3)), mode="reflect"))


def _non_local_means(image: np.ndarray, sigma: float) -> np.ndarray:
    return np.asarray(
        _skimage("restoration").denoise_nl_means(
            image, patch_size=5, patch_distance=6, h=_NLM_STRENGTH * sigma, sigma=sigma, fast_mode=True
        )
    )


def _total_variation(image: np.ndarray, sigma: float) -> np.ndarray:
    return np.asarray(_skimage("restoration").denoise_tv_chambolle(image, weight=_TV_WEIGHT * sigma))


def _wavelet(image: np.ndarray, sigma: float) -> np.ndarray:
    denoise = _skimage("restoration").denoise_wavelet
    return np.asarray(denoise(image, sigma=sigma, mode="soft", method="BayesShrink", wavelet="db2"))


def _biharmonic(case: Case) -> np.ndarray:
    mask = np.asarray(case.mask) > 0
    inpaint = _skimage("restoration").inpaint_biharmonic
    if case.condition.ndim == 2:
        return np.asarray(inpaint(case.condition, mask), dtype=np.float32)
    images = (case.condition, mask)
    pairs = ([np.ascontiguousarray(image[..., z]) for image in images] for z in range(mask.shape[-1]))
    return np.stack([np.asarray(inpaint(image, hole), dtype=np.float32) for image, hole in pairs], axis=-1)


def _skimage(room: str) -> Any:
    try:
        import skimage.filters
        import skimage.restoration
    except ImportError as error:
        raise ImportError('needs the package scikit-image: pip install "monai_cdiff[evaluation]".') from error
    return getattr(skimage, room)


CLASSICAL_METHODS: dict[str, ClassicalMethod] = {
    "bilinear": ClassicalMethod(("sr",), "trivial", "bilinear", _condition),
    "bicubic": ClassicalMethod(("sr",), "classical", "bicubic", _bicubic),
    "noisy": ClassicalMethod(("denoise",), "trivial", "noisy image", _condition),
    "median": ClassicalMethod(("denoise",), "classical", "median 3 x 3", _denoised(_median), "scikit-image"),
    "nlm": ClassicalMethod(("denoise",), "classical", "non-local means", _denoised(_non_local_means), "scikit-image"),
    "tv": ClassicalMethod(("denoise",), "classical", "total variation", _denoised(_total_variation), "scikit-image"),
    "wavelet": ClassicalMethod(("denoise",), "classical", "wavelet (BayesShrink)", _denoised(_wavelet), "scikit-image"),
    "mean_fill": ClassicalMethod(("inpaint",), "trivial", "mean fill", _filled("mean")),
    "harmonic": ClassicalMethod(("inpaint",), "classical", "harmonic fill", _filled("harmonic")),
    "biharmonic": ClassicalMethod(("inpaint",), "classical", "biharmonic", _biharmonic, "scikit-image"),
}
