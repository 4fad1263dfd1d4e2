"""Implicit sampling: the contract and the exact Gaussian in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from contracts.scheduler_contract import SchedulerContract, exact_std, reference_alpha_bar
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
    table = reference_alpha_bar(timesteps)
    variance = 1.0
    for a, a_prev in zip(table, table[1:]):
        eps_gain = np.sqrt(1 - a) / (a * std**2 + 1 - a)
        x0_gain = (1 - np.sqrt(1 - a) * eps_gain) / np.sqrt(a)
        added = eta**2 * (1 - a_prev) / (1 - a) * (1 - a / a_prev)
        gain = np.sqrt(a_prev) * x0_gain + np.sqrt(1 - a_prev - added) * eps_gain
        variance = gain**2 * variance + added
    return float(np.sqrt(variance))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [pytest.param(2000, marks=pytest.mark.slow), 250, 50])
@pytest.mark.parametrize("spacing", ["trailing", "log1p"])
def test_exact_gaussian_follows_the_closed_form(
    spacing: str, steps: int, eta: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = DDIMScheduler(clip_sample=False, eta=eta, timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    expected = closed_form_std(scheduler.timesteps.tolist(), 0.2, eta)
    assert exact_std(scheduler, 0.2, monkeypatch) == pytest.approx(expected, rel=1e-3)
