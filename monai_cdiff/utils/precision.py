"""Mixed precision on the type each device is good at."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

__all__ = ["amp_by_default", "amp_dtype", "autocast"]


def amp_dtype(device: torch.device | str) -> torch.dtype:
    """The half type of a device: bfloat16, or float16 on GPUs that lack bfloat16."""
    if torch.device(device).type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16


def amp_by_default(device: torch.device | str) -> bool:
    """Whether mixed precision pays: on any GPU, and on CPUs with bfloat16 instructions."""
    if torch.device(device).type != "cpu":
        return True
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return probe is not None and bool(probe())


def autocast(device: torch.device | str, enabled: bool = True) -> AbstractContextManager:
    """Autocast on ``device`` to :py:func:`amp_dtype`, or nothing if not ``enabled``."""
    if not enabled:
        return nullcontext()  # an autocast around this one stays in force
    return torch.autocast(torch.device(device).type, dtype=amp_dtype(device))
