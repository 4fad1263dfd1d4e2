"""The bridge: the contract, its closed form on the exact Gaussian, and what it is the same as."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from contracts.scheduler_contract import SchedulerContract, exact_std, noise, reference_alpha_bar
from monai_cdiff.inferers import ConditionalDiffusionInferer, RestorationInferer
from monai_cdiff.networks import Parameterization
from monai_cdiff.networks.schedulers import BridgeScheduler, DDIMScheduler, DDPMScheduler

KAPPA = 0.7
INFERERS = [ConditionalDiffusionInferer, partial(RestorationInferer, num_inference_steps=2)]
RESIDUAL = Parameterization("v_prediction", "residual", residual_scale=3.0)


class TestBridgeScheduler(SchedulerContract):
    prediction_types = ["sample", "v_prediction"]

    @staticmethod
    def make(**kwargs: Any) -> BridgeScheduler:
        return BridgeScheduler(**{"kappa": KAPPA, **kwargs})

    @staticmethod
    def expected_scalings(alpha_bar: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return alpha_bar, KAPPA * (alpha_bar * (1 - alpha_bar)).sqrt()

    @staticmethod
    def expected_velocity(x0: torch.Tensor, eps: torch.Tensor, alpha_bar: torch.Tensor) -> torch.Tensor:
        alpha, sigma = TestBridgeScheduler.expected_scalings(alpha_bar)
        return (alpha * x0 + sigma * eps - x0) / (KAPPA * (1 - alpha_bar).sqrt())

    def test_starts_at_the_degraded_image_and_ends_at_the_original(self) -> None:
        scheduler, residual = self.scheduler(), noise(1)
        first, last = (scheduler.add_noise(residual, noise(2), torch.full((2,), t)) for t in (1999, 0))
        assert first.abs().max() < 1e-3
        assert (last - residual).abs().max() < 0.03

    def test_noise_is_strongest_in_the_middle(self) -> None:
        scheduler = self.scheduler()
        middle = (scheduler.alphas_cumprod - 0.5).abs().argmin()
        _, sigma = scheduler.scalings(torch.arange(2000))
        assert sigma.argmax() == middle and float(sigma.max()) == pytest.approx(KAPPA / 2, rel=1e-3)

    def test_a_prediction_of_the_noise_is_refused(self) -> None:
        with pytest.raises(ValueError, match="prediction_type='epsilon' does not fit a bridge.*allowed: 'sample'"):
            self.make(prediction_type="epsilon")

    def test_kappa_is_saved_and_checked_on_load(self) -> None:
        with pytest.raises(ValueError, match="kappa=0 must be a finite number, more than 0"):
            self.make(kappa=0)
        with pytest.raises(RuntimeError, match="saved T=2000.*, kappa=0.7; configured T=2000.*, kappa=0.5"):
            self.make(kappa=0.5).load_state_dict(self.make().state_dict())
        with pytest.raises(RuntimeError, match='Unexpected key.*"kappa"'):
            DDIMScheduler().load_state_dict(self.make().state_dict())

    @pytest.mark.parametrize("inferer", INFERERS)
    def test_a_parameterization_of_the_image_is_refused(self, inferer: Any) -> None:
        with pytest.raises(ValueError, match="scheduler=BridgeScheduler needs target='residual'; .* target='image'"):
            inferer(self.make(), parameterization=Parameterization("v_prediction"))
        inferer(self.make(), parameterization=RESIDUAL)


def closed_form_std(timesteps: list[float], std: float, eta: float) -> float:
    """Final standard deviation for a residual of N(0, std^2), from the Brownian bridge pinned at both ends.

    Its posterior between x0 and x is ``(s'/s) x + (1 - s'/s) x0`` with variance ``kappa^2 s' (s - s') / s``; eta < 1
    replaces the missing variance by the noise that the sample has.
    """
    share = 1 - reference_alpha_bar(timesteps)
    sigma = KAPPA * np.sqrt(share * (1 - share))
    variance = (1 - share[0]) ** 2 * std**2 + sigma[0] ** 2
    for s, s_next, here, there in zip(share, share[1:], sigma, sigma[1:]):
        x0_gain = (1 - s) * std**2 / ((1 - s) ** 2 * std**2 + here**2)
        added = eta**2 * KAPPA**2 * s_next * (s - s_next) / s
        if eta == 1:
            gain = s_next / s + (1 - s_next / s) * x0_gain
        else:
            eps_gain = (1 - (1 - s) * x0_gain) / here
            gain = (1 - s_next) * x0_gain + np.sqrt(there**2 - added) * eps_gain
        variance = gain**2 * variance + added
    return float(np.sqrt(variance))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [2, 50, 250, pytest.param(2000, marks=pytest.mark.slow)])
def test_exact_gaussian_follows_the_closed_form(steps: int, eta: float, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = BridgeScheduler(clip_sample=False, eta=eta, kappa=KAPPA)
    scheduler.set_timesteps(steps)
    expected = closed_form_std(scheduler.timesteps.tolist(), 0.2, eta)
    assert exact_std(scheduler, 0.2, monkeypatch) == pytest.approx(expected, rel=1e-3)


def test_is_the_diffusion_of_the_residual_in_other_coordinates() -> None:
    """x_bridge = kappa sqrt(alpha_bar) x_diffusion of the residual over kappa: ancestral samples agree step by step."""
    bridge = BridgeScheduler(clip_sample=False, kappa=KAPPA, prediction_type="sample")
    diffusion = DDPMScheduler(clip_sample=False, prediction_type="sample", variance_type="fixed_small")
    bridge.set_timesteps(6)
    diffusion.set_timesteps(timesteps=bridge.timesteps)
    x = noise(1)
    scale = KAPPA * diffusion.alpha_bar(bridge.timesteps).sqrt().float()
    y = scale[0] * x
    for i, t in enumerate(bridge.timesteps):
        x0 = torch.tanh(noise(3 + i))
        x, _ = diffusion.step(x0 / KAPPA, t, x, torch.Generator().manual_seed(i))
        y, _ = bridge.step(x0, t, y, torch.Generator().manual_seed(i))
        expected = (scale[i + 1] if i + 1 < len(scale) else KAPPA) * x
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)


def test_restores_from_the_degraded_image() -> None:
    """One call from the degraded image with a perfect network is the original."""
    original, condition = torch.tanh(noise(1)), torch.tanh(noise(2))
    seen = []

    def network(x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        seen.append(x[:, :1])
        x0 = RESIDUAL.encode(original, condition)
        return RESIDUAL.training_target(x0, torch.zeros_like(original), timesteps, scheduler)

    scheduler = BridgeScheduler()
    restored = RestorationInferer(scheduler, 1, parameterization=RESIDUAL)(condition, network)
    assert seen[0].abs().max() < 1e-3
    torch.testing.assert_close(restored, original, rtol=1e-3, atol=1e-3)
