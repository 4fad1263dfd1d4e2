"""Training of a restoring network against a discriminator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from monai.utils.enums import AdversarialKeys, CommonKeys

from ..networks import Parameterization
from ..utils import autocast, check_flag, check_number
from .trainer import DiffusionTrainer, in_float32

__all__ = ["AdversarialTrainer"]


class AdversarialTrainer(DiffusionTrainer):
    """:class:`DiffusionTrainer` whose network is also told by a discriminator what does not look real.

    Goodfellow et al., arXiv:1406.2661, with a condition: Isola et al., arXiv:1611.07004, eq. 4. In each iteration the
    network learns from ``loss_function + adversarial_weight * adversarial loss``, then the discriminator from half the
    sum of its losses for real and restored images, with the images that the network had made before it learned.

    MONAI's trainer of the same name takes the network's input for the real image, which is right where images are
    made from nothing but not where one is restored: there the original is the label. It also knows neither a
    condition, nor a number of iterations to resume at, nor autocast beside CUDA's. The output of an iteration has its
    ``AdversarialKeys`` here too.

    Args:
        discriminator: called ``discriminator(image, condition)`` or ``discriminator(image)``, returns logits.
        discriminator_optimizer: its optimiser.
        adversarial_loss: called ``adversarial_loss(logits, target_is_real, for_discriminator)``, as MONAI's
            ``PatchAdversarialLoss``.
        adversarial_weight: at least 0; 0.01 is pix2pix's 1 to 100, 0.001 that of SRGAN.
        parameterization: what the network returns; the discriminator judges the images that it stands for.
        conditional: the discriminator sees the condition too.
        image_of: what of a prediction the parameterization decodes, where the network returns more than that.
        kwargs: the arguments of :class:`DiffusionTrainer`.

    Raises:
        ValueError: for an argument outside what is allowed, or in a training by several processes: the discriminators
            of the processes would drift apart.
    """

    def __init__(
        self,
        *,
        discriminator: torch.nn.Module,
        discriminator_optimizer: torch.optim.Optimizer,
        adversarial_loss: Callable[..., torch.Tensor],
        parameterization: Parameterization,
        adversarial_weight: float = 0.01,
        conditional: bool = True,
        image_of: Callable[[Any], torch.Tensor] | None = None,
        **kwargs: Any,
    ) -> None:
        self.adversarial_weight = check_number("adversarial_weight", adversarial_weight, low=0)
        self.conditional = check_flag("conditional", conditional)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            if (count := torch.distributed.get_world_size()) > 1:
                raise ValueError(f"{count} processes train together; AdversarialTrainer trains on one process.")
        self.discriminator = discriminator
        self.discriminator_optimizer = discriminator_optimizer
        self.adversarial_loss = adversarial_loss
        self.parameterization = parameterization
        self.image_of = image_of
        super().__init__(**kwargs)

    def _iteration(self, engine: Any, batchdata: dict[str, torch.Tensor]) -> dict:
        self.discriminator.train()
        output = super()._iteration(engine, batchdata)
        first, last = self._place_in_accumulation()
        if first:
            self.discriminator_optimizer.zero_grad(set_to_none=True)
        loss = output[AdversarialKeys.DISCRIMINATOR_LOSS] = self._discriminator_loss(output)
        self.grad_scaler.scale(loss / self.accumulation_steps).backward()
        if last:
            self._step(self.discriminator_optimizer, self.discriminator)
        return output

    def _loss(self, output: dict[str, Any]) -> torch.Tensor:
        """Reconstruction and adversarial loss of the network; the discriminator gets no gradient."""
        condition = output[CommonKeys.IMAGE]
        output[AdversarialKeys.REALS] = self.parameterization.decode(output[CommonKeys.LABEL], condition)
        predicted = in_float32(output[CommonKeys.PRED])
        if self.image_of is not None:
            predicted = self.image_of(predicted)
        output[AdversarialKeys.FAKES] = self.parameterization.decode(predicted, condition)
        with _frozen(self.discriminator):
            logits = self._judge(output[AdversarialKeys.FAKES], condition)
        generator_loss = self.adversarial_loss(logits, target_is_real=True, for_discriminator=False).mean()
        output[AdversarialKeys.RECONSTRUCTION_LOSS] = super()._loss(output)
        output[AdversarialKeys.GENERATOR_LOSS] = generator_loss
        return output[AdversarialKeys.RECONSTRUCTION_LOSS] + self.adversarial_weight * generator_loss

    def _discriminator_loss(self, output: dict[str, Any]) -> torch.Tensor:
        condition, losses = output[CommonKeys.IMAGE], []
        for images, logits, is_real in (
            (AdversarialKeys.REALS, AdversarialKeys.REAL_LOGITS, True),
            (AdversarialKeys.FAKES, AdversarialKeys.FAKE_LOGITS, False),
        ):
            output[logits] = self._judge(output[images].detach(), condition)
            losses.append(self.adversarial_loss(output[logits], target_is_real=is_real, for_discriminator=True).mean())
        return (losses[0] + losses[1]) / 2

    def _judge(self, images: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        with autocast(images.device, self.amp):
            logits = self.discriminator(images, condition) if self.conditional else self.discriminator(images)
        return logits.float()


@contextmanager
def _frozen(network: torch.nn.Module) -> Iterator[None]:
    """The network lets gradients through but its weights get none."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
