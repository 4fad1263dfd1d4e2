"""Metrics that MONAI lacks."""

from __future__ import annotations

from .acutance import AcutanceMetric
from .brightness_shift import BrightnessShiftMetric
from .coverage import CoverageMetric
from .flicker import FlickerMetric
from .seam import SeamMetric

__all__ = ["AcutanceMetric", "BrightnessShiftMetric", "CoverageMetric", "FlickerMetric", "SeamMetric"]
