"""Schedulers: the noising process, the timesteps to visit, and the step from one to the next."""

from __future__ import annotations

from .base import Bounds, DiffusionScheduler
from .bridge import BridgeScheduler
from .ddim import DDIMScheduler
from .ddpm import DDPMScheduler
from .diffusers_adapter import DiffusersSchedulerAdapter
from .dpm_solver_multistep import DPMSolverMultistepScheduler
from .spacings import TimestepSpacings
from .unipc_multistep import UniPCMultistepScheduler

__all__ = [
    "Bounds",
    "BridgeScheduler",
    "DDIMScheduler",
    "DDPMScheduler",
    "DPMSolverMultistepScheduler",
    "DiffusersSchedulerAdapter",
    "DiffusionScheduler",
    "TimestepSpacings",
    "UniPCMultistepScheduler",
]
