"""What solvers with a memory keep besides the contract of every scheduler, and the measures of their exactness."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch

from contracts.scheduler_contract import SHAPE, SchedulerContract, exact_prediction, noise
from monai_cdiff.networks.schedulers import DiffusionScheduler


class MultistepContract(SchedulerContract):
    """Inherit in place of ``SchedulerContract``."""

    def test_a_step_uses_the_predictions_before(self) -> None:
        scheduler = self.scheduler(5, prediction_type="sample")
        finals = []
        for first in (noise(3), noise(4)):
            t, generator = scheduler.timesteps, torch.Generator().manual_seed(0)
            scheduler.step(first, t[0], noise(2), generator)
            finals.append(scheduler.step(noise(5), t[1], noise(2), generator)[0])
        assert not torch.equal(*finals)

    def test_a_timestep_visited_again_forgets_what_came_after(self) -> None:
        scheduler = self.scheduler(5, prediction_type="sample")
        t, finals = scheduler.timesteps, []
        for later in (noise(4), noise(5)):
            for i, output in enumerate((noise(3), noise(3), later)):
                scheduler.step(output, t[i], noise(2), torch.Generator().manual_seed(0))
            finals.append(scheduler.step(noise(6), t[1], noise(2), torch.Generator().manual_seed(0))[0])
        assert torch.equal(*finals)

    def test_a_timestep_left_out_breaks_the_memory(self) -> None:
        scheduler = self.scheduler(5, prediction_type="sample")
        t = scheduler.timesteps
        scheduler.step(noise(3), t[0], noise(2), torch.Generator().manual_seed(0))
        after_a_gap, _ = scheduler.step(noise(4), t[2], noise(2), torch.Generator().manual_seed(0))
        scheduler.set_timesteps(5)
        alone, _ = scheduler.step(noise(4), t[2], noise(2), torch.Generator().manual_seed(0))
        assert torch.equal(after_a_gap, alone)

    def test_two_batches_at_once_are_noticed(self) -> None:
        scheduler = self.scheduler(5)
        t = scheduler.timesteps
        scheduler.step(noise(1), t[0], noise(2))
        with pytest.raises(ValueError, match=r"sample has shape \(1, .*, but \(2, 1, 6, 5\) at the timestep before"):
            scheduler.step(noise(1)[:1], t[1], noise(2)[:1])

    def test_batches_that_take_turns_are_noticed(self) -> None:
        scheduler = self.scheduler(5)
        t = scheduler.timesteps
        for _ in range(2):
            scheduler.step(noise(1), t[0], noise(2))
        scheduler.step(noise(1), t[1], noise(2))
        with pytest.raises(ValueError, match="timestep=.* was stepped just before: one scheduler steps one batch at"):
            scheduler.step(noise(1), t[1], noise(2))

    def test_the_memory_is_nobody_elses_to_change(self) -> None:
        finals = []
        for factor in (1.0, 0.0):
            scheduler = self.scheduler(5, prediction_type="sample")
            output = noise(1)
            _, x0 = scheduler.step(output, scheduler.timesteps[0], noise(2), torch.Generator().manual_seed(0))
            output *= factor
            x0 *= factor
            t = scheduler.timesteps[1]
            finals.append(scheduler.step(noise(3), t, noise(4), torch.Generator().manual_seed(0))[0])
        assert torch.equal(*finals)

    def test_set_timesteps_forgets(self) -> None:
        scheduler = self.scheduler(5, prediction_type="sample")
        t, finals = scheduler.timesteps, []
        for first in (None, noise(3)):
            if first is not None:
                scheduler.step(first, t[0], noise(2))
            scheduler.set_timesteps(5)
            finals.append(scheduler.step(noise(4), t[1], noise(2), torch.Generator().manual_seed(0))[0])
        assert torch.equal(*finals)

    def test_the_order_by_default_rises_at_ten_calls(self) -> None:
        for calls, order in ((9, 2), (10, 3)):
            finals = []
            for solver_order in (None, order):
                scheduler = self.scheduler(calls, solver_order=solver_order)
                generator = torch.Generator().manual_seed(0)
                finals.append(self.sample(scheduler, self.start(scheduler), generator=generator))
            assert torch.equal(*finals)

    def test_nothing_is_kept_after_the_last_step(self) -> None:
        scheduler = self.scheduler(3)
        self.sample(scheduler, self.start(scheduler))
        assert not scheduler._memory

    def test_extrapolates_to_no_noise_in_its_square(self) -> None:
        scheduler = self.scheduler(prediction_type="sample", final_extrapolation=True)
        scheduler.set_timesteps(timesteps=[60, 20])
        one, two = noise(1), noise(2)
        _, sigma = scheduler.scalings(scheduler.timesteps)
        alpha, _ = scheduler.scalings(scheduler.timesteps)
        slope = (sigma / alpha).square()
        sample, _ = scheduler.step(one + two * slope[0].float(), 60, noise(3), torch.Generator().manual_seed(0))
        sample, _ = scheduler.step(one + two * slope[1].float(), 20, sample)
        torch.testing.assert_close(sample, one, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("order", [0, 4, 1.5])
    def test_wrong_order(self, order: Any) -> None:
        with pytest.raises(ValueError, match=f"solver_order={order} must be a whole number, from 1 to 3"):
            self.make(solver_order=order)


def assert_parity(ours: DiffusionScheduler, peer: Any, steps: int, leave_out: int = 0) -> None:
    """Step both along the peer's timesteps with the same network and noise; samples agree to 1e-5."""
    peer.set_timesteps(steps)
    ours.set_timesteps(timesteps=peer.timesteps)
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    noise_of_peer = {"generator": generators[1]} if "generator" in inspect.signature(peer.step).parameters else {}
    own = theirs = noise(1)
    for t in peer.timesteps[: steps - leave_out]:
        own, _ = ours.step(curved_prediction(ours, own, t), t, own, generators[0])
        theirs = peer.step(curved_prediction(ours, theirs, t), t, theirs, **noise_of_peer).prev_sample
        torch.testing.assert_close(own, theirs, rtol=1e-5, atol=1e-5)


