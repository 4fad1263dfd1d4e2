"""Masks of inpainting, and images without what they cover."""

from __future__ import annotations

from .array import AlignMask, InpaintMask, MaskImage, RandInpaintMask, RestoreMeasured
from .dictionary import (
    AlignMaskD,
    AlignMaskd,
    AlignMaskDict,
    InpaintMaskD,
    InpaintMaskd,
    InpaintMaskDict,
    MaskImageD,
    MaskImaged,
    MaskImageDict,
    RandInpaintMaskD,
    RandInpaintMaskd,
    RandInpaintMaskDict,
    RestoreMeasuredD,
    RestoreMeasuredd,
    RestoreMeasuredDict,
)

__all__ = [
    "AlignMask",
    "AlignMaskD",
    "AlignMaskDict",
    "AlignMaskd",
    "InpaintMask",
    "InpaintMaskD",
    "InpaintMaskDict",
    "InpaintMaskd",
    "MaskImage",
    "MaskImageD",
    "MaskImageDict",
    "MaskImaged",
    "RandInpaintMask",
    "RandInpaintMaskD",
    "RandInpaintMaskDict",
    "RandInpaintMaskd",
    "RestoreMeasured",
    "RestoreMeasuredD",
    "RestoreMeasuredDict",
    "RestoreMeasuredd",
]
