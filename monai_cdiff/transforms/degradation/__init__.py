"""Transforms that take from an image what the network is to give back, and the way to its grid."""

from __future__ import annotations

from .array import DownsampleUpsample, RandDownsampleUpsample, UpsampleInPlane
from .dictionary import (
    DownsampleUpsampleD,
    DownsampleUpsampled,
    DownsampleUpsampleDict,
    RandDownsampleUpsampleD,
    RandDownsampleUpsampled,
    RandDownsampleUpsampleDict,
    UpsampleInPlaneD,
    UpsampleInPlaned,
    UpsampleInPlaneDict,
)

__all__ = [
    "DownsampleUpsample",
    "DownsampleUpsampleD",
    "DownsampleUpsampleDict",
    "DownsampleUpsampled",
    "RandDownsampleUpsample",
    "RandDownsampleUpsampleD",
    "RandDownsampleUpsampleDict",
    "RandDownsampleUpsampled",
    "UpsampleInPlane",
    "UpsampleInPlaneD",
    "UpsampleInPlaneDict",
    "UpsampleInPlaned",
]
