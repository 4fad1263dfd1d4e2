"""What happens to images outside the network, as MONAI transforms: array and dictionary forms."""

from __future__ import annotations

from .degradation import (
    DownsampleUpsample,
    DownsampleUpsampleD,
    DownsampleUpsampled,
    DownsampleUpsampleDict,
    RandDownsampleUpsample,
    RandDownsampleUpsampleD,
    RandDownsampleUpsampled,
    RandDownsampleUpsampleDict,
    UpsampleInPlane,
    UpsampleInPlaneD,
    UpsampleInPlaned,
    UpsampleInPlaneDict,
)
from .intensity import (
    ScaleIntensityPatientwise,
    ScaleIntensityPatientwiseD,
    ScaleIntensityPatientwised,
    ScaleIntensityPatientwiseDict,
    UnscaleIntensityPatientwise,
    UnscaleIntensityPatientwiseD,
    UnscaleIntensityPatientwised,
    UnscaleIntensityPatientwiseDict,
)
from .io import SaveLikeInputD, SaveLikeInputd, SaveLikeInputDict, check_outputs, list_outputs

__all__ = [
    "DownsampleUpsample",
    "DownsampleUpsampleD",
    "DownsampleUpsampleDict",
    "DownsampleUpsampled",
    "RandDownsampleUpsample",
    "RandDownsampleUpsampleD",
    "RandDownsampleUpsampleDict",
    "RandDownsampleUpsampled",
    "SaveLikeInputD",
    "SaveLikeInputDict",
    "SaveLikeInputd",
    "ScaleIntensityPatientwise",
    "ScaleIntensityPatientwiseD",
    "ScaleIntensityPatientwiseDict",
    "ScaleIntensityPatientwised",
    "UnscaleIntensityPatientwise",
    "UnscaleIntensityPatientwiseD",
    "UnscaleIntensityPatientwiseDict",
    "UnscaleIntensityPatientwised",
    "UpsampleInPlane",
    "UpsampleInPlaneD",
    "UpsampleInPlaneDict",
    "UpsampleInPlaned",
    "check_outputs",
    "list_outputs",
]
