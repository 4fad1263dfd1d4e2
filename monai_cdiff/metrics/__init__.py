"""Metrics that MONAI lacks, and how sure their means are."""

from __future__ import annotations

from .acutance import AcutanceMetric, acutance
from .brightness_shift import BrightnessShiftMetric
from .coverage import CoverageMetric
from .fid import FIDMetric
from .flicker import FlickerMetric
from .inception import inception_features
from .kid import KIDMetric
from .lpips import LPIPSMetric
from .seam import SeamMetric
from .statistics import BootstrapInterval, PairedTest, bootstrap_interval, paired_test

__all__ = [
    "AcutanceMetric",
    "BootstrapInterval",
    "BrightnessShiftMetric",
    "CoverageMetric",
    "FIDMetric",
    "FlickerMetric",
    "KIDMetric",
    "LPIPSMetric",
    "PairedTest",
    "SeamMetric",
    "acutance",
    "bootstrap_interval",
    "inception_features",
    "paired_test",
]
