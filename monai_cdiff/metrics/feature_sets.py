"""What metrics between two sets of images share: they are told apart by features, never paired."""

from __future__ import annotations

import logging
import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.metrics.metric import Metric
from monai.utils import evenly_divisible_all_gather

from ..utils import as_plain, check_finite

__all__ = ["FeatureSetMetric"]

logger = logging.getLogger(__name__)

RECOMMENDED_IMAGES = 2048

Images = torch.Tensor | Sequence[torch.Tensor]


class FeatureSetMetric(Metric):
    """Base of metrics that compare the features of generated images with those of real ones, as two sets.

    A call adds images to either set or to both; the sets may differ in size, and batches and order do not matter.
    ``aggregate`` gathers the sets of all processes: each of them must call it.

    In MONAI's engines it stands in ``IgniteMetricHandler(metric_fn=..., save_details=False)``: there is no value of a
    single image. The details, if they are saved all the same, are the number of images in each set.

    Args:
        features: images -> features of shape (B, F), one row an image. A ``Module`` is put into evaluation mode and
            moved to the images' device.
        name: of the features, with their weights or version; written beside every value.

    Raises:
        ValueError: if the name is empty.
        TypeError: if ``features`` cannot be called.
    """

    def __init__(self, features: Callable[[torch.Tensor], torch.Tensor], name: str) -> None:
        super().__init__()
        if not callable(features):
            raise TypeError(f"features={features!r} cannot be called; it must map images to (B, F).")
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"name={name!r} must say which features these are: values of others cannot be compared.")
        self.features = features.eval() if isinstance(features, torch.nn.Module) else features
        self.name = name
        self.reset()

    def __str__(self) -> str:
        return f"{type(self).__name__}(features={self.name})"

    def reset(self) -> None:
        """Forget all images."""
        self._num_features = 0
        self._sets = {"y_pred": self._empty(), "y": self._empty()}

    def __call__(self, y_pred: Images | None = None, y: Images | None = None) -> None:
        """Add images to the sets.

        Args:
            y_pred: generated images, (B, C, ...), or a list of images (C, ...), as a MONAI engine hands them over after
                ``decollate_batch``; None adds none.
            y: real images, likewise; not paired with ``y_pred``.

        Raises:
            ValueError: if neither is given, the features are not (B, F) with F as before, or they are not finite.
        """
        if y_pred is None and y is None:
            raise ValueError("y_pred=None and y=None: give generated images, real ones, or both.")
        rows = {name: self._rows(name, images) for name, images in (("y_pred", y_pred), ("y", y)) if images is not None}
        for name, added in rows.items():
            self._sets[name] = self._add(self._sets[name], added)

    def get_buffer(self) -> torch.Tensor:
        """Number of generated and of real images over all processes, shape (1, 2)."""
        counts = torch.tensor([[self._size(self._sets["y_pred"]), self._size(self._sets["y"])]])
        return evenly_divisible_all_gather(counts, concat=True).sum(0, keepdim=True)

    @abstractmethod
    def aggregate(self) -> Any:
        """The metric of all images so far, over all processes."""
        raise NotImplementedError

    @abstractmethod
    def _empty(self) -> Any:
        """A set of no images."""
        raise NotImplementedError

    @abstractmethod
    def _add(self, held: Any, rows: torch.Tensor) -> Any:
        """The set with more rows of features (B, F), float64 on the CPU."""
        raise NotImplementedError

    @abstractmethod
    def _size(self, held: Any) -> int:
        """The number of images of a set."""
        raise NotImplementedError

    @torch.no_grad()
    def _rows(self, name: str, images: Images) -> torch.Tensor:
        """Features of a batch, or of a list of images that may differ in size, checked, in float64 on the CPU."""
        if not isinstance(images, torch.Tensor):
            if len({image.shape for image in images}) > 1:
                return torch.cat([self._rows(name, image[None]) for image in images])
            images = torch.stack(list(images)) if len(images) else torch.zeros(0)
        if images.ndim < 2 or not len(images):
            raise ValueError(f"{name} has shape {tuple(images.shape)}; it must be (B, C, ...), B at least 1.")
        if isinstance(self.features, torch.nn.Module):
            self.features.to(images.device)
        found = self.features(as_plain(images))
        shape = tuple(getattr(found, "shape", ()))
        width = self._num_features or (shape[1] if len(shape) == 2 else 0)
        if shape != (len(images), width) or not width:
            raise ValueError(
                f"{self}: the features of {name} of shape {tuple(images.shape)} have shape {shape}; they must be "
                f"({len(images)}, {self._num_features or 'F'})."
            )
        rows = check_finite(f"{self}: the features of {name}", found).detach().cpu().double()
        self._num_features = width
        return rows

    def _gathered_width(self) -> int:
        """F of whichever processes have seen images."""
        widths = evenly_divisible_all_gather(torch.tensor([self._num_features]), concat=True)
        if len(found := set(widths.tolist()) - {0}) > 1:
            raise ValueError(f"{self}: the processes' features have {sorted(found)} values an image; it must be one F.")
        return int(widths.max())

    def _check_sizes(self, generated: int, real: int, wanted: int, why: str) -> None:
        """Refuse sets of less than two images, warn under ``wanted``."""
        if min(generated, real) < 2:
            raise ValueError(f"{self} has {generated} generated and {real} real images; it needs at least 2 of each.")
        if min(generated, real) < wanted:
            warnings.warn(
                f"{self}: {generated} generated and {real} real images, fewer than {wanted}: {why}.", stacklevel=3
            )

    def _log(self, value: str, generated: int, real: int) -> None:
        logger.info(f"{self}: {value}, {generated} generated and {real} real images")
