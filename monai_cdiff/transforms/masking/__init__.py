"""Masks of inpainting, and images without what they cover."""

from __future__ import annotations

from .array import InpaintMask, MaskImage, RandInpaintMask, RestoreMeasured
from .dictionary import (
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
