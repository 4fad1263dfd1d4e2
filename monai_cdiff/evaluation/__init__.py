"""How good restorations are in the eyes of readers: a two-alternative forced-choice study, made and scored."""

from __future__ import annotations

from .binomial import binomial_interval, binomial_test
from .image_pairs import ImagePair, list_pairs, read_pair
from .reader_study import key_path, make_study
from .study_score import PooledScore, ReaderScore, StudyScore, score_study

__all__ = [
    "ImagePair",
    "PooledScore",
    "ReaderScore",
    "StudyScore",
    "binomial_interval",
    "binomial_test",
    "key_path",
    "list_pairs",
    "make_study",
    "read_pair",
    "score_study",
]
