"""The samplers that are compared: ours, MONAI's and those of diffusers, all behind one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.networks import schedulers as monai_schedulers

from monai_cdiff.networks import schedulers as our_schedulers

__all__ = ["OURS", "PEERS", "Network", "run"]

Network = Callable[[torch.Tensor, Any], torch.Tensor]
T = 2000


def ours(name: str, **kwargs: Any) -> Callable[..., Any]:
    """A maker of one of our schedulers, which takes further arguments."""
    return lambda **more: getattr(our_schedulers, name)(T, prediction_type="v_prediction", **kwargs, **more)


def monais(name: str, **kwargs: Any) -> Callable[..., Any]:
    """A maker of one of MONAI's schedulers."""
    return lambda **more: getattr(monai_schedulers, name)(T, prediction_type="v_prediction", **kwargs, **more)


def diffusers(name: str, **kwargs: Any) -> Callable[..., Any]:
    """A maker of one of the schedulers of diffusers, on the same schedule."""

    def make(**more: Any) -> Any:
        import diffusers

        chain = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "num_train_timesteps": T}
        return getattr(diffusers, name)(**chain, prediction_type="v_prediction", **kwargs, **more)

    return make


_EVERY = {"timestep_spacing": "trailing"}
_LU = {"use_lu_lambdas": True, "algorithm_type": "dpmsolver++"}

PEERS = {
    "MONAI DDPM": monais("DDPMScheduler", clip_sample=False),
    "MONAI DDIM": monais("DDIMScheduler", clip_sample=False),
    "MONAI PNDM": monais("PNDMScheduler", skip_prk_steps=True),
    "diffusers DDIM trailing": diffusers("DDIMScheduler", clip_sample=False, **_EVERY),
    "diffusers DPM++ 2 trailing": diffusers("DPMSolverMultistepScheduler", solver_order=2, **_EVERY),
    "diffusers DPM++ 2 log-SNR": diffusers("DPMSolverMultistepScheduler", solver_order=2, **_LU),
    "diffusers DPM++ 3 log-SNR": diffusers("DPMSolverMultistepScheduler", solver_order=3, **_LU),
    "diffusers SDE-DPM++ 2 log-SNR": diffusers(
        "DPMSolverMultistepScheduler", solver_order=2, use_lu_lambdas=True, algorithm_type="sde-dpmsolver++"
    ),
    "diffusers UniPC 2 log-SNR": diffusers("UniPCMultistepScheduler", solver_order=2, use_exponential_sigmas=True),
    "diffusers UniPC 3 log-SNR": diffusers("UniPCMultistepScheduler", solver_order=3, use_exponential_sigmas=True),
}

OURS = {
    "DDPM": ours("DDPMScheduler", clip_sample=False),
    "DDIM": ours("DDIMScheduler", clip_sample=False),
    "DPM++ 2": ours("DPMSolverMultistepScheduler", clip_sample=False, solver_order=2),
    "DPM++ 3": ours("DPMSolverMultistepScheduler", clip_sample=False, solver_order=3),
    "SDE-DPM++ 2": ours(
        "DPMSolverMultistepScheduler", clip_sample=False, solver_order=2, algorithm_type="sde-dpmsolver++"
    ),
    "UniPC 2": ours("UniPCMultistepScheduler", clip_sample=False, solver_order=2),
    "UniPC 3 (default)": ours("UniPCMultistepScheduler", clip_sample=False),
}


def run(scheduler: Any, num_inference_steps: int, network: Network, start: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Sample with any of them, by the protocol they share."""
    scheduler.set_timesteps(num_inference_steps)
    generator = torch.Generator().manual_seed(seed)
    takes_generator = "generator" in scheduler.step.__code__.co_varnames
    sample = start
    for timestep in scheduler.timesteps:
        kwargs = {"generator": generator} if takes_generator else {}
        result = scheduler.step(network(sample, timestep), timestep, sample, **kwargs)
        sample = result[0]
    return sample
