"""Registry of timestep grids: which timesteps of the chain a sampler visits.

A spacing is a function ``(num_inference_steps, alphas_cumprod) -> timesteps``: strictly falling float64 numbers between
``num_train_timesteps - 1`` and 0, fractional ones allowed. ``"trailing"`` ends above 0; ``"leading"`` begins below
``num_train_timesteps - 1``, where a sample is not pure noise: it is there for parity, not for restoration.

A new one is added by name::

    @TimestepSpacings.add_def("mine", "every other timestep")
    def _mine(num_inference_steps, alphas_cumprod): ...
"""

from __future__ import annotations

import numpy as np
import torch
from monai.utils import ComponentStore

__all__ = ["TimestepSpacings"]

TimestepSpacings = ComponentStore("TimestepSpacings", "Functions that choose the timesteps a sampler visits")


@TimestepSpacings.add_def("trailing", "equal strides counted back from the noisiest timestep")
def _trailing(num_inference_steps: int, alphas_cumprod: torch.Tensor) -> np.ndarray:
    stride = len(alphas_cumprod) / num_inference_steps
    return np.round(len(alphas_cumprod) - stride * np.arange(num_inference_steps)) - 1


@TimestepSpacings.add_def("leading", "equal whole strides counted up from timestep 0")
def _leading(num_inference_steps: int, alphas_cumprod: torch.Tensor) -> np.ndarray:
    stride = len(alphas_cumprod) // num_inference_steps
    return stride * np.arange(num_inference_steps, dtype=np.float64)[::-1]


@TimestepSpacings.add_def("linspace", "equal strides from the noisiest timestep to timestep 0")
def _linspace(num_inference_steps: int, alphas_cumprod: torch.Tensor) -> np.ndarray:
    return np.round(np.linspace(len(alphas_cumprod) - 1, 0, num_inference_steps))


@TimestepSpacings.add_def("logsnr", "equal strides in log(alpha_bar / (1 - alpha_bar)), fractional timesteps")
def _logsnr(num_inference_steps: int, alphas_cumprod: torch.Tensor) -> np.ndarray:
    log_snr = torch.logit(alphas_cumprod.double()).cpu().numpy()
    wanted = np.linspace(log_snr[-1], log_snr[0], num_inference_steps)
    return np.interp(wanted, log_snr[::-1], np.arange(len(log_snr), dtype=np.float64)[::-1])
