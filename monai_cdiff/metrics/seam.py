"""Seams of tiles: how much the error of a restoration jumps where one tile ends and the next begins."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.metrics.regression import RegressionMetric
from monai.utils import MetricReduction, look_up_option

from ..utils import check_finite, check_overlap, check_roi_size, tile_borders, tile_layout

__all__ = ["SeamMetric"]


class SeamMetric(RegressionMetric):
    """Mean jump of the error across the borders of tiles over that elsewhere, per image; ideal 1, no seam.

    The error is prediction minus original, so edges of the anatomy do not count; the jump is the absolute difference
    of the errors of two neighbouring voxels. Along each axis that has borders, jumps across them and jumps elsewhere
    are averaged, and the sums of the averages over the axes are divided. An image of one tile has no borders: 1. Where
    the error is constant but for its jumps at borders the value is infinite.

    How much errors vary differs over an image (least in air), so without a seam a single image comes out some percent
    off 1: compare with the value of an untiled restoration.

    Args:
        roi_size: size of a tile in voxels, per axis or one for all.
        overlap: share of a tile that the next one covers too, from 0 to less than 1.
        reduction: how images are combined, as in MONAI's metrics.

    Raises:
        ValueError: for an argument outside what is allowed.

    Example:
        >>> original, restored = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
        >>> restored[..., ::2] = 0.5
        >>> metric = SeamMetric(roi_size=4, overlap=0)
        >>> metric(restored, original).item()
        1.0
    """

    def __init__(self, roi_size: Sequence[int] | int, overlap: float, reduction: str = "mean") -> None:
        super().__init__(reduction=look_up_option(reduction, MetricReduction))
        self.roi_size = check_roi_size(roi_size)
        self.overlap = check_overlap(overlap)

    def _compute_metric(self, y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        check_finite("y_pred", y_pred)
        check_finite("y", y)
        error = y_pred.float() - y.float()
        across, elsewhere = error.new_zeros(len(error)), error.new_zeros(len(error))
        for axis, places in enumerate(tile_layout("y_pred", error.shape, self.roi_size, self.overlap), start=2):
            borders = tile_borders(places)
            if not borders:
                continue
            others = sorted({*range(1, error.shape[axis])}.difference(borders))
            if not others:
                raise ValueError(
                    f"roi_size={self.roi_size} and overlap={self.overlap} lay a border between all voxels along axis "
                    f"{axis} of shape {tuple(error.shape)}: there is nothing to compare with."
                )
            jumps = error.diff(dim=axis).abs().movedim(axis, 1).flatten(2).mean(dim=2)
            across += jumps[:, [border - 1 for border in borders]].mean(dim=1)
            elsewhere += jumps[:, [border - 1 for border in others]].mean(dim=1)
        ratio = torch.where(across == elsewhere, torch.ones_like(across), across / elsewhere)
        return ratio.unsqueeze(1)
