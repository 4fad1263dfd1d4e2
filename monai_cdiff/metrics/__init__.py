"""Metrics that MONAI lacks."""

from __future__ import annotations

from .brightness_shift import BrightnessShiftMetric

__all__ = ["BrightnessShiftMetric"]
