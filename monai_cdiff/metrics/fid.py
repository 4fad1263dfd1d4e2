"""Fréchet distance between the features of generated and of real images."""

from __future__ import annotations

from typing import NamedTuple

import torch
from monai.utils import evenly_divisible_all_gather

from .feature_sets import RECOMMENDED_IMAGES, FeatureSetMetric

__all__ = ["FIDMetric"]


class _Moments(NamedTuple):
    """Of a set of rows, in float64: their number, mean (F,), and sum of outer products about the mean (F, F)."""

    size: int
    mean: torch.Tensor
    scatter: torch.Tensor

    def merge(self, other: _Moments) -> _Moments:
        """Moments of both sets together (Chan, Golub and LeVeque, 1979): no difference of large sums."""
        if not self.size or not other.size:
            return self if self.size else other
        size, shift = self.size + other.size, other.mean - self.mean
        mean = self.mean + shift * (other.size / size)
        scatter = self.scatter + other.scatter + shift.outer(shift) * (self.size * other.size / size)
        return _Moments(size, mean, scatter)


class FIDMetric(FeatureSetMetric):
    r"""Fréchet distance between normal distributions fitted to the features of generated and of real images.

    Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium",
    arXiv:1706.08500, eq. 6:
    :math:`|\mu_1 - \mu_2|^2 + \mathrm{Tr}(\Sigma_1 + \Sigma_2 - 2 (\Sigma_1 \Sigma_2)^{1/2})`, with covariances over
    n - 1. 0 for equal sets, without an upper bound, in squared units of the features. It is "the FID" of the literature
    only with Inception's features (:py:func:`~monai_cdiff.metrics.inception.inception_features`); whatever the features
    are, their name is part of the value.

    The value is too high for few images, by an amount that depends on the features and the number of images: compare
    only values of equally large sets, and prefer :py:class:`~monai_cdiff.metrics.kid.KIDMetric` for small ones.

    Moments are kept in float64, F x F numbers a set. The trace of the root is the sum of the singular values of
    :math:`\Sigma_1^{1/2} \Sigma_2^{1/2}`, which is exact for singular covariances too, where the root of the product,
    as MONAI and others take it, is not.

    Args:
        features: images -> features of shape (B, F), one row an image. A ``Module`` is put into evaluation mode and
            moved to the images' device.
        name: of the features, with their weights or version; written beside every value.

    Raises:
        ValueError: for an empty name; when called, if the features are not (B, F) with F as before, or they are not
            finite.
        TypeError: if ``features`` cannot be called.

    Example:
        >>> images = torch.rand(3000, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        >>> metric = FIDMetric(lambda x: x.flatten(1), name="pixels")
        >>> metric(y_pred=images[:1500] + 0.5)
        >>> metric(y_pred=images[1500:] + 0.5, y=images)
        >>> round(metric.aggregate().item(), 4)  # 16 pixels, each 0.5 too bright
        4.0
    """

    def aggregate(self) -> torch.Tensor:
        """The distance of all images so far, over all processes, a float64 scalar; logged with the features' name.

        Raises:
            ValueError: if one of the sets has less than 2 images.

        Warns:
            UserWarning: if one of the sets has less than 2048 images, or less than there are features.
        """
        width = self._gathered_width()
        generated, real = (self._gather(self._sets[name], width) for name in ("y_pred", "y"))
        singular = min(generated.size, real.size) < width
        why = "the value is too high" + (f" and the covariances of {width} features are singular" if singular else "")
        self._check_sizes(generated.size, real.size, max(RECOMMENDED_IMAGES, width), why)
        value = _frechet_distance(generated, real)
        self._log(f"{value.item():.6g}", generated.size, real.size)
        return value

    def _empty(self) -> _Moments:
        return _Moments(0, torch.zeros(0, dtype=torch.float64), torch.zeros(0, 0, dtype=torch.float64))

    def _add(self, held: _Moments, rows: torch.Tensor) -> _Moments:
        mean = rows.mean(0)
        return held.merge(_Moments(len(rows), mean, (rows - mean).T @ (rows - mean)))

    def _size(self, held: _Moments) -> int:
        return held.size

    def _gather(self, held: _Moments, width: int) -> _Moments:
        """The moments of all processes together, merged in the order of their ranks."""
        table = torch.zeros(1, 2 + width, width, dtype=torch.float64)
        if held.size:
            table[0, 0, 0], table[0, 1], table[0, 2:] = held.size, held.mean, held.scatter
        merged = self._empty()
        parts = evenly_divisible_all_gather(table, concat=True)
        for part in parts if width else ():
            merged = merged.merge(_Moments(int(part[0, 0]), part[1], part[2:]))
        return merged


def _frechet_distance(first: _Moments, second: _Moments) -> torch.Tensor:
    """Of two normal distributions; rounding below 0 is 0."""
    roots = [_root(moments.scatter / (moments.size - 1)) for moments in (first, second)]
    traces = sum(root.square().sum() for root in roots)
    overlap = torch.linalg.svdvals(roots[0].T @ roots[1]).sum()
    return ((first.mean - second.mean).square().sum() + traces - 2 * overlap).clamp(min=0)


def _root(covariance: torch.Tensor) -> torch.Tensor:
    """A matrix R with R R^T = covariance. Eigenvalues that are rounding count as 0: their roots would not be small."""
    values, vectors = torch.linalg.eigh(covariance)
    rounding = len(values) * torch.finfo(values.dtype).eps * values.abs().max()
    return vectors * torch.where(values > rounding, values, 0).sqrt()
