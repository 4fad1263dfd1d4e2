"""Schedulers: the noising process, the timesteps to visit, and the step from one to the next."""

from __future__ import annotations

from .base import Bounds, DiffusionScheduler
from .ddim import DDIMScheduler
from .ddpm import DDPMScheduler
from .spacings import TimestepSpacings

__all__ = ["Bounds", "DDIMScheduler", "DDPMScheduler", "DiffusionScheduler", "TimestepSpacings"]
