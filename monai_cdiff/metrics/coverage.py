"""Whether intervals hold the truth as often as they claim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.config import TensorOrList
from monai.metrics.regression import RegressionMetric
from monai.utils import MetricReduction, look_up_option

from ..utils import check_finite

__all__ = ["CoverageMetric"]


class CoverageMetric(RegressionMetric):
    """Share of the voxels whose truth lies within its interval, bounds included, per image and channel; 0 to 1.

    Ideal is what the intervals claim: 90 % intervals should hold 0.9 of the voxels. Less is overconfident, more is too
    wide. To stand in MONAI's metric protocol, which hands over one tensor per image, an interval is one tensor with the
    two bounds stacked in front of the channels; a tuple of two tensors is taken as well:

    * ``metric((low, high), y)``: three tensors of one shape, (B, C, ...); what
      :py:class:`~monai_cdiff.inferers.conformal.ConformalIntervals` returns can be passed as it is.
    * ``metric(interval, y)``: ``interval`` of shape (B, 2, C, ...), ``torch.stack((low, high), dim=1)``; ``y`` of shape
      (B, C, ...).
    * ``metric([interval, ...], [y, ...])``: a list of both, without the batch axis, as a MONAI engine hands them over
      after ``decollate_batch``: (2, C, ...) and (C, ...).

    Args:
        reduction: how images and channels are combined, as in MONAI's metrics.

    Raises:
        ValueError: for an unknown reduction; when called, if a shape does not fit, a lower bound is above its upper
            bound or NaN, or ``y`` holds NaN or infinite values. Infinite bounds are allowed.

    Example:
        >>> truth = torch.tensor([0.0, 1.0, 2.0, 3.0]).view(1, 1, 2, 2)
        >>> metric = CoverageMetric()
        >>> metric((torch.zeros_like(truth), torch.full_like(truth, 2.0)), truth).item()
        0.75
    """

    def __init__(self, reduction: MetricReduction | str = "mean") -> None:
        super().__init__(reduction=look_up_option(reduction, MetricReduction))

    def __call__(
        self, y_pred: TensorOrList, y: TensorOrList | None = None, **kwargs: Any
    ) -> torch.Tensor | Sequence[torch.Tensor | Sequence[torch.Tensor]]:
        """Coverage of each image and channel, shape (B, C), which is also kept for ``aggregate``.

        Args:
            y_pred: the interval, in one of the three forms above.
            y: the truth.
            kwargs: none is known.
        """
        if isinstance(y, torch.Tensor) and isinstance(y_pred, (list, tuple)):
            return super().__call__(_stacked(y_pred), y, **kwargs)
        return super().__call__(y_pred, y, **kwargs)

    def _check_shape(self, y_pred: torch.Tensor, y: torch.Tensor) -> None:
        if y.ndim < 2 or y_pred.shape != (y.shape[0], 2, *y.shape[1:]):
            raise ValueError(
                f"y_pred has shape {tuple(y_pred.shape)} and y {tuple(y.shape)}; y must be (B, C, ...) and y_pred its "
                "interval (B, 2, C, ...), as torch.stack((low, high), dim=1) makes it."
            )

    def _compute_metric(self, y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        low, high = y_pred.unbind(1)
        check_finite("y", y)
        bad = int((~(low <= high)).sum())
        if bad:
            raise ValueError(f"y_pred: low is above high, or one of them NaN, at {bad} voxels of {low.numel()}.")
        within = (low <= y) & (y <= high)
        return within.float().reshape(*y.shape[:2], -1).mean(2)


def _stacked(pair: Sequence[torch.Tensor]) -> torch.Tensor:
    if not isinstance(pair, tuple) or len(pair) != 2 or pair[0].shape != pair[1].shape or not pair[0].ndim:
        shapes = [tuple(bound.shape) for bound in pair]
        raise ValueError(
            f"y_pred is a {type(pair).__name__} of tensors of the shapes {shapes}; for a tensor y it must be the tuple "
            "(low, high), both shaped as y; a list of intervals needs a list of truths."
        )
    return torch.stack(pair, dim=1)
