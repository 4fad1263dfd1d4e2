"""Patient-wise intensity scaling and its inverse."""

from __future__ import annotations

from .array import ScaleIntensityPatientwise, UnscaleIntensityPatientwise
from .dictionary import (
    ScaleIntensityPatientwiseD,
    ScaleIntensityPatientwised,
    ScaleIntensityPatientwiseDict,
    UnscaleIntensityPatientwiseD,
    UnscaleIntensityPatientwised,
    UnscaleIntensityPatientwiseDict,
)

__all__ = [
    "ScaleIntensityPatientwise",
    "ScaleIntensityPatientwiseD",
    "ScaleIntensityPatientwiseDict",
    "ScaleIntensityPatientwised",
    "UnscaleIntensityPatientwise",
    "UnscaleIntensityPatientwiseD",
    "UnscaleIntensityPatientwiseDict",
    "UnscaleIntensityPatientwised",
]
