"""Downstream networks as columns of a comparison: accuracy, Dice, and the features of a classifier."""

from __future__ import annotations

import math

import torch

from ..data import read_label
from .downstream import Classifier, Segmenter, dice_per_structure
from .feature_scores import Features
from .image_scores import Column
from .volume_scores import VolumeCase, VolumeMetric

__all__ = ["accuracy_metric", "classifier_features", "dice_metric"]


def accuracy_metric(classifier: Classifier) -> VolumeMetric:
    """Share of the images whose class a classifier names rightly; the datalist says it under ``class``.

    Args:
        classifier: trained on originals.

    Raises:
        ValueError: when called, if the datalist names a class that the classifier does not know.
    """
    sha256 = classifier.sha256[:8]
    column = Column("accuracy", "accuracy", note=f"of the classes {', '.join(classifier.classes)}; weights {sha256}")

    def told_rightly(case: VolumeCase) -> dict[str, float]:
        truth = case.entry.get("class")
        if truth is None:
            return {}
        if truth not in classifier.classes:
            known = ", ".join(classifier.classes)
            raise ValueError(f"{case.entry['image']}: class={truth!r} is none of the classifier's: {known}.")
        return {"accuracy": float(classifier.classes[int(classifier.predict(case.restored).argmax())] == truth)}

    return VolumeMetric([column], told_rightly, reason="the datalist names no class")


def dice_metric(segmenter: Segmenter, label_key: str = "label") -> VolumeMetric:
    """Dice coefficient of each structure, 3-D, against the labels that the datalist names.

    Args:
        segmenter: trained on originals.
        label_key: entry of the datalist with the path of the label image.

    Raises:
        ValueError: when called, if labels lie on another grid or hold values that the segmenter does not know.
        FileNotFoundError: when called, if there is no such label image.
    """
    note = f"3-D, against the labels of the originals; weights {segmenter.sha256[:8]}"
    columns = [Column(f"dice_{_slug(name)}", f"Dice {name}", note=note) for name in segmenter.structures]

    def overlaps(case: VolumeCase) -> dict[str, float]:
        file = case.entry.get(label_key)
        if file is None:
            return {}
        truth = read_label(file, case.original)
        if int(truth.max()) > len(columns):
            known = f"0 to {len(columns)} ({', '.join(segmenter.structures)})"
            raise ValueError(f"{label_key}={str(file)!r} holds {int(truth.max())}; the segmenter knows {known}.")
        values = dice_per_structure(segmenter.segment(case.restored), truth, len(columns)).tolist()
        return {column.name: value for column, value in zip(columns, values, strict=True) if not math.isnan(value)}

    reason = f"no label image under {label_key!r} in the datalist, or no such structure"
    return VolumeMetric(columns, overlaps, reason=reason)


def classifier_features(classifier: Classifier) -> Features:
    """The last features of a classifier: those of images of this kind, where Inception's are of photographs."""

    def features(images: torch.Tensor) -> torch.Tensor:
        return classifier.features(images)

    return Features("classifier", f"of the classifier, weights {classifier.sha256[:8]}", features)


def _slug(name: str) -> str:
    return "_".join("".join(letter if letter.isalnum() else " " for letter in name.lower()).split())
