"""Ancestral sampling: the contract, the exact Gaussian in closed form, and MONAI's own at n = T."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.inferers import DiffusionInferer
from monai.networks.schedulers import DDPMScheduler as MonaiDDPMScheduler

from contracts.scheduler_contract import SchedulerContract, exact_std, noise, reference_alpha_bar
from monai_cdiff.networks.schedulers import DDPMScheduler


class TestDDPMScheduler(SchedulerContract):
    @staticmethod
    def make(**kwargs: Any) -> DDPMScheduler:
        return DDPMScheduler(**kwargs)

    def test_unknown_variance(self) -> None:
        with pytest.raises(ValueError, match="variance_type='learned' is not supported"):
            self.make(variance_type="learned")


def closed_form_std(timesteps: list[float], std: float, variance_type: str) -> float:
    """Final standard deviation of ancestral sampling of N(0, std^2), from eq. 12 and 13 of the paper alone."""
    table = reference_alpha_bar(timesteps)
    variance = 1.0
    for a, a_prev in zip(table, table[1:]):
        x0_gain = np.sqrt(a) * std**2 / (a * std**2 + 1 - a)
        mean_gain = np.sqrt(a_prev) * (1 - a / a_prev) / (1 - a) * x0_gain + np.sqrt(a / a_prev) * (1 - a_prev) / (
            1 - a
        )
        added = 1 - a / a_prev if variance_type == "fixed_large" else (1 - a / a_prev) * (1 - a_prev) / (1 - a)
        variance = mean_gain**2 * variance + (added if a_prev < 1 else 0)
    return float(np.sqrt(variance))


@pytest.mark.parametrize("variance_type", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("steps", [pytest.param(2000, marks=pytest.mark.slow), 250, 50])
@pytest.mark.parametrize("std", [0.5, 0.2])
def test_exact_gaussian_follows_the_closed_form(
    std: float, steps: int, variance_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = DDPMScheduler(clip_sample=False, variance_type=variance_type)
    scheduler.set_timesteps(steps)
    expected = closed_form_std(scheduler.timesteps.tolist(), std, variance_type)
    assert exact_std(scheduler, std, monkeypatch) == pytest.approx(expected, rel=1e-3)


def test_a_real_sample_has_the_right_spread() -> None:
    scheduler = DDPMScheduler(clip_sample=False, variance_type="fixed_small")
    scheduler.set_timesteps(250)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 40_000, generator=generator)
    for t in scheduler.timesteps:
        alpha_bar = float(scheduler.alpha_bar(t[None]))
        x, _ = scheduler.step((1 - alpha_bar) ** 0.5 / (alpha_bar * 0.25 + 1 - alpha_bar) * x, t, x, generator)
    assert float(x.std()) == pytest.approx(closed_form_std(scheduler.timesteps.tolist(), 0.5, "fixed_small"), rel=0.015)


@pytest.mark.parametrize("variance_type", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("timestep", [1999, 700, 1, 0])
def test_equals_monai_over_the_whole_chain(timestep: int, prediction_type: str, variance_type: str) -> None:
    kwargs = {"num_train_timesteps": 2000, "prediction_type": prediction_type, "variance_type": variance_type}
    ours, monais = DDPMScheduler(**kwargs), MonaiDDPMScheduler(**kwargs)
    results = [
        scheduler.step(noise(1), timestep, noise(2), generator=torch.Generator().manual_seed(3))
        for scheduler in (ours, monais)
    ]
    for own, theirs in zip(*results):
        torch.testing.assert_close(own, theirs, rtol=2e-3, atol=2e-3)  # MONAI's tables are float32


def test_step_is_equation_20_of_the_paper() -> None:
    scheduler, t, eps, x = DDPMScheduler(clip_sample=False), 1200, noise(1), noise(2)
    beta, alpha_bar = float(scheduler.betas[t]), float(scheduler.alphas_cumprod[t])
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    expected = (x - beta / (1 - alpha_bar) ** 0.5 * eps) / (1 - beta) ** 0.5 + beta**0.5 * z
    previous, _ = scheduler.step(eps, t, x, torch.Generator().manual_seed(3))
    torch.testing.assert_close(previous, expected, rtol=1e-4, atol=1e-4)


def test_whole_chain_equals_monais() -> None:
    kwargs = {"num_train_timesteps": 60, "beta_start": 1e-3, "beta_end": 0.1, "variance_type": "fixed_large"}
    samples = []
    for scheduler in (DDPMScheduler(**kwargs), MonaiDDPMScheduler(**kwargs)):
        scheduler.set_timesteps(60)
        sample, generator = noise(1), torch.Generator().manual_seed(3)
        for t in scheduler.timesteps:
            sample, _ = scheduler.step(torch.tanh(sample), t, sample, generator=generator)
        samples.append(sample)
    torch.testing.assert_close(*samples, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("variance_type", ["fixed_small", "fixed_large"])
def test_monais_likelihood_is_monais(variance_type: str) -> None:
    image, results = noise(1).clamp(-1, 1), []
    for kind in (MonaiDDPMScheduler, DDPMScheduler):
        torch.manual_seed(0)
        inferer = DiffusionInferer(kind(30, variance_type=variance_type))
        kwargs = {"save_intermediates": True, "verbose": False}
        _, parts = inferer.get_likelihood(image, lambda x, timesteps, context: torch.tanh(x), **kwargs)
        # the last part counts how often a mean is within a grey level of the image: a rounding decides it
        results.append(torch.stack(parts[:-1]))
    torch.testing.assert_close(*results, rtol=3e-3, atol=1e-5)


def test_a_likelihood_needs_the_whole_chain() -> None:
    scheduler = DDPMScheduler(30, timestep_spacing="trailing")
    scheduler.set_timesteps(5)
    with pytest.raises(ValueError, match="num_inference_steps=5: a likelihood is a sum over the whole chain; call"):
        DiffusionInferer(scheduler).get_likelihood(noise(1), lambda x, timesteps, context: x, verbose=False)
