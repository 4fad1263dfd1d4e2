"""Training against a discriminator: who learns from what, resuming, and what a broken pair looks like."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader
from monai.engines.utils import IterationEvents
from monai.inferers import SimpleInferer
from monai.losses import PatchAdversarialLoss
from monai.utils.enums import AdversarialKeys
from torch import nn

from monai_cdiff.data import IterationSampler, KeyedDataset
from monai_cdiff.engines import AdversarialTrainer, DiffusionTrainer, RegressionPrepareBatch
from monai_cdiff.handlers import AdversarialBalanceHandler, CheckpointHandler, EMAHandler, ExponentialMovingAverage
from monai_cdiff.networks import Parameterization
from monai_cdiff.networks.nets import ConditionalPatchDiscriminator, Pix2PixGenerator

RESIDUAL = Parameterization("sample", target="residual", residual_scale=2.0)


def make_trainer(max_iterations: int = 2, output_dir: Path | None = None, resume: bool = False, **kwargs: Any) -> Any:
    """A small training on random images; with ``output_dir`` it is saved there."""
    generator = torch.Generator().manual_seed(0)
    items = [{key: torch.rand(1, 16, 16, generator=generator) for key in ("image", "condition")} for _ in range(6)]
    torch.manual_seed(0)
    network = Pix2PixGenerator(2, in_channels=1, out_channels=1, size="tiny")
    judge = kwargs.pop("discriminator", None) or ConditionalPatchDiscriminator(2, 2, channels=4, num_layers=2)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.5, 0.999))
    judge_optimizer = torch.optim.Adam(judge.parameters(), lr=1e-3, betas=(0.5, 0.999))
    handlers = list(kwargs.pop("handlers", []))
    if output_dir is not None:
        ema = ExponentialMovingAverage(network, decay=0.0)
        objects = {"network": network, "ema": ema, "optimizer": optimizer}
        objects |= {"discriminator": judge, "discriminator_optimizer": judge_optimizer}
        handlers += [EMAHandler(ema), CheckpointHandler(output_dir, objects, {}, interval=1000, resume=resume)]
    return AdversarialTrainer(
        device=torch.device("cpu"),
        max_epochs=max_iterations,
        max_iterations=max_iterations,
        epoch_length=3,
        train_data_loader=DataLoader(KeyedDataset(items), batch_sampler=IterationSampler(2, max_iterations)),
        prepare_batch=RegressionPrepareBatch(RESIDUAL),
        network=network,
        inferer=SimpleInferer(),
        loss_function=nn.L1Loss(),
        optimizer=optimizer,
        discriminator=judge,
        discriminator_optimizer=judge_optimizer,
        adversarial_loss=kwargs.pop("adversarial_loss", PatchAdversarialLoss(criterion="bce")),
        parameterization=RESIDUAL,
        seed=0,
        train_handlers=handlers,
        **kwargs,
    )


def weights(network: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def test_both_learn() -> None:
    trainer = make_trainer()
    before = weights(trainer.network), weights(trainer.discriminator)
    trainer.run()
    for old, network in zip(before, (trainer.network, trainer.discriminator)):
        assert all(not torch.equal(a, b) for a, b in zip(old, weights(network)))


def test_the_losses_are_those_of_the_publication() -> None:
    """One iteration written out: eq. 4 for the network, half the two cross-entropies for the discriminator."""
    seen: dict[str, Any] = {}

    class Judge(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.slope = nn.Parameter(torch.tensor(0.7))

        def forward(self, image: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
            return self.slope * (image - 0.3 * condition)

    trainer = make_trainer(1, adversarial_weight=0.5, discriminator=Judge())
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: seen.update(e.state.output))
    trainer.run()
    condition, target, residual = seen["image"], seen["label"], seen["pred"]
    real, fake = condition + target / 2, condition + residual / 2
    torch.testing.assert_close(seen[AdversarialKeys.REALS], real)
    torch.testing.assert_close(seen[AdversarialKeys.FAKES], fake)
    real_logits, fake_logits = (0.7 * (image - 0.3 * condition) for image in (real, fake))
    bce = nn.functional.binary_cross_entropy_with_logits
    generator_loss = bce(fake_logits, torch.ones_like(fake_logits))
    torch.testing.assert_close(seen["loss"], (residual - target).abs().mean() + 0.5 * generator_loss)
    expected = bce(real_logits, torch.ones_like(real)) / 2 + bce(fake_logits, torch.zeros_like(fake)) / 2
    torch.testing.assert_close(seen[AdversarialKeys.DISCRIMINATOR_LOSS], expected)


def test_each_learns_from_its_own_loss_alone() -> None:
    """The discriminator's gradient is that of its own loss, in spite of the network's backward pass through it."""
    trainer, seen = make_trainer(1), {}
    state = {name: value.clone() for name, value in trainer.discriminator.state_dict().items()}
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: seen.update(e.state.output))
    trainer.run()
    gradients = [parameter.grad.clone() for parameter in trainer.discriminator.parameters()]
    twin = ConditionalPatchDiscriminator(2, 2, channels=4, num_layers=2).train()
    twin.load_state_dict(state)
    loss = trainer.adversarial_loss
    real = twin(seen[AdversarialKeys.REALS], seen["image"])
    fake = twin(seen[AdversarialKeys.FAKES].detach(), seen["image"])
    (loss(real, True, True) / 2 + loss(fake, False, True) / 2).backward()
    for parameter, gradient in zip(twin.parameters(), gradients):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-6, rtol=1e-4)


def test_the_networks_backward_pass_leaves_the_discriminator_alone() -> None:
    seen: list[list[torch.Tensor | None]] = []
    trainer = make_trainer(1)
    trainer.add_event_handler(
        IterationEvents.BACKWARD_COMPLETED, lambda: seen.append([p.grad for p in trainer.discriminator.parameters()])
    )
    trainer.run()
    assert seen and not any(gradient is not None for gradient in seen[0])
    parameters = list(trainer.discriminator.parameters())
    assert all(parameter.grad is not None and parameter.requires_grad for parameter in parameters)


def test_without_weight_it_is_the_training_of_the_network_alone() -> None:
    one, other = make_trainer(3, adversarial_weight=0.0), make_trainer(3, adversarial_weight=1.0)
    alone = make_trainer(3)
    reference = DiffusionTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        max_iterations=3,
        epoch_length=3,
        train_data_loader=alone.data_loader,
        prepare_batch=RegressionPrepareBatch(RESIDUAL),
        network=alone.network,
        loss_function=nn.L1Loss(),
        optimizer=alone.optimizer,
        seed=0,
    )
    for trainer in (one, other, reference):
        trainer.run()
    assert all(torch.equal(a, b) for a, b in zip(weights(one.network), weights(reference.network)))
    assert not torch.equal(weights(one.network)[0], weights(other.network)[0])


def test_a_resumed_training_is_the_same(tmp_path: Path) -> None:
    whole = make_trainer(4, tmp_path / "whole")
    whole.run()
    make_trainer(2, tmp_path / "parts").run()
    parts = make_trainer(4, tmp_path / "parts", resume=True)
    parts.run()
    assert parts.state.iteration == 4
    for mine, theirs in ((whole.network, parts.network), (whole.discriminator, parts.discriminator)):
        assert all(torch.equal(a, b) for a, b in zip(weights(mine), weights(theirs)))


def test_average_with_decay_zero_is_the_network(tmp_path: Path) -> None:
    trainer = make_trainer(3, tmp_path)
    trainer.run()
    saved = torch.load(tmp_path / "checkpoints" / "model.pt", weights_only=True)["network"]
    assert all(torch.equal(saved[name], value) for name, value in trainer.network.state_dict().items())


def test_accumulation_and_autocast() -> None:
    trainer = make_trainer(2, accumulation_steps=2, amp=True)
    before = weights(trainer.discriminator)
    trainer.run()
    assert trainer.state.output["pred"].dtype == torch.bfloat16
    assert trainer.state.output[AdversarialKeys.REAL_LOGITS].dtype == torch.float32
    assert not torch.equal(before[0], weights(trainer.discriminator)[0])


def test_an_unconditional_discriminator_sees_the_image_alone() -> None:
    judge = ConditionalPatchDiscriminator(2, in_channels=1, channels=4, num_layers=2)
    make_trainer(1, discriminator=judge, conditional=False).run()
    with pytest.raises(ValueError, match="adversarial_weight=-1"):
        make_trainer(adversarial_weight=-1)


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("is_initialized", True), ("get_world_size", 2), ("get_rank", 0)):
        monkeypatch.setattr(torch.distributed, name, lambda value=value: value)
    with pytest.raises(ValueError, match="2 processes train together; AdversarialTrainer trains on one process"):
        make_trainer()


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    def broken(logits: torch.Tensor, target_is_real: bool, for_discriminator: bool) -> torch.Tensor:
        return logits.mean() / 0 if for_discriminator else logits.mean()

    trainer = make_trainer(2, tmp_path, adversarial_loss=broken, handlers=[AdversarialBalanceHandler(interval=1)])
    with pytest.raises(FloatingPointError, match="discriminator_loss is .*(inf|nan) at iteration 1; the checkpoint"):
        trainer.run()
    assert not (tmp_path / "checkpoints").exists()


class Constant(nn.Module):
    """Logits that the test chooses for real images (all ones) and restored ones."""

    def __init__(self, real: float, fake: float) -> None:
        super().__init__()
        self.values, self.unused = (real, fake), nn.Parameter(torch.zeros(()))
        self.calls = 0

    def forward(self, image: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        self.calls += 1  # restored, real, restored in each iteration
        value = self.values[0] if self.calls % 3 == 2 else self.values[1]
        return value + 0 * self.unused + 0 * image.mean().view(1, 1, 1, 1).expand(2, 1, 4, 4)


@pytest.mark.parametrize(
    "logits, state, words",
    [((2.0, -2.0), "won", "told 100.0%"), ((0.5, 0.5), "blind", "has collapsed"), ((-0.5, 0.4), "balanced", "")],
)
def test_a_pair_out_of_balance_is_said_once(
    logits: tuple[float, float], state: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    watch = AdversarialBalanceHandler(window=3, interval=1)
    with caplog.at_level(logging.WARNING, logger="monai_cdiff"):
        make_trainer(6, discriminator=Constant(*logits), handlers=[watch]).run()
    messages = [record.getMessage() for record in caplog.records if "discriminator" in record.getMessage()]
    assert watch.state == state and len(messages) == bool(words)
    assert all(words in message and "iteration 3" in message for message in messages)
