"""A watch on a network and its discriminator, which must stay a match for each other."""

from __future__ import annotations

import logging
import math
from collections import deque
from typing import Any

from ignite.engine import Engine, Events
from monai.utils.enums import AdversarialKeys

from ..utils import check_integer

__all__ = ["AdversarialBalanceHandler"]

logger = logging.getLogger(__name__)

_LOSSES = (
    AdversarialKeys.RECONSTRUCTION_LOSS,
    AdversarialKeys.GENERATOR_LOSS,
    AdversarialKeys.DISCRIMINATOR_LOSS,
)
_LOGITS = (AdversarialKeys.REAL_LOGITS, AdversarialKeys.FAKE_LOGITS)
_WON, _BLIND = 0.99, 1e-4


class AdversarialBalanceHandler:
    """Ends a training against a discriminator that broke, and says when one of the two has lost.

    At every ``interval``-th iteration it looks at the output of MONAI's or our ``AdversarialTrainer``:

    - A loss that is not finite ends the training; the checkpoint before is kept.
    - Over the last ``window`` looks the logit of the real patch was above that of the restored patch in more than 99 %
      of all cases: the discriminator has won, and what it teaches is no longer a measure of realism.
    - Over as many looks the mean logits of real and restored images differed by less than 1e-4 of their size: the
      discriminator has collapsed, and teaches nothing.

    Each of the last two is a warning, given once until it has passed.

    Args:
        window: looks, at least 2.
        interval: iterations from one look to the next; on a GPU each look waits for the iteration to end.

    Raises:
        ValueError: for a number outside what is allowed.
        FloatingPointError: from the training, if a loss is not finite; the message names it and the iteration.
    """

    def __init__(self, window: int = 50, interval: int = 10) -> None:
        self.window = check_integer("window", window, 2)
        self.interval = check_integer("interval", interval, 1)
        self._looks: deque[tuple[float, float]] = deque(maxlen=self.window)
        self.state = "balanced"

    def attach(self, engine: Engine) -> None:
        """Follow the training ``engine``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.interval), self.look)

    def look(self, engine: Engine) -> None:
        """Look at the output of the iteration that has ended."""
        output: Any = engine.state.output
        for name in _LOSSES:
            value = float(output[name].detach())
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"{name} is {value} at iteration {engine.state.iteration}; the checkpoint before is kept. Lower "
                    "the learning rates or the weight of the adversarial loss, or set amp=False."
                )
        real, fake = (output[name].detach().float() for name in _LOGITS)
        size = float(real.abs().mean() + fake.abs().mean())
        gap = abs(float(real.mean() - fake.mean())) / size if size else 0.0
        self._looks.append((float((real > fake).float().mean()), gap))
        self._judge(engine.state.iteration)

    def _judge(self, iteration: int) -> None:
        if len(self._looks) < self.window:
            return
        told_apart = sum(told for told, _ in self._looks) / self.window
        if max(gap for _, gap in self._looks) < _BLIND:
            state, words = "blind", "it has collapsed and teaches nothing: lower its learning rate, or begin again"
        elif told_apart > _WON:
            state, words = "won", "it has won: lower its learning rate or its depth, or train the network alone first"
        else:
            state, words = "balanced", ""
        if words and state != self.state:
            logger.warning(
                f"iteration {iteration}: the discriminator told {told_apart:.1%} of the restored patches from the real "
                f"ones in the last {self.window} looks; {words}."
            )
        self.state = state
