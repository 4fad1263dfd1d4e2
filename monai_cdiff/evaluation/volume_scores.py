"""What is measured of whole images: change from slice to slice, and what downstream networks make of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from monai.data import MetaTensor

from ..metrics import FlickerMetric
from ..utils import as_plain
from .image_scores import Column

__all__ = ["VolumeCase", "VolumeMetric", "flicker_metric", "score_volumes"]


class VolumeCase(NamedTuple):
    """A whole image that was restored, in stored units and on its place in the patient.

    Args:
        restored: (1, H, W) or (1, H, W, D).
        original: likewise.
        entry: of the datalist.
    """

    restored: MetaTensor
    original: MetaTensor
    entry: Mapping[str, Any]


class VolumeMetric(NamedTuple):
    """A metric of whole images.

    Args:
        columns: of the table.
        function: image -> a number for each column by its name; NaN, or no entry, where there is none.
        of_originals: whether the original has values of its own.
        reason: what to say where an image has no value.
    """

    columns: Sequence[Column]
    function: Callable[[VolumeCase], Mapping[str, float]]
    of_originals: bool = True
    reason: str = ""


def flicker_metric() -> VolumeMetric:
    """Change from slice to slice over that of the original, by :py:class:`~monai_cdiff.metrics.FlickerMetric`.

    Example:
        >>> volume = MetaTensor(torch.arange(3.0).expand(1, 4, 4, 3))
        >>> flicker_metric().function(VolumeCase(3 * volume, volume, {}))
        {'flicker': 9.0}
    """
    column = Column("flicker", "flicker", "", "one", "energy of the change from slice to slice over the original's")
    return VolumeMetric([column], _flicker, of_originals=False, reason="of volumes whose slices differ")


def score_volumes(metrics: Sequence[VolumeMetric], cases: Iterable[VolumeCase]) -> dict[str, list[float]]:
    """Score whole images.

    Args:
        metrics: what is measured.
        cases: the images.

    Returns:
        For each column one number an image; NaN where there is none.

    Example:
        >>> image = MetaTensor(torch.zeros(1, 4, 4))
        >>> score_volumes([flicker_metric()], [VolumeCase(image, image, {})])
        {'flicker': [nan]}
    """
    scores: dict[str, list[float]] = {column.name: [] for metric in metrics for column in metric.columns}
    for case in cases:
        for metric in metrics:
            values = metric.function(case)
            for column in metric.columns:
                value = float(values.get(column.name, math.nan))
                scores[column.name].append(value if math.isfinite(value) else math.nan)
    return scores


def _flicker(case: VolumeCase) -> dict[str, float]:
    if case.original.ndim < 4 or case.original.shape[-1] < 2:
        return {}
    restored, original = (as_plain(image)[None].float() for image in (case.restored, case.original))
    return {"flicker": float(torch.as_tensor(FlickerMetric()(restored, original)).mean())}
