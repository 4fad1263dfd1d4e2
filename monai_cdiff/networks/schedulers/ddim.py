"""Denoising diffusion implicit models: the deterministic sampler for few network calls."""

from __future__ import annotations

from typing import Any

import torch

from ...utils import Generators, check_number, randn
from .base import DiffusionScheduler
from .noise_level import Transition

__all__ = ["DDIMScheduler"]


class DDIMScheduler(DiffusionScheduler):
    """Implicit sampling (Song et al., arXiv:2010.02502, eq. 12), from no noise (``eta=0``) to ancestral (``eta=1``).

    ``x_prev = sqrt(alpha_bar_prev) x0 + sqrt(1 - alpha_bar_prev - s^2) eps + s z`` with
    ``s^2 = eta^2 (1 - alpha_bar_prev) / (1 - alpha_bar) (1 - alpha_bar / alpha_bar_prev)``. The noise ``eps`` is taken
    from the sample and the bounded x0, so that both describe the same point.

    Args:
        num_train_timesteps: see :py:class:`DiffusionScheduler`.
        schedule: see :py:class:`DiffusionScheduler`.
        eta: share of the ancestral noise in a step, from 0 to 1.
        kwargs: the other arguments of :py:class:`DiffusionScheduler` and of the schedule.

    Example:
        >>> import torch
        >>> scheduler = DDIMScheduler(prediction_type="v_prediction")
        >>> scheduler.set_timesteps(2)
        >>> sample, x0 = scheduler.step(torch.zeros(1, 1, 8, 8), 1999, torch.zeros(1, 1, 8, 8))
    """

    def __init__(
        self, num_train_timesteps: int = 2000, schedule: str = "linear_beta", *, eta: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(num_train_timesteps, schedule, **kwargs)
        self.eta = check_number("eta", eta, 0, 1)

    def _advance(
        self, x0: torch.Tensor, sample: torch.Tensor, transition: Transition, generator: Generators
    ) -> torch.Tensor:
        (alpha, sigma), (alpha_prev, sigma_prev) = transition.here, transition.there
        variance = (self.eta * sigma_prev) ** 2 * (1 - (alpha * sigma_prev / (alpha_prev * sigma)) ** 2)
        eps_factor = (sigma_prev**2 - variance) ** 0.5 / sigma
        mean = (alpha_prev - alpha * eps_factor) * x0 + eps_factor * sample
        if variance == 0:
            return mean
        return mean + variance**0.5 * randn(sample.shape, generator, sample.device, sample.dtype)
