"""How far a set of restored images is from the set of their originals, by the features of a network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..metrics import FIDMetric, KIDMetric
from .image_scores import Column

__all__ = ["Features", "feature_columns", "feature_rows", "score_features"]


class Features(NamedTuple):
    """A feature network.

    Args:
        key: short name, part of the columns' names.
        name: which network with which weights, beside every value.
        function: images (B, 1, H, W) on 0 to 1 -> (B, F).
    """

    key: str
    name: str
    function: Callable[[torch.Tensor], torch.Tensor]


def feature_columns(features: Features) -> list[Column]:
    """The columns of a feature network: FID and KID.

    Example:
        >>> [column.title for column in feature_columns(Features("pixels", "pixels", lambda x: x.flatten(1)))]
        ['FID (pixels)', 'KID (pixels)']
    """
    note = f"of the features {features.name}; comparable only between equally large sets"
    return [
        Column(f"{kind}_{features.key}", f"{kind.upper()} ({features.key})", "", "lower", note)
        for kind in ("fid", "kid")
    ]


def feature_rows(features: Features, images: Sequence[np.ndarray]) -> torch.Tensor:
    """Features of a batch of images (H, W) of one size, (B, F)."""
    batch = torch.from_numpy(np.stack(images))[:, None].float().clamp(0, 1)
    with torch.no_grad():
        return features.function(batch).cpu()


def score_features(
    features: Features, restored: torch.Tensor, original: torch.Tensor
) -> tuple[dict[str, float], list[str]]:
    """FID and KID between two sets of features.

    Args:
        features: whose they are.
        restored: (N, F).
        original: (M, F).

    Returns:
        The values by the names of their columns, and what has to be said of them (too few images).

    Raises:
        ValueError: for sets of fewer than 2 images, or features that are not finite.

    Example:
        >>> rows = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
        >>> values, _ = score_features(Features("four", "four numbers", torch.nn.Identity()), rows, rows)
        >>> round(values["fid_four"], 6)
        0.0
    """
    values = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for column, metric in zip(feature_columns(features), (FIDMetric, KIDMetric), strict=True):
            scorer = metric(torch.nn.Identity(), features.name)
            scorer(y_pred=restored, y=original)
            values[column.name] = float(torch.as_tensor(scorer.aggregate()))
    said = list(dict.fromkeys(str(warning.message) for warning in caught))
    return values, said
