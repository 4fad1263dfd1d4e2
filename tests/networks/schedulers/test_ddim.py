"""Implicit sampling: the contract and the exact Gaussian in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from contracts.scheduler_contract import SchedulerContract, final_std, gaussian_gain_and_noise
from monai_cdiff.networks.schedulers import DDIMScheduler


class TestDDIMScheduler(SchedulerContract):
    @staticmethod
    def make(**kwargs: Any) -> DDIMScheduler:
        return DDIMScheduler(**kwargs)

    def test_wrong_eta(self) -> None:
        with pytest.raises(ValueError, match="eta=1.5 must be a finite number, at least 0 and at most 1"):
            self.make(eta=1.5)


class TestDDIMSchedulerStochastic(SchedulerContract):
    @staticmethod
    def make(**kwargs: Any) -> DDIMScheduler:
        return DDIMScheduler(eta=1.0, **kwargs)


def closed_form_std(timesteps: list[float], std: float, eta: float) -> float:
    """Final standard deviation for N(0, std^2), from eq. 12 and 16 of arXiv:2010.02502 alone."""
    log_table = np.append(0.0, np.log(np.cumprod(1 - np.linspace(1e-4, 0.02, 2000))))
    table = np.exp(np.interp(np.array([*timesteps, -1.0]), np.arange(-1, 2000), log_table))
    variance = 1.0
    for a, a_prev in zip(table, table[1:]):
        eps_gain = np.sqrt(1 - a) / (a * std**2 + 1 - a)
        x0_gain = (1 - np.sqrt(1 - a) * eps_gain) / np.sqrt(a)
        added = eta**2 * (1 - a_prev) / (1 - a) * (1 - a / a_prev)
        gain = np.sqrt(a_prev) * x0_gain + np.sqrt(1 - a_prev - added) * eps_gain
        variance = gain**2 * variance + added
    return float(np.sqrt(variance))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [2000, 250, 50])
@pytest.mark.parametrize("spacing", ["trailing", "logsnr"])
def test_exact_gaussian_follows_the_closed_form(spacing: str, steps: int, eta: float) -> None:
    scheduler = DDIMScheduler(clip_sample=False, eta=eta, timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    expected = closed_form_std(scheduler.timesteps.tolist(), 0.2, eta)
    assert final_std(gaussian_gain_and_noise(scheduler, 0.2)) == pytest.approx(expected, rel=1e-3)


def test_error_falls_with_the_number_of_steps() -> None:
    errors = []
    for steps in (10, 50, 250, 2000):
        scheduler = DDIMScheduler(clip_sample=False)
        scheduler.set_timesteps(steps)
        errors.append(abs(final_std(gaussian_gain_and_noise(scheduler, 0.5)) - 0.5))
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.003
