"""Noise of X-ray images, as denoising removes it."""

from __future__ import annotations

from .array import GaussianSaltPepperNoise, RandGaussianSaltPepperNoise
from .dictionary import (
    GaussianSaltPepperNoiseD,
    GaussianSaltPepperNoised,
    GaussianSaltPepperNoiseDict,
    RandGaussianSaltPepperNoiseD,
    RandGaussianSaltPepperNoised,
    RandGaussianSaltPepperNoiseDict,
)

__all__ = [
    "GaussianSaltPepperNoise",
    "GaussianSaltPepperNoiseD",
    "GaussianSaltPepperNoiseDict",
    "GaussianSaltPepperNoised",
    "RandGaussianSaltPepperNoise",
    "RandGaussianSaltPepperNoiseD",
    "RandGaussianSaltPepperNoiseDict",
    "RandGaussianSaltPepperNoised",
]
