"""Networks, their building blocks, schedulers, and what a network predicts."""

from __future__ import annotations

from . import blocks, nets, schedulers
from .parameterization import Parameterization

__all__ = ["Parameterization", "blocks", "nets", "schedulers"]
