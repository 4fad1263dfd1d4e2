"""The commands of ``python -m monai_cdiff``."""

from __future__ import annotations

from .main import main

__all__ = ["main"]
