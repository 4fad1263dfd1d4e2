"""Inferers: the training forward pass, and restoration by sampling."""

from __future__ import annotations

from .conditional_diffusion import ConditionalDiffusionInferer
from .keys import item_keys
from .restoration import RestorationInferer

__all__ = ["ConditionalDiffusionInferer", "RestorationInferer", "item_keys"]