def curved_prediction(scheduler: DiffusionScheduler, sample: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """What a network predicts that takes ``1.5 tanh(alpha x)`` for x0."""
    alpha, sigma = (float(value) for value in scheduler.scalings(t[None]))
    x0 = 1.5 * torch.tanh(alpha * sample.double())
    eps = (sample.double() - alpha * x0) / sigma
    return {"epsilon": eps, "sample": x0, "v_prediction": alpha * eps - sigma * x0}[scheduler.prediction_type].float()


def convergence_order(scheduler: DiffusionScheduler, std: float = 0.3) -> float:
    """Order of the error at timestep 100 for N(0, std^2), from timestep 900, in uniform steps of log-SNR.

    The exact flow keeps the ratio of the sample to its standard deviation.
    """
    errors = []
    ends = [scheduler.scalings(torch.tensor(float(t), dtype=torch.float64)) for t in (900, 100)]
    log_snr = [float((alpha / sigma).log()) for alpha, sigma in ends]
    whole = torch.arange(2000, dtype=torch.float64)
    alpha, sigma = scheduler.scalings(whole)
    for steps in (40, 80):
        wanted = np.linspace(*log_snr, steps + 1)
        grid = np.interp(-wanted, -(alpha / sigma).log().numpy(), whole.numpy())
        scheduler.set_timesteps(timesteps=[*grid, 0.0])
        levels = [scheduler.scalings(scheduler.timesteps[[i]].double()) for i in (0, steps)]
        spread = [float((a**2 * std**2 + s**2).sqrt()) for a, s in levels]
        sample = torch.full((1, 1), spread[0], dtype=torch.float64)
        for t in scheduler.timesteps[:steps]:
            sample, _ = scheduler.step(exact_prediction(scheduler, sample, t.double(), std), t, sample)
        errors.append(abs(float(sample) - spread[1]))
    return float(np.log2(errors[0] / errors[1]))


__all__ = ["SHAPE", "MultistepContract", "assert_parity", "convergence_order"]
