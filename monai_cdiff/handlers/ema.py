"""Exponential moving average of a network's weights, the weights to validate and to ship."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine, Events
from torch.optim.swa_utils import AveragedModel

from ..utils import check_number

__all__ = ["EMAHandler", "ExponentialMovingAverage"]


class ExponentialMovingAverage(AveragedModel):
    """Torch's ``AveragedModel`` with the warm-up of the decay that short trainings need.

    The decay grows from 0 as ``(1 + n) / (10 + n)`` to its final value, and the first update copies the weights.

    Args:
        network: the network in training; with DistributedDataParallel the one inside, the same on every process.
        decay: final weight of the past, from 0 to less than 1.

    Attributes:
        module: the averaged copy of the network, in evaluation mode.

    Example:
        >>> network = torch.nn.Linear(2, 2)
        >>> ema = ExponentialMovingAverage(network, decay=0.99)
        >>> ema.update()
        >>> ema.module.weight.equal(network.weight)
        True
    """

    def __init__(self, network: torch.nn.Module, decay: float = 0.999) -> None:
        self.decay = check_number("decay", decay, 0, 1 - 1e-9)
        super().__init__(network, multi_avg_fn=self._average)
        self.network = [network]  # in a list, so that it is neither saved nor counted as a part
        self.module.eval().requires_grad_(False)

    @torch.no_grad()
    def _average(self, averaged: Any, current: Any, count: torch.Tensor | int) -> None:
        decay = min(self.decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averaged, current, 1 - decay)

    def update(self) -> None:
        """Take the network's present weights into the average."""
        self.update_parameters(self.network[0])


class EMAHandler:
    """Updates an average after every iteration of the engine it is attached to.

    Args:
        ema: the average.
    """

    def __init__(self, ema: ExponentialMovingAverage) -> None:
        self.ema = ema

    def attach(self, engine: Engine) -> None:
        """Follow the training ``engine``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.ema.update)
