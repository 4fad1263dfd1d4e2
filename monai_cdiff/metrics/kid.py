"""Kernel distance between the features of generated and of real images."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from monai.utils import evenly_divisible_all_gather

from ..utils import check_flag, check_integer
from .feature_sets import RECOMMENDED_IMAGES, FeatureSetMetric

__all__ = ["KIDMetric"]


class KIDMetric(FeatureSetMetric):
    r"""Squared maximum mean discrepancy between the features of generated and of real images, over random subsets.

    Bińkowski et al., "Demystifying MMD GANs", arXiv:1801.01401, eq. 4: the unbiased estimate (k of an image with itself
    is left out) with the kernel :math:`k(x, y) = (x \cdot y / F + 1)^d` of F features, averaged over subsets of equal
    size that are drawn without replacement from either set. 0 is expected for equal distributions, whatever the number
    of images; a single value can be below 0.

    The features are sorted before the subsets are drawn, so that these do not depend on batches, order or processes.
    The features of all images are kept, on the CPU.

    Args:
        features: images -> features of shape (B, F), one row an image. A ``Module`` is put into evaluation mode and
            moved to the images' device.
        name: of the features, with their weights or version; written beside every value.
        subsets: number of subsets.
        subset_size: images of a subset; if one of the sets has fewer, that many, with a warning.
        degree: d of the kernel.
        seed: of the draw of the subsets.
        get_std: whether ``aggregate`` returns (mean, standard deviation) instead of the mean. The latter describes how
            the value varies between subsets; they overlap, so it is no standard error of the mean.

    Raises:
        ValueError: for an argument outside what is allowed; when called, if the features are not (B, F) with F as
            before, or they are not finite.
        TypeError: if ``features`` cannot be called.

    Example:
        >>> images = torch.rand(5000, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        >>> metric = KIDMetric(lambda x: x.flatten(1), name="pixels", subsets=20, get_std=True)
        >>> metric(y_pred=images[:2200], y=images[2200:])
        >>> mean, std = metric.aggregate()
        >>> bool(abs(mean) < std)
        True
    """

    def __init__(
        self,
        features: Callable[[torch.Tensor], torch.Tensor],
        name: str,
        subsets: int = 100,
        subset_size: int = 1000,
        degree: int = 3,
        seed: int = 0,
        get_std: bool = False,
    ) -> None:
        super().__init__(features, name)
        self.subsets = check_integer("subsets", subsets, 1)
        self.subset_size = check_integer("subset_size", subset_size, 2)
        self.degree = check_integer("degree", degree, 1)
        self.seed = check_integer("seed", seed, 0)
        self.get_std = check_flag("get_std", get_std)

    def aggregate(self) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """The distance of all images so far, over all processes, float64 scalars; logged with the features' name.

        Returns:
            The mean over the subsets, or with ``get_std`` (mean, standard deviation over n).

        Raises:
            ValueError: if one of the sets has less than 2 images.

        Warns:
            UserWarning: if one of the sets has less than 2048 images, or less than ``subset_size``.
        """
        width = self._gathered_width()
        generated, real = (self._gather(self._sets[name], width) for name in ("y_pred", "y"))
        self._check_sizes(len(generated), len(real), RECOMMENDED_IMAGES, "the value is right on average, but uncertain")
        size = min(self.subset_size, len(generated), len(real))
        if size < self.subset_size:
            warnings.warn(
                f"{self}: subset_size={self.subset_size} is more than there are images; subsets of {size} are taken, "
                "which differ little or not at all, so the standard deviation is too small.",
                stacklevel=2,
            )
        draws = torch.Generator().manual_seed(self.seed)
        pairs = ((_draw(generated, size, draws), _draw(real, size, draws)) for _ in range(self.subsets))
        values = torch.stack([_squared_mmd(first, second, self.degree) for first, second in pairs])
        mean, std = values.mean(), values.std(correction=0)
        self._log(f"{mean.item():.6g} +- {std.item():.2g}", len(generated), len(real))
        return (mean, std) if self.get_std else mean

    def _empty(self) -> list[torch.Tensor]:
        return []

    def _add(self, held: list[torch.Tensor], rows: torch.Tensor) -> list[torch.Tensor]:
        return [*held, rows]

    def _size(self, held: list[torch.Tensor]) -> int:
        return sum(map(len, held))

    def _gather(self, held: list[torch.Tensor], width: int) -> torch.Tensor:
        """The features of all processes, sorted along a direction in which only equal rows coincide."""
        rows = torch.cat([torch.zeros(0, width, dtype=torch.float64), *held])
        rows = evenly_divisible_all_gather(rows, concat=True)
        direction = torch.randn(width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        return rows[(rows * direction).sum(1).argsort(stable=True)]


def _draw(rows: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    return rows[torch.randperm(len(rows), generator=generator)[:size]]


def _squared_mmd(first: torch.Tensor, second: torch.Tensor, degree: int) -> torch.Tensor:
    """Unbiased estimate of two sets of n rows each."""
    n, width = first.shape

    def kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a @ b.T / width + 1) ** degree

    within = [kernel(rows, rows) for rows in (first, second)]
    pairs = sum(matrix.sum() - matrix.diagonal().sum() for matrix in within)
    return pairs / (n * (n - 1)) - 2 * kernel(first, second).mean()
