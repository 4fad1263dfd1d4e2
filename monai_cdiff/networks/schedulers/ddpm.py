"""Ancestral sampling of denoising diffusion probabilistic models, the sampler of the Med-cDiff paper."""

from __future__ import annotations

from typing import Any

import torch

from ...utils import Generators, check_option, randn
from .base import DiffusionScheduler
from .noise_level import Transition

__all__ = ["DDPMScheduler"]


class DDPMScheduler(DiffusionScheduler):
    """Ancestral sampling (Ho et al., arXiv:2006.11239), with the settings of Med-cDiff as defaults.

    One step is eq. 20 of Med-cDiff, written for any stride of the grid: with ``beta = 1 - alpha_bar / alpha_bar_prev``
    the sample at the previous timestep is drawn from a normal distribution with mean
    ``sqrt(alpha_bar_prev) beta / (1 - alpha_bar) x0 + sqrt(1 - beta) (1 - alpha_bar_prev) / (1 - alpha_bar) x_t``.
    Over the whole chain this equals MONAI's ``DDPMScheduler``; with fewer steps it stays right, where MONAI's goes
    from ``t`` to ``t - 1`` whatever the grid.

    Args:
        num_train_timesteps: see :py:class:`DiffusionScheduler`.
        schedule: see :py:class:`DiffusionScheduler`.
        variance_type: variance of a step: ``"fixed_large"`` (``beta``, the paper's choice) or ``"fixed_small"``
            (``beta (1 - alpha_bar_prev) / (1 - alpha_bar)``, MONAI's default).
        kwargs: the other arguments of :py:class:`DiffusionScheduler` and of the schedule.

    Example:
        >>> import torch
        >>> scheduler = DDPMScheduler(timestep_spacing="trailing")
        >>> scheduler.set_timesteps(4)
        >>> scheduler.timesteps.tolist()
        [1999, 1499, 999, 499]
        >>> sample, x0 = scheduler.step(torch.zeros(1, 1, 8, 8), 1999, torch.zeros(1, 1, 8, 8))
    """

    def __init__(
        self,
        num_train_timesteps: int = 2000,
        schedule: str = "linear_beta",
        *,
        variance_type: str = "fixed_large",
        **kwargs: Any,
    ) -> None:
        super().__init__(num_train_timesteps, schedule, **kwargs)
        self.variance_type = check_option("variance_type", variance_type, ["fixed_small", "fixed_large"])

    def _advance(
        self, x0: torch.Tensor, sample: torch.Tensor, transition: Transition, generator: Generators
    ) -> torch.Tensor:
        x0_factor, sample_factor, variance = self._posterior(transition)
        mean = x0_factor * x0 + sample_factor * sample
        if transition.is_last:
            return mean
        return mean + variance**0.5 * randn(sample.shape, generator, sample.device, sample.dtype)

    def _posterior(self, transition: Transition) -> tuple[float, float, float]:
        """Factors of x0 and of the sample in the mean of a step, and its variance."""
        (alpha, sigma), (alpha_prev, sigma_prev) = transition.here, transition.there
        beta = 1 - (alpha / alpha_prev) ** 2
        shrink = (sigma_prev / sigma) ** 2
        variance = beta if self.variance_type == "fixed_large" else beta * shrink
        return alpha_prev * beta / sigma**2, alpha / alpha_prev * shrink, variance

    # The next two are what MONAI's DiffusionInferer.get_likelihood asks of a DDPMScheduler.

    def _get_mean(self, timestep: int, x_0: torch.Tensor, x_t: torch.Tensor) -> torch.Tensor:
        if len(self.timesteps) != self.num_train_timesteps:
            raise ValueError(
                f"num_inference_steps={len(self.timesteps)}: a likelihood is a sum over the whole chain; call "
                f"set_timesteps({self.num_train_timesteps})."
            )
        x0_factor, sample_factor, _ = self._posterior(self._transition(timestep))
        return x0_factor * x_0 + sample_factor * x_t

    def _get_variance(self, timestep: int, predicted_variance: torch.Tensor | None = None) -> torch.Tensor:
        _, _, variance = self._posterior(self._transition(timestep))
        return torch.tensor(max(variance, 1e-20))  # a logarithm is taken of it
