"""Transforms that take from an image what the network is to give back, and the way to its grid."""

from __future__ import annotations

from .array import DownsampleUpsample, FactorChannel, RandDownsampleUpsample, UpsampleInPlane
from .dictionary import (
    DownsampleUpsampleD,
    DownsampleUpsampled,
    DownsampleUpsampleDict,
    FactorChannelD,
    FactorChanneld,
    FactorChannelDict,
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
    "FactorChannel",
    "FactorChannelD",
    "FactorChannelDict",
    "FactorChanneld",
    "RandDownsampleUpsample",
    "RandDownsampleUpsampleD",
    "RandDownsampleUpsampleDict",
    "RandDownsampleUpsampled",
    "UpsampleInPlane",
    "UpsampleInPlaneD",
    "UpsampleInPlaneDict",
    "UpsampleInPlaned",
]
