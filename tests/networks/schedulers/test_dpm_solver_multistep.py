"""DPM-Solver++: the contract, the published recursion on the exact Gaussian, its order, and parity with diffusers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler as DiffusersScheduler

from contracts.multistep_contract import MultistepContract, assert_parity, convergence_order
from contracts.scheduler_contract import exact_std, reference_alpha_bar
from monai_cdiff.networks.schedulers import DPMSolverMultistepScheduler

SDE = "sde-dpmsolver++"


class TestDPMSolverMultistepScheduler(MultistepContract):
    @staticmethod
    def make(**kwargs: Any) -> DPMSolverMultistepScheduler:
        return DPMSolverMultistepScheduler(**kwargs)

    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [
            ({"algorithm_type": "dpmsolver"}, r"algorithm_type='dpmsolver' is not supported; allowed: 'dpmsolver\+\+'"),
            ({"solver_type": "heun"}, "solver_type='heun' is not supported; allowed: 'midpoint', 'adams'"),
        ],
    )
    def test_wrong_arguments_of_its_own(self, kwargs: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            self.make(**kwargs)


class TestDPMSolverMultistepSchedulerStochastic(MultistepContract):
    @staticmethod
    def make(**kwargs: Any) -> DPMSolverMultistepScheduler:
        return DPMSolverMultistepScheduler(algorithm_type=SDE, **kwargs)


def closed_form_std(timesteps: list[float], std: float, order: int, algorithm_type: str) -> float:
    """Final standard deviation for N(0, std^2), from the published formulas with their differences D1 and D2.

    The sample is a row of weights of the noise of the start and of each step.
    """
    table = reference_alpha_bar(timesteps)
    alpha, sigma, q = np.sqrt(table), np.sqrt(1 - table), 2 if algorithm_type == SDE else 1
    with np.errstate(divide="ignore"):
        lam = np.log(alpha / sigma)
    x, m = np.eye(len(timesteps) + 1)[0], []
    for i in range(len(timesteps)):
        m.append(alpha[i] * std**2 / (alpha[i] ** 2 * std**2 + sigma[i] ** 2) * x)
        if i == len(timesteps) - 1:
            return float(np.linalg.norm(m[-1]))
        h = lam[i + 1] - lam[i]
        e = np.exp(-q * h)
        new = sigma[i + 1] / sigma[i] * np.exp(-(q - 1) * h) * x + alpha[i + 1] * (1 - e) * m[-1]
        if order == 2 and i >= 1:
            new = new + alpha[i + 1] * (1 - e) / 2 * (m[-1] - m[-2]) / ((lam[i] - lam[i - 1]) / h)
        if order == 3 and i == 1:
            new = new + alpha[i + 1] * (1 - e) / 2 * (m[-1] - m[-2]) / ((lam[i] - lam[i - 1]) / h)
        if order == 3 and i >= 2:
            r0, r1 = (lam[i] - lam[i - 1]) / h, (lam[i - 1] - lam[i - 2]) / h
            d10, d11 = (m[-1] - m[-2]) / r0, (m[-2] - m[-3]) / r1
            d1, d2 = d10 + r0 / (r0 + r1) * (d10 - d11), (d10 - d11) / (r0 + r1)
            new = new + alpha[i + 1] * (((e - 1) / (q * h) + 1) * d1 - ((e - 1 + q * h) / (q * h) ** 2 - 0.5) * d2)
        noise = sigma[i + 1] * np.sqrt(1 - np.exp(-2 * h)) if q == 2 else 0.0
        x = new + noise * np.eye(len(timesteps) + 1)[i + 1]
    raise AssertionError


@pytest.mark.parametrize("algorithm_type", ["dpmsolver++", SDE])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("steps", [7, 50, 250])
@pytest.mark.parametrize("spacing", ["trailing", "log1p"])
def test_exact_gaussian_follows_the_published_recursion(
    spacing: str, steps: int, order: int, algorithm_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = DPMSolverMultistepScheduler(
        clip_sample=False,
        solver_order=order,
        algorithm_type=algorithm_type,
        timestep_spacing=spacing,
        final_extrapolation=False,
    )
    scheduler.set_timesteps(steps)
    expected = closed_form_std(scheduler.timesteps.tolist(), 0.2, order, algorithm_type)
    assert exact_std(scheduler, 0.2, monkeypatch) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize(
    ("order", "algorithm_type", "solver_type"),
    [
        (1, "dpmsolver++", "midpoint"),
        (2, "dpmsolver++", "midpoint"),
        (2, "dpmsolver++", "adams"),
        (3, "dpmsolver++", "midpoint"),
        (1, SDE, "midpoint"),
        (2, SDE, "midpoint"),
        (2, SDE, "adams"),
    ],
)
def test_parity_with_diffusers(
    order: int, algorithm_type: str, solver_type: str, steps: int, prediction_type: str
) -> None:
    """Equal formulas, equal timesteps, equal noise. (The SDE of order 3 has a wrong sign in diffusers 0.42.)"""
    peer = DiffusersScheduler(
        1000,
        timestep_spacing="trailing",
        prediction_type=prediction_type,
        solver_order=order,
        algorithm_type=algorithm_type,
        solver_type={"midpoint": "midpoint", "adams": "heun"}[solver_type],
        lower_order_final=False,
    )
    ours = DPMSolverMultistepScheduler(
        1000,
        prediction_type=prediction_type,
        solver_order=order,
        algorithm_type=algorithm_type,
        solver_type=solver_type,
        clip_sample=False,
        final_extrapolation=False,
    )
    assert_parity(ours, peer, steps)


def test_dynamic_threshold_equals_that_of_diffusers() -> None:
    peer = DiffusersScheduler(
        1000, timestep_spacing="trailing", thresholding=True, sample_max_value=100.0, lower_order_final=False
    )
    ours = DPMSolverMultistepScheduler(1000, solver_order=2, dynamic_threshold=0.995, final_extrapolation=False)
    assert_parity(ours, peer, 20)


@pytest.mark.parametrize(
    ("solver_type", "order", "expected"), [("adams", 1, 1), ("adams", 2, 2), ("adams", 3, 3), ("midpoint", 2, 2)]
)
def test_order_of_convergence(solver_type: str, order: int, expected: int) -> None:
    scheduler = DPMSolverMultistepScheduler(clip_sample=False, solver_order=order, solver_type=solver_type)
    assert convergence_order(scheduler) == pytest.approx(expected, abs=0.35)


def test_default_order_grows_with_the_calls() -> None:
    """Second order in few steps, third in many: the defaults are those that measured best."""
    for steps, order in ((6, 2), (24, 3)):
        scheduler, fixed = DPMSolverMultistepScheduler(), DPMSolverMultistepScheduler(solver_order=order)
        final = []
        for s in (scheduler, fixed):
            s.set_timesteps(steps)
            x = torch.linspace(-2, 2, 12).view(2, 1, 6, 1)
            for t in s.timesteps:
                x, _ = s.step(torch.sin(3 * x), t, x)
            final.append(x)
        assert torch.equal(*final)
