"""Sharpness of a restoration, measured against the original."""

from __future__ import annotations

import torch
from monai.metrics.regression import RegressionMetric
from monai.utils import MetricReduction, look_up_option

from ..utils import check_finite, check_integer

__all__ = ["AcutanceMetric", "acutance"]


class AcutanceMetric(RegressionMetric):
    """Acutance ratio: mean gradient magnitude of the prediction over that of the original, per image and channel.

    1 is as sharp as the original, less is smoother, more is sharper or noisier. The gradient is taken by central
    differences (one-sided at the border) along the first two spatial axes only: slices are often several times
    further apart than pixels. The ratio has no unit and does not change if both images are scaled alike.

    An original without any gradient gives NaN, which MONAI's reductions leave out: ``"mean"`` averages over the
    channels that have a value, then over the images that have one. If none has, ``aggregate`` gives 0;
    ``get_not_nans=True`` tells how many counted. An original of almost no gradient (air) gives a huge ratio: leave such
    slices out.

    Args:
        spatial_dims: 2 for images (B, C, H, W), 3 for volumes (B, C, H, W, D); default: either.
        reduction: how images and channels are combined, as in MONAI's metrics.
        get_not_nans: whether ``aggregate`` also returns how many values were not NaN.

    Raises:
        ValueError: for an argument outside what is allowed; when called, if a shape does not fit, an in-plane side has
            less than 2 pixels, or an image holds NaN or infinite values (which would be left out unseen).

    Example:
        >>> original = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> metric = AcutanceMetric()
        >>> metric(0.5 * original, original).item()
        0.5
    """

    def __init__(
        self, spatial_dims: int | None = None, reduction: MetricReduction | str = "mean", get_not_nans: bool = False
    ) -> None:
        super().__init__(reduction=look_up_option(reduction, MetricReduction), get_not_nans=get_not_nans)
        self.spatial_dims = None if spatial_dims is None else check_integer("spatial_dims", spatial_dims, 2, 3)

    def _check_shape(self, y_pred: torch.Tensor, y: torch.Tensor) -> None:
        super()._check_shape(y_pred, y)
        allowed = (2, 3) if self.spatial_dims is None else (self.spatial_dims,)
        if y.ndim - 2 not in allowed or min(y.shape[2:4]) < 2:
            dims = " or ".join(map(str, allowed))
            raise ValueError(
                f"y has shape {tuple(y.shape)}; it must be (B, C, H, W[, D]), spatial_dims {dims}, with H, W >= 2."
            )

    def _compute_metric(self, y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        restored, original = acutance(check_finite("y_pred", y_pred)), acutance(check_finite("y", y))
        return torch.where(original > 0, restored / original, torch.nan)


def acutance(image: torch.Tensor) -> torch.Tensor:
    """Mean gradient magnitude per pixel, in the first two spatial axes, by central differences.

    Args:
        image: shape (B, C, H, W) or (B, C, H, W, D), H and W at least 2.

    Returns:
        Shape (B, C), float32, in units of the image per pixel.

    Example:
        >>> acutance(torch.arange(4.0).expand(1, 1, 4, 4)).tolist()
        [[1.0]]
    """
    rows, columns = torch.gradient(image.float(), dim=(2, 3))
    return (rows.square() + columns.square()).sqrt().flatten(2).mean(2)
