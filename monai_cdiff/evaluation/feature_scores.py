"""How far a set of restored images is from the set of their originals, by the features of a network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..metrics import FIDMetric, KIDMetric
from .image_scores import Column
from .result_rows import Measured
from .two_sample import STANDS_IN, two_sample_test

__all__ = ["Features", "feature_columns", "feature_rows", "score_features"]


_FOLDS = 5  # of the two-sample test
_SUBSET = 1000  # images of a subset of KID


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
    """The columns of a feature network: FID, KID, and how often a classifier tells restored images from originals.

    Example:
        >>> [column.title for column in feature_columns(Features("pixels", "pixels", lambda x: x.flatten(1)))]
        ['FID (pixels)', 'KID (pixels)', 'told apart (pixels)']
    """
    key, note = features.key, f"features {features.name}; comparable only between equally large sets"
    apart = f"features {features.name}; 0.5 by guessing; {STANDS_IN}"
    return [
        Column(f"fid_{key}", f"FID ({key})", "", "lower", note),
        Column(f"kid_{key}", f"KID ({key})", "", "zero", note),
        Column(f"told_apart_{key}", f"told apart ({key})", "", "half", apart),
    ]


def feature_rows(features: Features, images: Sequence[np.ndarray]) -> torch.Tensor:
    """Features of a batch of images (H, W) of one size, (B, F)."""
    batch = torch.from_numpy(np.stack(images))[:, None].float().clamp(0, 1)
    with torch.no_grad():
        return features.function(batch).cpu()


def score_features(
    features: Features, restored: torch.Tensor, original: torch.Tensor, subjects: Sequence[str], seed: int = 0
) -> tuple[dict[str, Measured], list[str]]:
    """FID and KID between two sets of features, and the classifier two-sample test of them.

    Args:
        features: whose they are.
        restored: (N, F).
        original: (N, F).
        subjects: whose image each row is, N.
        seed: of the folds and permutations of the test.

    Returns:
        The values by the names of their columns, and what has to be said of them (too few images).

    Raises:
        ValueError: for sets of fewer than 2 images, or features that are not finite.

    Example:
        >>> rows = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
        >>> four = Features("four", "four numbers", torch.nn.Identity())
        >>> values, _ = score_features(four, rows, rows, [str(n) for n in range(64)])
        >>> round(values["fid_four"].values[0], 6)
        0.0
    """
    fid, kid, apart = (column.name for column in feature_columns(features))
    values = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # so few images are one subset, which says all there is
        size = min(len(restored), len(original))
        subsets, subset_size = (100, _SUBSET) if size > _SUBSET else (1, max(size, 2))
        by_kernel = KIDMetric(torch.nn.Identity(), features.name, subsets, subset_size)
        for name, scorer in ((fid, FIDMetric(torch.nn.Identity(), features.name)), (kid, by_kernel)):
            scorer(y_pred=restored, y=original)
            values[name] = Measured([float(torch.as_tensor(scorer.aggregate()))], None)
        values[apart] = _told_apart(restored, original, subjects, seed)
    said = list(dict.fromkeys(str(warning.message) for warning in caught))
    return values, said


def _told_apart(restored: torch.Tensor, original: torch.Tensor, subjects: Sequence[str], seed: int) -> Measured:
    if len(set(subjects)) < _FOLDS:
        return Measured([], None, f"needs {_FOLDS} subjects, here are {len(set(subjects))}")
    found = two_sample_test(original, restored, subjects, _FOLDS, seed=seed)
    return Measured([found.accuracy], None, interval=(found.low, found.high))
