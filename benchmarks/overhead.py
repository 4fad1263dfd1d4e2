"""Time of a step itself: a network that does nothing, small tensors, each sampler in turn, many rounds in one run."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch

from benchmarks.sampler_list import diffusers, monais, ours

__all__ = ["measure_overhead"]

STEPS = 50
ROUNDS = 40

SAMPLERS = {
    "MONAI DDIM": monais("DDIMScheduler"),
    "diffusers DDIM": diffusers("DDIMScheduler"),
    "diffusers DPM++ 2": diffusers("DPMSolverMultistepScheduler", solver_order=2),
    "diffusers UniPC 3": diffusers("UniPCMultistepScheduler", solver_order=3),
    "DDPM": ours("DDPMScheduler"),
    "DDIM": ours("DDIMScheduler"),
    "DPM++ 2": ours("DPMSolverMultistepScheduler", solver_order=2),
    "SDE-DPM++ 2": ours("DPMSolverMultistepScheduler", solver_order=2, algorithm_type="sde-dpmsolver++"),
    "UniPC 3": ours("UniPCMultistepScheduler", solver_order=3),
}


class _Nothing:
    """The bare loop: the price of the loop and of a network that does nothing."""

    def set_timesteps(self, num_inference_steps: int) -> None:
        self.timesteps = torch.arange(num_inference_steps)

    def step(self, model_output: torch.Tensor, timestep: torch.Tensor, sample: torch.Tensor) -> tuple[torch.Tensor]:
        return (sample,)


def measure_overhead() -> dict[str, float]:
    """Milliseconds per step, the median of the rounds, by sampler."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    samplers: dict[str, Any] = {"bare loop": _Nothing(), **{name: make() for name, make in SAMPLERS.items()}}
    rounds: dict[str, list[float]] = {name: [] for name in samplers}
    for _ in range(ROUNDS):
        for name, scheduler in samplers.items():
            rounds[name].append(_one_round(scheduler))
    torch.set_num_threads(threads)
    return {name: round(statistics.median(times), 4) for name, times in rounds.items()}


def _one_round(scheduler: Any) -> float:
    sample = torch.zeros(1, 1, 8, 8)
    output = torch.zeros_like(sample)
    scheduler.set_timesteps(STEPS)
    start = time.perf_counter()
    for timestep in scheduler.timesteps:
        on_device = torch.as_tensor(timestep).expand(1)  # as an inferer hands it to the network
        sample = scheduler.step(output + 0 * on_device, timestep, sample)[0]
    return (time.perf_counter() - start) / STEPS * 1000
