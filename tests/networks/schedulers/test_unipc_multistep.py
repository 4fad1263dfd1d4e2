"""UniPC: the contract, the published recursion on the exact Gaussian, its order, and parity with diffusers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UniPCMultistepScheduler as DiffusersScheduler

from contracts.multistep_contract import MultistepContract, assert_parity, convergence_order
from contracts.scheduler_contract import exact_std, reference_alpha_bar
from monai_cdiff.networks.schedulers import DPMSolverMultistepScheduler, UniPCMultistepScheduler


class TestUniPCMultistepScheduler(MultistepContract):
    @staticmethod
    def make(**kwargs: Any) -> UniPCMultistepScheduler:
        return UniPCMultistepScheduler(**kwargs)

    def test_unknown_solver_type(self) -> None:
        with pytest.raises(ValueError, match="solver_type='bh3' is not supported; allowed: 'bh1', 'bh2'"):
            self.make(solver_type="bh3")

    def test_the_corrector_keeps_a_change_that_somebody_made(self) -> None:
        scheduler = self.scheduler(6)
        sample = self.start(scheduler)
        for t in scheduler.timesteps[:3]:
            sample, _ = scheduler.step(torch.tanh(sample), t, sample)
        t, output, change = scheduler.timesteps[3], torch.zeros_like(sample), torch.ones_like(sample)
        memory = list(scheduler._memory)
        plain, _ = self.scheduler_with(memory, scheduler).step(output, t, sample)
        moved, x0 = self.scheduler_with(memory, scheduler).step(output, t, sample + change)
        assert (moved - plain).abs().min() > 0.1

    @staticmethod
    def scheduler_with(memory: list, scheduler: UniPCMultistepScheduler) -> UniPCMultistepScheduler:
        scheduler._memory = list(memory)
        return scheduler


class TestUniPCMultistepSchedulerWithoutCorrector(MultistepContract):
    @staticmethod
    def make(**kwargs: Any) -> UniPCMultistepScheduler:
        return UniPCMultistepScheduler(**{"use_corrector": False, "solver_order": 2, **kwargs})


def closed_form_std(timesteps: list[float], std: float, order: int, solver_type: str) -> float:
    """Final standard deviation for N(0, std^2), from the paper's system R rho = b alone; the last step returns x0."""
    table = reference_alpha_bar(timesteps)
    alpha, sigma = np.sqrt(table), np.sqrt(1 - table)
    with np.errstate(divide="ignore"):
        lam = np.log(alpha / sigma)
    x, x_before, m = 1.0, 1.0, []

    def update(i: int, k: int, start: float, latest: float | None) -> float:
        """From timestep i to i + 1 by UniP of order k, or by UniC of order k where the latest prediction is given."""
        h = lam[i + 1] - lam[i]
        b_h = -h if solver_type == "bh1" else np.expm1(-h)
        r = [(lam[i - j] - lam[i]) / h for j in range(1, k)]
        d = [(m[i - j] - m[i]) / rj for j, rj in zip(range(1, k), r)]
        if latest is not None:
            r, d = [*r, 1.0], [*d, latest - m[i]]
        rho, phi, factorial = [], np.expm1(-h) / -h - 1, 1
        b = []
        for n in range(1, len(r) + 1):
            b.append(phi * factorial / b_h)
            factorial *= n + 1
            phi = phi / -h - 1 / factorial
        if len(r) == 1:
            rho = [0.5]
        elif r:
            rho = list(np.linalg.solve(np.array([np.array(r) ** n for n in range(len(r))]), np.array(b)))
        change = sum(a * b for a, b in zip(rho, d))
        return sigma[i + 1] / sigma[i] * start - alpha[i + 1] * np.expm1(-h) * m[i] - alpha[i + 1] * b_h * change

    for i in range(len(timesteps)):
        prediction = alpha[i] * std**2 / (alpha[i] ** 2 * std**2 + sigma[i] ** 2) * x
        if i == len(timesteps) - 1:
            return float(abs(prediction))
        if i:
            x = update(i - 1, min(order, i), x_before, prediction)
        m.append(prediction)
        x_before, x = x, update(i, min(order, i + 1), x, None)
    raise AssertionError


@pytest.mark.parametrize("solver_type", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("steps", [7, 50, 250])
@pytest.mark.parametrize("spacing", ["trailing", "log1p"])
def test_exact_gaussian_follows_the_published_recursion(
    spacing: str, steps: int, order: int, solver_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = UniPCMultistepScheduler(
        clip_sample=False,
        solver_order=order,
        solver_type=solver_type,
        timestep_spacing=spacing,
        final_extrapolation=False,
    )
    scheduler.set_timesteps(steps)
    expected = closed_form_std(scheduler.timesteps.tolist(), 0.2, order, solver_type)
    assert exact_std(scheduler, 0.2, monkeypatch) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("solver_type", ["bh1", "bh2"])
def test_parity_with_diffusers(solver_type: str, order: int, steps: int, prediction_type: str) -> None:
    """All samples but the last: of order 2 and 3 diffusers lowers the order there, or divides by zero."""
    peer = DiffusersScheduler(
        1000,
        timestep_spacing="trailing",
        prediction_type=prediction_type,
        solver_order=order,
        solver_type=solver_type,
        lower_order_final=False,
    )
    ours = UniPCMultistepScheduler(
        1000, prediction_type=prediction_type, solver_order=order, solver_type=solver_type, clip_sample=False
    )
    assert_parity(ours, peer, steps, leave_out=1)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_order_of_convergence(order: int) -> None:
    scheduler = UniPCMultistepScheduler(clip_sample=False, solver_order=order)
    assert convergence_order(scheduler) == pytest.approx(order + 1, abs=0.4)


def test_predictor_alone_is_dpm_solver() -> None:
    kwargs: dict[str, Any] = {"solver_order": 2, "clip_sample": False}
    schedulers = [
        UniPCMultistepScheduler(use_corrector=False, **kwargs),
        DPMSolverMultistepScheduler(solver_type="midpoint", **kwargs),
    ]
    final = []
    for scheduler in schedulers:
        scheduler.set_timesteps(9)
        x = torch.linspace(-2, 2, 12).view(2, 1, 6, 1)
        for t in scheduler.timesteps:
            x, _ = scheduler.step(torch.sin(3 * x), t, x)
        final.append(x)
    torch.testing.assert_close(*final)
