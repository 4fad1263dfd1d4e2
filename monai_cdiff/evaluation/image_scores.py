"""How far a restored image is from its original: one number an image for each metric."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric, MultiScaleSSIMMetric, PSNRMetric, RMSEMetric, SSIMMetric

from ..metrics import AcutanceMetric, BrightnessShiftMetric, LPIPSMetric, acutance

__all__ = ["Column", "ImageMetric", "image_metrics", "score_images"]

_WINDOW = 11  # of SSIM
_MS_SSIM_LEAST = (_WINDOW - 1) * 2**4 + 1  # MONAI's MS-SSIM has five scales
_BATCH = 16

Images = Iterable[tuple[np.ndarray, np.ndarray]]


class Column(NamedTuple):
    """A column of a table.

    Args:
        name: key in ``results.json``.
        title: in tables.
        unit: "" for none.
        better: "higher", "lower", "one" (ideal 1), "half" (0.5), "zero" (0), or "" where neither is better.
        note: what the number is, in a line.
    """

    name: str
    title: str
    unit: str = ""
    better: str = "higher"
    note: str = ""


class ImageMetric(NamedTuple):
    """A metric of single images.

    Args:
        column: of the table.
        function: restored and original images (B, 1, H, W[, D]) on 0 to 1 -> B values; NaN where there is none.
        reason: why there is no value at all, "" if there is.
        otherwise: why an image has none.
        of_originals: whether the original has a value of its own.
    """

    column: Column
    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    reason: str = ""
    otherwise: str = ""
    of_originals: bool = False


def image_metrics(
    spatial_dims: int, lpips_weights: str | os.PathLike[str] | None = None, lpips_net: str = "alex"
) -> list[ImageMetric]:
    """The metrics of single images, in the order of their columns.

    Args:
        spatial_dims: 2 for images, 3 for volumes.
        lpips_weights: of LPIPS's network; None looks in torch hub's cache, and there is no value if it is not there.
        lpips_net: which network, "alex" or "vgg".

    Returns:
        PSNR, SSIM, MS-SSIM, NRMSE, brightness shift, acutance and its ratio, LPIPS.

    Example:
        >>> [metric.column.name for metric in image_metrics(2)][:4]
        ['psnr', 'ssim', 'ms_ssim', 'nrmse']
    """
    on_unit = "on the normalised scale, where the two percentiles lie 1 apart"
    ssim = SSIMMetric(spatial_dims, data_range=1.0, win_size=_WINDOW if spatial_dims == 2 else (_WINDOW, _WINDOW, 1))
    metrics = [
        ImageMetric(
            Column("psnr", "PSNR", "dB", "higher", f"peak 1, {on_unit}"),
            _values(PSNRMetric(max_val=1.0)),
            otherwise="the restorations equal their originals",
        ),
        ImageMetric(Column("ssim", "SSIM", note=f"range 1, Gaussian window of {_WINDOW} pixels"), _values(ssim)),
        ImageMetric(
            Column("ms_ssim", "MS-SSIM", note=f"five scales, from {_MS_SSIM_LEAST} pixels"),
            _ms_ssim,
            otherwise=f"five scales need images of at least {_MS_SSIM_LEAST} pixels",
        ),
        ImageMetric(
            Column("nrmse", "NRMSE", "", "lower", "root mean square error over that of zeros"),
            _nrmse,
            otherwise="the originals are zero",
        ),
        ImageMetric(
            Column("brightness_shift", "brightness shift", "", "zero", f"mean error, {on_unit}"),
            _values(BrightnessShiftMetric()),
        ),
        ImageMetric(
            Column("acutance", "acutance", "", "", "mean gradient magnitude per pixel; noise raises it"),
            lambda restored, original: acutance(restored).mean(1),
            of_originals=True,
        ),
        ImageMetric(
            Column("acutance_ratio", "acutance ratio", "", "one", "acutance over that of the original"),
            _values(AcutanceMetric()),
            otherwise="the originals are flat",
        ),
    ]
    return [*metrics, _lpips(spatial_dims, lpips_weights, lpips_net)]


def score_images(metrics: Sequence[ImageMetric], images: Images) -> dict[str, list[float]]:
    """Score pairs of images.

    Args:
        metrics: of :py:func:`image_metrics`.
        images: (restored, original), each (H, W) or (H, W, D), on the scale of the scores.

    Returns:
        For each metric without a ``reason`` one number an image, by the name of its column; NaN where there is none:
        PSNR of equal images, acutance ratio of a flat original, MS-SSIM of small images.

    Example:
        >>> image = np.random.default_rng(0).random((16, 16)).astype(np.float32)
        >>> round(score_images(image_metrics(2), [(image + 0.1, image)])["psnr"][0], 3)
        20.0
    """
    wanted = [metric for metric in metrics if not metric.reason]
    scores: dict[str, list[float]] = {metric.column.name: [] for metric in wanted}
    for restored, original in _batches(images):
        for metric in wanted:
            values = metric.function(restored, original).double()
            scores[metric.column.name] += [value if math.isfinite(value) else math.nan for value in values.tolist()]
    return scores


def _batches(images: Images) -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
    held: list[tuple[np.ndarray, np.ndarray]] = []
    for pair in images:
        if held and (len(held) == _BATCH or pair[1].shape != held[0][1].shape):
            yield _stacked(held)
            held = []
        held.append(pair)
    if held:
        yield _stacked(held)


def _stacked(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[torch.Tensor, torch.Tensor]:
    restored, original = (torch.from_numpy(np.stack(side))[:, None].float() for side in zip(*pairs, strict=True))
    return restored, original


def _values(metric: CumulativeIterationMetric) -> Callable[..., torch.Tensor]:
    """A MONAI metric as a function: what a call returns is one row an image."""

    def score(restored: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(metric(restored, original)).flatten(1).mean(1)

    return score


def _nrmse(restored: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
    rmse = _values(RMSEMetric())
    size = rmse(torch.zeros_like(original), original)
    return torch.where(size > 0, rmse(restored, original) / size, torch.nan)


def _ms_ssim(restored: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
    spatial_dims = original.ndim - 2
    if min(original.shape[2:]) < _MS_SSIM_LEAST:
        return torch.full((len(original),), torch.nan)
    return _values(MultiScaleSSIMMetric(spatial_dims, data_range=1.0, kernel_size=_WINDOW))(restored, original)


def _lpips(spatial_dims: int, weights: str | os.PathLike[str] | None, net: str) -> ImageMetric:
    column = Column("lpips", f"LPIPS ({net})", "", "lower", f"lpips 0.1 with the network {net}, trained on photographs")
    if spatial_dims == 3:
        return ImageMetric(column, _nothing, "LPIPS is of 2-D images")
    try:
        metric = LPIPSMetric(net=net, weights=weights, data_range=1.0)
    except FileNotFoundError:
        if weights is not None:
            raise
        return ImageMetric(column, _nothing, f"no weights: give --lpips_weights FILE, torchvision's for {net}")
    return ImageMetric(column._replace(note=f"{column.note}; {metric}"), _values(metric))


def _nothing(restored: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
    return torch.full((len(original),), torch.nan)
