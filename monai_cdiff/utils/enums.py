"""The words a configuration can use, as string enumerations."""

from __future__ import annotations

from monai.utils import StrEnum

__all__ = ["ConditioningMode", "DownsampleDomain", "MaskShape", "PredictionType", "Target"]


class PredictionType(StrEnum):
    """What the network predicts; the words are those of MONAI's schedulers."""

    EPSILON = "epsilon"
    SAMPLE = "sample"
    V_PREDICTION = "v_prediction"


class Target(StrEnum):
    """What is diffused: the image itself, or its scaled difference from the condition."""

    IMAGE = "image"
    RESIDUAL = "residual"


class ConditioningMode(StrEnum):
    """How the condition enters the network: beside the noisy image as channels, or by cross-attention."""

    CONCAT = "concat"
    CROSSATTN = "crossattn"


class DownsampleDomain(StrEnum):
    """Where resolution is taken away: by an anti-aliased resize of the image, or by cropping its k-space."""

    IMAGE = "image"
    KSPACE = "kspace"


class MaskShape(StrEnum):
    """What a mask of inpainting is made of: boxes, or free-form strokes."""

    BOX = "box"
    STROKE = "stroke"
