"""How good restorations are in the eyes of readers: a two-alternative forced-choice study, made and scored."""

from __future__ import annotations

from .binomial import binomial_interval, binomial_test
from .bundle_evaluation import BundleEvaluation, Case
from .classical_methods import CLASSICAL_METHODS, remove_impulses
from .comparison import Comparison
from .feature_scores import Features
from .image_pairs import ImagePair, list_pairs, read_pair
from .image_scores import Column, image_metrics, score_images
from .method_scores import Judges
from .methods import MethodSpec, known_methods, make_method, parse_method
from .reader_study import key_path, make_study
from .restored_images import RestoredImages
from .result_rows import Measured, make_row
from .study_score import PooledScore, ReaderScore, StudyScore, score_study
from .volume_scores import VolumeCase, VolumeMetric, flicker_metric, score_volumes

__all__ = [
    "BundleEvaluation",
    "CLASSICAL_METHODS",
    "Case",
    "Column",
    "Comparison",
    "Features",
    "ImagePair",
    "Judges",
    "Measured",
    "MethodSpec",
    "PooledScore",
    "ReaderScore",
    "RestoredImages",
    "StudyScore",
    "VolumeCase",
    "VolumeMetric",
    "binomial_interval",
    "binomial_test",
    "flicker_metric",
    "image_metrics",
    "key_path",
    "known_methods",
    "list_pairs",
    "make_method",
    "make_row",
    "make_study",
    "parse_method",
    "read_pair",
    "remove_impulses",
    "score_images",
    "score_study",
    "score_volumes",
]
