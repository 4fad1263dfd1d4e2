"""One method on one test set: restored, what is missing, and measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from .bundle_evaluation import BundleEvaluation, Case
from .feature_scores import Features, feature_columns, feature_rows, score_features
from .image_scores import Column, ImageMetric, score_images
from .methods import Method
from .restored_images import RestoredImages
from .result_rows import Measured
from .volume_scores import VolumeCase, VolumeMetric, score_volumes

__all__ = ["SECONDS", "Judges", "OriginalScores", "score_method", "score_originals"]

SECONDS = Column("seconds", "s per image", "s", "lower", "measured when the images were restored, on the device below")
BATCH = 16
_FEATURES_OF_VOLUMES = "of 2-D images"


class Judges(NamedTuple):
    """What is measured.

    Args:
        images: metrics of single images.
        volumes: metrics of whole images, in stored units.
        features: networks whose features FID and KID are of.
    """

    images: Sequence[ImageMetric]
    volumes: Sequence[VolumeMetric] = ()
    features: Sequence[Features] = ()


class OriginalScores(NamedTuple):
    """What is measured of the originals themselves.

    Args:
        measured: by metric, of those that an original has by itself.
        features: of all originals, by the key of the feature network, (N, F).
        digests: of all items, in order.
        subjects: of all items, in order.
    """

    measured: dict[str, Measured]
    features: dict[str, torch.Tensor]
    digests: list[str]
    subjects: list[str]


def score_originals(evaluation: BundleEvaluation, judges: Judges) -> OriginalScores:
    """Measure the originals, once for all methods.

    Args:
        evaluation: whose test set it is.
        judges: what is measured.
    """
    own = [metric for metric in judges.images if metric.of_originals]
    volumes = [metric for metric in judges.volumes if metric.of_originals]
    scores: dict[str, list[float]] = {metric.column.name: [] for metric in own if not metric.reason}
    features = {network.key: [torch.empty(0, 0)] for network in judges.features}
    digests, subjects = [], []
    for cases in _batches(evaluation):
        digests += [case.digest for case in cases]
        subjects += [case.subject for case in cases]
        _extend(scores, score_images(own, [(case.original, case.original) for case in cases]))
        _add_features(features, judges.features, [case.original for case in cases])
    whole = (
        VolumeCase(image := evaluation.image(n), image, evaluation.entry(n))
        for n in range(len(evaluation.dataset.volumes))
    )
    measured = {name: Measured(values, subjects) for name, values in scores.items()}
    measured |= _measured_volumes(volumes, score_volumes(volumes, whole), evaluation)
    return OriginalScores(measured, {key: _joined(rows) for key, rows in features.items()}, digests, subjects)


def score_method(
    method: Method, store: RestoredImages, evaluation: BundleEvaluation, judges: Judges, originals: OriginalScores
) -> tuple[dict[str, Measured], list[str]]:
    """Restore what is missing, and measure.

    Args:
        method: the method.
        store: where its restorations are kept.
        evaluation: whose test set it is.
        judges: what is measured.
        originals: of :py:func:`score_originals`.

    Returns:
        What was measured by metric, and what has to be said of it.

    Raises:
        ValueError: if a restoration has another size than its original, or is not finite.
    """
    images = [metric for metric in judges.images if not metric.reason]
    scores: dict[str, list[float]] = {metric.column.name: [] for metric in images}
    features = {network.key: [torch.empty(0, 0)] for network in judges.features}
    seconds: list[float] = []
    for cases in _batches(evaluation):
        store.complete(cases, method.restore)
        restored = [store.load(case) for case in cases]
        seconds += [store.seconds(case) for case in cases]
        _extend(scores, score_images(images, [(image, case.original) for image, case in zip(restored, cases)]))
        _add_features(features, judges.features, restored)
    subjects = originals.subjects
    measured = {metric.column.name: Measured([], subjects, metric.reason) for metric in judges.images if metric.reason}
    measured |= {
        metric.column.name: Measured(scores[metric.column.name], subjects, metric.otherwise) for metric in images
    }
    said: list[str] = []
    for network in judges.features:
        rows = _joined(features[network.key])
        values, warned = _feature_values(network, rows, originals, evaluation["seed"])
        measured |= values
        said += warned
    whole = _restored_volumes(store, evaluation)
    measured |= _measured_volumes(judges.volumes, score_volumes(judges.volumes, whole), evaluation)
    trivial = method.kind == "trivial"
    measured[SECONDS.name] = Measured([] if trivial else seconds, subjects, "nothing is computed" if trivial else "")
    return measured, said


def _batches(evaluation: BundleEvaluation) -> Iterator[list[Case]]:
    for positions in evaluation.dataset.batches(BATCH):
        yield [evaluation.case(n) for n in positions]


def _extend(scores: dict[str, list[float]], more: dict[str, list[float]]) -> None:
    for name, values in more.items():
        scores[name] += values


def _add_features(
    held: dict[str, list[torch.Tensor]], networks: Sequence[Features], images: Sequence[np.ndarray]
) -> None:
    for network in networks:
        if images[0].ndim == 2:
            held[network.key].append(feature_rows(network, images))


def _joined(rows: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat(rows[1:]) if len(rows) > 1 else rows[0]


def _feature_values(
    network: Features, restored: torch.Tensor, originals: OriginalScores, seed: int
) -> tuple[dict[str, Measured], list[str]]:
    reason = _FEATURES_OF_VOLUMES if not len(restored) else ""
    try:
        if not reason:
            return score_features(network, restored, originals.features[network.key], originals.subjects, seed)
    except ValueError as error:  # too few images
        reason = str(error)
    return {column.name: Measured([], None, reason) for column in feature_columns(network)}, []


def _restored_volumes(store: RestoredImages, evaluation: BundleEvaluation) -> Iterator[VolumeCase]:
    for n in range(len(evaluation.dataset.volumes)):
        slices = [store.load(evaluation.case(position)) for position in evaluation.items_of(n)]
        yield VolumeCase(evaluation.image(n, slices), evaluation.image(n), evaluation.entry(n))


def _measured_volumes(
    metrics: Sequence[VolumeMetric], scores: dict[str, list[float]], evaluation: BundleEvaluation
) -> dict[str, Measured]:
    subjects = [str(evaluation.entry(n).get("subject", n)) for n in range(len(evaluation.dataset.volumes))]
    reasons = {column.name: metric.reason for metric in metrics for column in metric.columns}
    return {name: Measured(values, subjects, reasons[name]) for name, values in scores.items()}
