"""Jumps between the slices of a volume that was restored slice by slice."""

from __future__ import annotations

import torch
from monai.metrics.regression import RegressionMetric
from monai.utils import MetricReduction, look_up_option

from ..utils import check_finite, check_integer

__all__ = ["FlickerMetric"]


class FlickerMetric(RegressionMetric):
    """Through-plane gradient energy of the prediction over that of the original, per volume and channel.

    The energy is the mean squared difference between neighbouring slices. 1 is as much change from slice to slice as in
    the original; more is flicker, as of slices restored independently; less is a volume smoothed through the plane.
    Independent errors of variance v in each slice add 2 v to the energy. The ratio has no unit.

    An original that does not change from slice to slice gives NaN, which MONAI's reductions leave out: ``"mean"``
    averages over the channels that have a value, then over the volumes that have one. If none has, ``aggregate`` gives
    0; ``get_not_nans=True`` tells how many counted.

    Args:
        axis: the axis across the slices, of volumes (B, C, H, W, D): 2 to 4, or -3 to -1.
        reduction: how volumes and channels are combined, as in MONAI's metrics.
        get_not_nans: whether ``aggregate`` also returns how many values were not NaN.

    Raises:
        ValueError: for an argument outside what is allowed; when called, if a shape does not fit, there are less than
            2 slices, or a volume holds NaN or infinite values (which would be left out unseen).

    Example:
        >>> original = torch.tensor([0.0, 1.0, 2.0]).expand(1, 1, 4, 4, 3)
        >>> metric = FlickerMetric()
        >>> metric(3 * original, original).item()
        9.0
    """

    def __init__(self, axis: int = -1, reduction: MetricReduction | str = "mean", get_not_nans: bool = False) -> None:
        super().__init__(reduction=look_up_option(reduction, MetricReduction), get_not_nans=get_not_nans)
        self.axis = check_integer("axis", axis, -3, 4)
        if self.axis in (0, 1):
            raise ValueError(f"axis={axis} is the batch's or the channels'; allowed: 2 to 4, or -3 to -1.")

    def _check_shape(self, y_pred: torch.Tensor, y: torch.Tensor) -> None:
        super()._check_shape(y_pred, y)
        if y.ndim != 5 or y.shape[self.axis] < 2:
            raise ValueError(
                f"y has shape {tuple(y.shape)}; it must be (B, C, H, W, D), at least 2 slices along axis={self.axis}."
            )

    def _compute_metric(self, y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        restored, original = self._energy(check_finite("y_pred", y_pred)), self._energy(check_finite("y", y))
        return torch.where(original > 0, restored / original, torch.nan)

    def _energy(self, volume: torch.Tensor) -> torch.Tensor:
        """Mean squared difference between neighbouring slices, shape (B, C)."""
        return volume.float().diff(dim=self.axis).square().flatten(2).mean(2)
