"""Mean error of a restoration: whether it became brighter or darker as a whole."""

from __future__ import annotations

import torch
from monai.metrics.regression import RegressionMetric

__all__ = ["BrightnessShiftMetric"]


class BrightnessShiftMetric(RegressionMetric):
    """Mean of prediction minus original, per image, in the unit of the images; ideal 0.

    Fidelity and sharpness can be high while all intensities are off by a constant; this tells.

    Args:
        reduction: how images are combined, as in MONAI's metrics.

    Example:
        >>> metric = BrightnessShiftMetric()
        >>> metric(torch.full((1, 1, 4, 4), 0.75), torch.full((1, 1, 4, 4), 0.5)).item()
        0.25
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)

    def _compute_metric(self, y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (y_pred.float() - y.float()).flatten(start_dim=1).mean(dim=1, keepdim=True)
