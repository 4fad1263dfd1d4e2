"""The trainer: ends at an iteration, ends gently, clips, accumulates, and draws noise by position."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
import torch
from ignite.engine import Events

from contracts.small_training import make_trainer
from monai_cdiff.engines import ConditionalDiffusionPrepareBatch, DiffusionTrainer, RestorationPrepareBatch
from monai_cdiff.networks import Parameterization
from monai_cdiff.networks.schedulers import DDPMScheduler


def record(trainer: DiffusionTrainer) -> list[float]:
    losses: list[float] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: losses.append(e.state.output["loss"].item()))
    return losses


@pytest.mark.parametrize("max_iterations", [1, 5, 6])
def test_ends_after_max_iterations(max_iterations: int) -> None:
    trainer = make_trainer(max_iterations)
    losses = record(trainer)
    trainer.run()
    assert trainer.state.iteration == len(losses) == max_iterations


def test_a_run_that_is_over_does_nothing() -> None:
    trainer = make_trainer(5)
    losses = record(trainer)
    trainer.add_event_handler(Events.STARTED, lambda e: setattr(e.state, "iteration", 5))
    trainer.run()
    assert not losses


def test_continues_with_the_batch_it_would_have_seen() -> None:
    seen: list[list[int]] = []
    trainer = make_trainer(5)

    def begin_later(engine: Any) -> None:
        engine.state.iteration, engine.state.epoch = 4, 1

    trainer.add_event_handler(Events.STARTED, begin_later)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: seen.append(e.state.batch["position"].tolist()))
    trainer.run()
    assert seen == [[8, 9]]


def test_gradient_is_clipped() -> None:
    trainer = make_trainer(1, max_grad_norm=1e-3)
    trainer.run()
    norm = torch.stack([p.grad.norm() for p in trainer.network.parameters()]).norm()
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)


def test_accumulated_gradient_is_that_of_the_whole_batch() -> None:
    whole, parts = make_trainer(1, batch_size=4), make_trainer(2, batch_size=2, accumulation_steps=2)
    whole.run()
    parts.run()
    for one, two in zip(whole.network.parameters(), parts.network.parameters()):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_autocast_on_the_cpu_is_bfloat16() -> None:
    trainer = make_trainer(1, amp=True)
    trainer.run()
    assert trainer.state.output["pred"].dtype == torch.bfloat16
    assert not trainer.grad_scaler.is_enabled() and all(p.dtype == torch.float32 for p in trainer.network.parameters())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_after_the_iteration(number: int) -> None:
    trainer = make_trainer(5)
    losses, completed = record(trainer), []
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda: os.kill(os.getpid(), number))
    trainer.add_event_handler(Events.COMPLETED, lambda: completed.append(True))
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stop:
        trainer.run()
    assert stop.value.code == 130 and len(losses) == 2 and completed and signal.getsignal(number) is before


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"max_iterations": 0}, "num_iterations=0 must be|max_iterations=0 must be"),
        ({"max_grad_norm": 0}, "max_grad_norm=0 must be a finite number, more than 0"),
        ({"amp": "maybe"}, "amp='maybe' is not supported"),
    ],
)
def test_wrong_arguments(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_trainer(**kwargs)


def test_noise_and_timestep_belong_to_the_position() -> None:
    prepare = ConditionalDiffusionPrepareBatch(DDPMScheduler(), Parameterization(), seed=3)

    def draw(positions: list[int], prepare: ConditionalDiffusionPrepareBatch = prepare) -> dict[str, torch.Tensor]:
        zeros = torch.zeros(len(positions), 1, 4, 4)
        return prepare({"image": zeros, "condition": zeros, "position": torch.tensor(positions)}, "cpu")[3]

    together, alone = draw([4, 5, 6]), draw([6])
    assert torch.equal(together["noise"][2:], alone["noise"])
    assert torch.equal(together["timesteps"][2:], alone["timesteps"])
    other = draw([6], ConditionalDiffusionPrepareBatch(DDPMScheduler(), Parameterization(), seed=4))
    assert not torch.equal(other["noise"], alone["noise"])
    timesteps = draw(list(range(200)))["timesteps"]
    assert timesteps.min() < 60 and timesteps.max() > 1939 and len(set(timesteps.tolist())) > 150


def test_target_is_the_parameterizations() -> None:
    scheduler = DDPMScheduler(prediction_type="v_prediction")
    parameterization = Parameterization("v_prediction", "residual", residual_scale=2.0)
    image, condition = torch.rand(2, 1, 4, 4), torch.rand(2, 1, 4, 4)
    batch = {"image": image, "condition": condition, "position": torch.tensor([0, 1])}
    _, target, _, kwargs = ConditionalDiffusionPrepareBatch(scheduler, parameterization)(batch, "cpu")
    expected = scheduler.get_velocity(2 * (image - condition), kwargs["noise"], kwargs["timesteps"])
    torch.testing.assert_close(target, expected)


def test_restoration_batch_has_the_degraded_image_as_input() -> None:
    image, condition = torch.rand(1, 1, 4, 4), torch.rand(1, 1, 4, 4)
    prepare = RestorationPrepareBatch()
    assert prepare({"image": image, "condition": condition}, "cpu") == (condition, image)
    assert prepare({"condition": condition}, "cpu")[1] is None
