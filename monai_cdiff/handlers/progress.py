"""A progress bar over the iterations of a training, with loss, rate and time left."""

from __future__ import annotations

import math
from typing import Any

from ignite.engine import Engine, Events
from monai.utils.enums import CommonKeys

from ..utils import check_integer

__all__ = ["ProgressHandler"]


class ProgressHandler:
    """Shows one bar for the whole training and stops it if the loss is no longer a number.

    Args:
        max_iterations: length of the bar.
        interval: iterations between two readings of the loss; reading it makes a GPU wait.
        show: False reads and checks the loss without a bar, as on all but one process.

    Raises:
        FloatingPointError: during training, if the loss is NaN or infinite; the message names the iteration.
    """

    def __init__(self, max_iterations: int, interval: int = 10, show: bool = True) -> None:
        self.max_iterations = check_integer("max_iterations", max_iterations, 1)
        self.interval = check_integer("interval", interval, 1)
        self.show = show
        self.loss = math.nan
        self.bar: Any = None

    def attach(self, engine: Engine) -> None:
        """Follow the training ``engine``."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.open)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.advance)
        engine.add_event_handler(Events.COMPLETED, self.close)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.fail)

    def open(self, engine: Engine) -> None:
        """Open the bar where the training stands."""
        from tqdm import tqdm

        if self.bar is None:
            self.bar = tqdm(
                total=self.max_iterations, initial=engine.state.iteration, desc="training", disable=not self.show
            )

    def advance(self, engine: Engine) -> None:
        """Count an iteration; at intervals read the loss, smoothed over the last readings."""
        self.bar.update()
        if engine.state.iteration % self.interval:
            return
        output: Any = engine.state.output
        loss = float(output[CommonKeys.LOSS].detach())
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss} at iteration {engine.state.iteration}: lower the learning rate, or set amp=False."
            )
        self.loss = loss if math.isnan(self.loss) else 0.9 * self.loss + 0.1 * loss
        self.bar.set_postfix(loss=f"{self.loss:.4f}")

    def close(self, engine: Engine) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def fail(self, engine: Engine, error: BaseException) -> None:
        """Close the bar and let the error go on."""
        self.close(engine)
        raise error
