"""The samplers that are compared: ours, MONAI's and those of diffusers, all behind one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.networks import schedulers as monai_schedulers

from monai_cdiff.networks import schedulers as our_schedulers

__all__ = ["BESIDE_BRIDGE", "ON_BRIDGE", "ON_NETWORK", "OURS", "PEERS", "Network", "run"]

Network = Callable[[torch.Tensor, Any], torch.Tensor]
T = 2000


def ours(name: str, **kwargs: Any) -> Callable[..., Any]:
    """A maker of one of our schedulers."""
    return lambda: getattr(our_schedulers, name)(T, prediction_type="v_prediction", **kwargs)


def monais(name: str, **kwargs: Any) -> Callable[..., Any]:
    """A maker of one of MONAI's schedulers."""
    return lambda: getattr(monai_schedulers, name)(T, prediction_type="v_prediction", **kwargs)


def diffusers(name: str, **kwargs: Any) -> Callable[..., Any]:
    """A maker of one of the schedulers of diffusers, on the same schedule."""

    def make() -> Any:
        import diffusers

        chain = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "num_train_timesteps": T}
        return getattr(diffusers, name)(**chain, prediction_type="v_prediction", **kwargs)

    return make


_TRAILING = {"timestep_spacing": "trailing"}
_DPM, _SDE = "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}
_UNIPC = "UniPCMultistepScheduler"
_FREE = {"clip_sample": False}
_LU = {"use_lu_lambdas": True, "algorithm_type": "dpmsolver++"}

PEERS = {
    "MONAI DDPM": monais("DDPMScheduler", **_FREE),
    "MONAI DDIM": monais("DDIMScheduler", **_FREE),
    "MONAI PNDM": monais("PNDMScheduler", skip_prk_steps=True),
    "diffusers DDIM trailing": diffusers("DDIMScheduler", **_FREE, **_TRAILING),
    "diffusers DPM++ 2 trailing": diffusers(_DPM, solver_order=2, **_TRAILING),
    "diffusers DPM++ 2 log-SNR": diffusers(_DPM, solver_order=2, **_LU),
    "diffusers DPM++ 2 Karras": diffusers(_DPM, solver_order=2, use_karras_sigmas=True),
    "diffusers DPM++ 3 log-SNR": diffusers(_DPM, solver_order=3, **_LU),
    "diffusers SDE-DPM++ 2 log-SNR": diffusers(_DPM, solver_order=2, use_lu_lambdas=True, **_SDE),
    "diffusers UniPC 2 log-SNR": diffusers(_UNIPC, solver_order=2, use_exponential_sigmas=True),
    "diffusers UniPC 3 log-SNR": diffusers(_UNIPC, solver_order=3, use_exponential_sigmas=True),
}

OURS = {
    "DDPM": ours("DDPMScheduler", **_FREE),
    "DDIM": ours("DDIMScheduler", **_FREE),
    "DPM++ 2": ours(_DPM, solver_order=2, **_FREE),
    "DPM++ 3": ours(_DPM, solver_order=3, **_FREE),
    "SDE-DPM++ 2": ours(_DPM, solver_order=2, **_SDE, **_FREE),
    "UniPC 2": ours(_UNIPC, solver_order=2, **_FREE),
    "UniPC 3 (default)": ours(_UNIPC, **_FREE),
}


def _bounded(name: str, **kwargs: Any) -> Callable[..., Any]:
    """A scheduler of diffusers whose predicted x0 is bounded voxel by voxel as ours is, which it could not do alone."""
    make = diffusers(name, **kwargs)
    return lambda: our_schedulers.DiffusersSchedulerAdapter(make())


# On a network of the residual, with bounds for all; "log1p" is the spacing by default.
ON_NETWORK = {
    "MONAI DDPM": monais("DDPMScheduler", **_FREE),
    "MONAI DDIM": monais("DDIMScheduler", **_FREE),
    "diffusers DDIM trailing": _bounded("DDIMScheduler", **_FREE, **_TRAILING),
    "diffusers DPM++ 2 trailing": _bounded(_DPM, solver_order=2, **_TRAILING),
    "diffusers DPM++ 2 log-SNR": _bounded(_DPM, solver_order=2, **_LU),
    "diffusers SDE-DPM++ 2 trailing": _bounded(_DPM, solver_order=2, **_SDE, **_TRAILING),
    "diffusers SDE-DPM++ 2 log-SNR": _bounded(_DPM, solver_order=2, use_lu_lambdas=True, **_SDE),
    "diffusers UniPC 2 trailing": _bounded(_UNIPC, solver_order=2, **_TRAILING),
    "diffusers UniPC 2 log-SNR": _bounded(_UNIPC, solver_order=2, use_exponential_sigmas=True),
    "DDPM fixed_small": ours("DDPMScheduler", variance_type="fixed_small"),
    "DDIM": ours("DDIMScheduler"),
    "DDIM trailing": ours("DDIMScheduler", **_TRAILING),
    "DDIM log-SNR": ours("DDIMScheduler", timestep_spacing="logsnr"),
    "DPM++ 2": ours(_DPM, solver_order=2),
    "DPM++ 2 trailing": ours(_DPM, solver_order=2, **_TRAILING),
    "SDE-DPM++ 2": ours(_DPM, solver_order=2, **_SDE),
    "SDE-DPM++ 2 trailing": ours(_DPM, solver_order=2, **_SDE, **_TRAILING),
    "UniPC 3": ours(_UNIPC),
    "UniPC 3 trailing": ours(_UNIPC, **_TRAILING),
}

# On two networks trained alike, one with bridge.json and one without.
ON_BRIDGE = {
    "bridge": ours("BridgeScheduler"),
    "bridge, eta 0": ours("BridgeScheduler", eta=0.0),
    "bridge log-SNR": ours("BridgeScheduler", timestep_spacing="logsnr"),
}
BESIDE_BRIDGE = {name: ON_NETWORK[name] for name in ("DDIM", "DDPM fixed_small", "DDIM log-SNR", "DDIM trailing")}


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
