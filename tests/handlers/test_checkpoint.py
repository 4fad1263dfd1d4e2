"""Checkpoints: what they hold, what they refuse, and that a resumed run is the run that never stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.handlers import LrScheduleHandler

from contracts.small_training import make_trainer
from monai_cdiff.handlers import (
    CheckpointHandler,
    EMAHandler,
    ExponentialMovingAverage,
    export_weights,
    load_network,
    read_checkpoint,
    trained_settings,
    write_checkpoint,
)
from monai_cdiff.networks import Parameterization
from monai_cdiff.networks.nets import ConditionalUNet
from monai_cdiff.networks.schedulers import DDPMScheduler

SETTINGS = {"task": "sr", "factor": 4.0}


def train(
    folder: Path,
    max_iterations: int,
    resume: Any = False,
    interval: int = 100,
    stop: int | None = None,
    learning_rate: float | None = None,
) -> Any:
    trainer = make_trainer(max_iterations, optimizer=torch.optim.AdamW, dropout=0.3)
    ema = ExponentialMovingAverage(trainer.network, decay=0.9)
    EMAHandler(ema).attach(trainer)
    objects = {
        "network": trainer.network,
        "ema": ema,
        "optimizer": trainer.optimizer,
        "scheduler": trainer.inferer.scheduler,
        "parameterization": trainer.inferer.parameterization,
    }
    if learning_rate is not None:
        for group in trainer.optimizer.param_groups:
            group["lr"] = learning_rate
        objects["lr_scheduler"] = torch.optim.lr_scheduler.LambdaLR(trainer.optimizer, lambda i: 1 / (1 + i))
        LrScheduleHandler(objects["lr_scheduler"], print_lr=False, epoch_level=False).attach(trainer)
    CheckpointHandler(folder, objects, SETTINGS, interval=interval, resume=resume).attach(trainer)
    if stop is not None:
        trainer.add_event_handler(Events.ITERATION_COMPLETED(once=stop), lambda engine: engine.terminate())
    trainer.run()
    return trainer, ema


def test_resumed_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole, whole_ema = train(tmp_path / "whole", 8)
    train(tmp_path / "parts", 8, stop=4)
    parts, parts_ema = train(tmp_path / "parts", 8, resume="true")
    assert parts.state.iteration == 8
    for one, two in zip(
        [*whole.network.state_dict().values(), *whole_ema.state_dict().values()],
        [*parts.network.state_dict().values(), *parts_ema.state_dict().values()],
    ):
        assert torch.equal(one, two)
    saved = [read_checkpoint(tmp_path / name / "checkpoints" / "model.pt")["network"] for name in ("whole", "parts")]
    assert all(torch.equal(saved[0][key], saved[1][key]) for key in saved[0])


def test_a_resumed_training_takes_another_learning_rate_and_goes_on_with_its_schedule(tmp_path: Path) -> None:
    train(tmp_path / "first", 4, learning_rate=0.1)
    first = str(tmp_path / "first" / "checkpoints" / "checkpoint.pt")
    for learning_rate in (0.1, 0.01):
        folder = tmp_path / str(learning_rate)
        trainer, _ = train(folder, 8, resume=first, stop=5, learning_rate=learning_rate)
        assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(learning_rate / 6)
        saved = read_checkpoint(folder / "checkpoints" / "checkpoint.pt")
        assert saved["lr_scheduler"]["base_lrs"] == [learning_rate]


def test_resuming_with_the_same_learning_rate_changes_no_bit(tmp_path: Path) -> None:
    whole, _ = train(tmp_path / "whole", 8, learning_rate=0.1)
    train(tmp_path / "parts", 8, stop=4, learning_rate=0.1)
    parts, _ = train(tmp_path / "parts", 8, resume=True, learning_rate=0.1)
    assert all(torch.equal(a, b) for a, b in zip(whole.network.parameters(), parts.network.parameters()))
    assert whole.optimizer.param_groups[0]["lr"] == parts.optimizer.param_groups[0]["lr"]


def test_the_state_of_the_generator_is_restored(tmp_path: Path) -> None:
    train(tmp_path, 2)
    saved = read_checkpoint(tmp_path / "checkpoints" / "checkpoint.pt")["rng"]
    torch.manual_seed(99)
    train(tmp_path, 2, resume=True)
    assert torch.equal(torch.get_rng_state(), saved)


def test_what_it_holds(tmp_path: Path) -> None:
    _, ema = train(tmp_path, 2)
    content = read_checkpoint(tmp_path / "checkpoints" / "checkpoint.pt")
    needed = {"network", "ema", "optimizer", "grad_scaler", "scheduler", "parameterization", "rng", "iteration"}
    assert needed <= set(content) and content["iteration"] == 2
    model = tmp_path / "checkpoints" / "model.pt"
    assert trained_settings(model) == {**SETTINGS, "parameterization": Parameterization().state_dict()}
    network = ConditionalUNet(2, in_channels=2, out_channels=1, size="tiny")
    load_network(network, model, {"scheduler": DDPMScheduler(), "parameterization": Parameterization()})
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), ema.module.parameters()))
    assert not network.training


def test_exported_weights_are_small_and_load_like_any_other(tmp_path: Path) -> None:
    _, ema = train(tmp_path, 2)
    export_weights(tmp_path / "checkpoints" / "checkpoint.pt", tmp_path / "shipped.pt")
    assert (tmp_path / "shipped.pt").stat().st_size < 0.6 * (tmp_path / "checkpoints" / "model.pt").stat().st_size
    network = ConditionalUNet(2, in_channels=2, out_channels=1, size="tiny")
    load_network(network, tmp_path / "shipped.pt", {"parameterization": Parameterization()})
    for one, two in zip(network.parameters(), ema.module.parameters()):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3)


def test_an_earlier_training_is_moved_aside(tmp_path: Path) -> None:
    train(tmp_path, 2)
    before = (tmp_path / "checkpoints" / "model.pt").read_bytes()
    train(tmp_path, 1)
    assert (tmp_path / "earlier-1" / "checkpoints" / "model.pt").read_bytes() == before
    assert read_checkpoint(tmp_path / "checkpoints" / "model.pt")["iteration"] == 1


def test_diverged_weights_do_not_replace_a_checkpoint(tmp_path: Path) -> None:
    trainer, ema = train(tmp_path, 2)
    before = (tmp_path / "checkpoints" / "model.pt").read_bytes()
    torch.nn.init.constant_(next(ema.module.parameters()), torch.nan)
    inferer = trainer.inferer
    objects = {"ema": ema, "scheduler": inferer.scheduler, "parameterization": inferer.parameterization}
    trainer.state.iteration = 3
    with pytest.raises(FloatingPointError, match="the weights are not finite at iteration 3"):
        CheckpointHandler(tmp_path, objects, SETTINGS).save(trainer)
    assert (tmp_path / "checkpoints" / "model.pt").read_bytes() == before


def test_resuming_elsewhere_moves_aside_what_lies_there(tmp_path: Path) -> None:
    for name in ("a", "b"):
        train(tmp_path / name, 2)
    before = (tmp_path / "b" / "checkpoints" / "model.pt").read_bytes()
    train(tmp_path / "b", 3, resume=str(tmp_path / "a" / "checkpoints" / "checkpoint.pt"))
    assert (tmp_path / "b" / "earlier-1" / "checkpoints" / "model.pt").read_bytes() == before
    content = read_checkpoint(tmp_path / "a" / "checkpoints" / "checkpoint.pt")
    assert read_checkpoint(tmp_path / "b" / "checkpoints" / "model.pt")["train_seconds"] > content["train_seconds"]


def test_a_resumed_training_cannot_become_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path, 2)
    monkeypatch.setitem(SETTINGS, "factor", 2.0)
    with pytest.raises(ValueError, match="factor differs: saved 4.0; configured 2.0"):
        train(tmp_path, 3, resume=True)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    write_checkpoint({"network": {}, "settings": {}}, path)
    before = path.read_bytes()
    with pytest.raises(Exception, match="pickle"):
        write_checkpoint({"network": lambda: None, "settings": {}}, path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("network", "objects", "message"),
    [
        ({"channels": (16, 48)}, {}, "of another architecture: .* tensors differ, the first is .*: saved .*configured"),
        ({}, {"scheduler": DDPMScheduler(num_train_timesteps=100)}, "noise schedule differs: saved T=2000.*T=100"),
        ({}, {"parameterization": Parameterization("sample")}, "parameterization differs: saved .*'epsilon'"),
    ],
)
def test_refusals(tmp_path: Path, network: dict[str, Any], objects: dict[str, Any], message: str) -> None:
    train(tmp_path, 1)
    net = ConditionalUNet(2, in_channels=2, out_channels=1, size="tiny", **network)
    with pytest.raises(ValueError, match=message):
        load_network(net, tmp_path / "checkpoints" / "model.pt", objects)


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist; found there: none"):
        read_checkpoint(tmp_path / "model.pt")
    (tmp_path / "model.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        read_checkpoint(tmp_path / "model.pt")
    torch.save({"state_dict": {}}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="is not a checkpoint of monai_cdiff"):
        read_checkpoint(tmp_path / "model.pt")


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="resume=True: there is no checkpoint"):
        train(tmp_path, 1, resume=True)
    train(tmp_path, 1, resume="false")
    with pytest.raises(ValueError, match="holds weights only; resume from a checkpoint.pt"):
        train(tmp_path, 1, resume=str(tmp_path / "checkpoints" / "model.pt"))
