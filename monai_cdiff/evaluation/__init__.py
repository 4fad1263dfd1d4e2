"""How good restorations are: in the eyes of readers, by a forced-choice study, and of networks that judge them."""

from __future__ import annotations

from .binomial import binomial_interval, binomial_test
from .downstream import Classifier, Segmenter, dice_per_structure
from .image_pairs import ImagePair, list_pairs, read_pair
from .reader_study import key_path, make_study
from .study_score import PooledScore, ReaderScore, StudyScore, score_study
from .two_sample import STANDS_IN, TwoSampleResult, two_sample_test

__all__ = [
    "STANDS_IN",
    "Classifier",
    "ImagePair",
    "PooledScore",
    "ReaderScore",
    "Segmenter",
    "StudyScore",
    "TwoSampleResult",
    "binomial_interval",
    "binomial_test",
    "dice_per_structure",
    "key_path",
    "list_pairs",
    "make_study",
    "read_pair",
    "score_study",
    "two_sample_test",
]
