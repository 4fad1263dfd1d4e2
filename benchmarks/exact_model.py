"""Sampling error alone: the network is exact, so that only the sampler errs.

The data are one-dimensional mixtures of normal distributions, whose posterior mean of x0 is known in closed form.
Starts are the 100,000 mid-quantiles of N(0, 1), so nothing is drawn by luck for samplers that draw no noise; the error
is the Wasserstein-1 distance of the samples to the quantiles of the true distribution.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from monai_cdiff.networks.schedulers import DDPMScheduler

__all__ = ["CALLS", "MIXTURES", "Mixture", "sampling_error", "starts"]

CALLS = [4, 8, 10, 16, 20, 32, 50, 100]
COUNT = 100_000


class Mixture:
    """A mixture of normal distributions, and the network that predicts v of it without error."""

    def __init__(self, means: list[float], weights: list[float], sigmas: list[float]) -> None:
        self.means, self.weights, self.sigmas = (torch.tensor(v, dtype=torch.float64) for v in (means, weights, sigmas))
        self._alpha_bar = DDPMScheduler().alpha_bar

    def quantiles(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Where the cumulative distribution reaches ``probabilities``."""
        low, high = (self.means - 8 * self.sigmas).min(), (self.means + 8 * self.sigmas).max()
        at = torch.linspace(low, high, 400_001, dtype=torch.float64)
        reached = sum(w * torch.special.ndtr((at - m) / s) for m, w, s in zip(self.means, self.weights, self.sigmas))
        return torch.from_numpy(np.interp(probabilities.numpy(), reached.numpy(), at.numpy()))

    def posterior_mean(self, x: torch.Tensor, alpha: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """E[x0 | x_t = x], for x of shape (N, 1)."""
        variance = (alpha * self.sigmas) ** 2 + sigma**2
        distance = x - alpha * self.means
        log_weight = self.weights.log() - variance.log() / 2 - distance**2 / (2 * variance)
        component = self.means + alpha * self.sigmas**2 / variance * distance
        return (torch.softmax(log_weight, dim=1) * component).sum(1, keepdim=True)

    def velocity(self, x: torch.Tensor, timestep: float | torch.Tensor) -> torch.Tensor:
        """The exact ``v = alpha eps - sigma x0`` at a timestep, fractional ones included."""
        alpha_bar = self._alpha_bar(torch.as_tensor(float(timestep), dtype=torch.float64))
        alpha, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        x0 = self.posterior_mean(x.double(), alpha, sigma)
        return ((alpha * x - x0) / sigma).to(x.dtype)


MIXTURES = {
    "two components (the anchor)": Mixture([-0.5, 0.4], [0.4, 0.6], [0.08, 0.08]),
    "two narrow components": Mixture([-0.5, 0.4], [0.4, 0.6], [0.03, 0.03]),
    "three components": Mixture([-0.7, 0.0, 0.6], [0.3, 0.45, 0.25], [0.05, 0.1, 0.06]),
}


def starts(count: int = COUNT) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities (i + 1/2) / count, and the starts of the chain at them, shape (count, 1)."""
    probabilities = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return probabilities, torch.special.ndtri(probabilities)[:, None]


def sampling_error(
    sample: Callable[[Callable[[torch.Tensor, torch.Tensor], torch.Tensor], torch.Tensor], torch.Tensor],
    mixture: Mixture,
    count: int = COUNT,
) -> float:
    """Wasserstein-1 distance between what ``sample(network, start)`` returns and the mixture."""
    probabilities, start = starts(count)
    final = sample(mixture.velocity, start).double().flatten().sort().values
    return float((final - mixture.quantiles(probabilities)).abs().mean())
