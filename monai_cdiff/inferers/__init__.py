"""Inferers: the training forward pass, and restoration by sampling."""

from __future__ import annotations

from .calibration import calibrate_intervals
from .chain import SamplingStep
from .conditional_diffusion import ConditionalDiffusionInferer
from .conformal import ConformalIntervals
from .consistency import KeepMeasured, MatchLowResolution, residual_map
from .keys import item_keys
from .posterior import PosteriorInferer
from .regression import RegressionInferer
from .restoration import RestorationInferer
from .slices import SliceSettings
from .tiled_network import TiledNetwork

__all__ = [
    "ConditionalDiffusionInferer",
    "ConformalIntervals",
    "KeepMeasured",
    "MatchLowResolution",
    "PosteriorInferer",
    "RegressionInferer",
    "RestorationInferer",
    "SamplingStep",
    "SliceSettings",
    "TiledNetwork",
    "calibrate_intervals",
    "item_keys",
    "residual_map",
]
