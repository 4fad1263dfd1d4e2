"""What is wrong with MONAI's own schedulers when they take fewer steps than the chain is long."""

from __future__ import annotations

import warnings

from monai.networks.schedulers import DDIMScheduler, DDPMScheduler, Scheduler

__all__ = ["warn_of_strides"]

_FAULTS = {
    DDPMScheduler: "goes from t to t - 1 whatever the grid of its timesteps, so most of the noise stays in the sample",
    DDIMScheduler: "takes strides of T // n along a grid of other strides, so its samples have the wrong spread",
}


def warn_of_strides(scheduler: Scheduler, num_inference_steps: int) -> None:
    """Warn if ``scheduler`` is MONAI's DDPM or DDIM scheduler with fewer steps than its chain has timesteps.

    Args:
        scheduler: any scheduler.
        num_inference_steps: number of network calls it is used with.
    """
    fault = next((text for kind, text in _FAULTS.items() if isinstance(scheduler, kind)), None)
    if fault is None or num_inference_steps >= scheduler.num_train_timesteps:
        return
    name = type(scheduler).__name__
    warnings.warn(
        f"MONAI's {name} with {num_inference_steps} steps of {scheduler.num_train_timesteps}: it {fault}. Use "
        f"monai_cdiff.networks.schedulers.{name}, or UniPCMultistepScheduler for few calls.",
        stacklevel=3,
    )
