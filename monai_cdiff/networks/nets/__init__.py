"""Networks that predict what a diffusion step needs, and one that judges what comes of it."""

from __future__ import annotations

from .conditional_unet import UNET_SIZES, ConditionalUNet, UNetSize
from .vgg11_classifier import VGG11Classifier

__all__ = ["UNET_SIZES", "ConditionalUNet", "UNetSize", "VGG11Classifier"]
