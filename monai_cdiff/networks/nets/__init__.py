"""Networks that predict what a diffusion step needs."""

from __future__ import annotations

from .conditional_unet import UNET_SIZES, ConditionalUNet, UNetSize

__all__ = ["UNET_SIZES", "ConditionalUNet", "UNetSize"]
