"""Conditional diffusion for medical image restoration, as an extension of MONAI.

The rooms carry MONAI's names: ``networks``, ``inferers``, ``engines``, ``handlers``, ``transforms``, ``data``,
``losses``, ``metrics`` and ``utils``, with ``operators`` for what degrades an image and ``evaluation`` for studies
with readers. Each is imported when it is first used.

Research software, not a medical device.
"""

from __future__ import annotations

import importlib
from types import ModuleType

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "data",
    "engines",
    "evaluation",
    "handlers",
    "inferers",
    "losses",
    "metrics",
    "networks",
    "operators",
    "transforms",
    "utils",
]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
