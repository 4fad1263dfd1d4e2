"""The averaged weights of the validation that scored best."""

from __future__ import annotations

import logging
import math
from typing import Any

from ignite.engine import Engine, Events

from .checkpoint import CheckpointHandler, read_checkpoint, write_checkpoint

__all__ = ["BestWeightsHandler"]

logger = logging.getLogger(__name__)

BEST_FILE = "best.pt"


class BestWeightsHandler:
    """Writes ``checkpoints/best.pt`` whenever the key metric of a validation is higher than ever before.

    The file holds what ``model.pt`` does, and the score, which is read from it again: a training that is resumed in
    the same folder goes on from the best that it had. A new training moves an earlier ``checkpoints`` aside, this file
    with it.

    Args:
        checkpoints: the handler of the training, which knows the averaged weights and the folder.

    Example:
        >>> BestWeightsHandler(CheckpointHandler("output", objects, settings)).attach(evaluator)  # doctest: +SKIP
    """

    def __init__(self, checkpoints: CheckpointHandler) -> None:
        self.checkpoints = checkpoints
        self.path = checkpoints.folder / BEST_FILE

    def attach(self, engine: Engine) -> None:
        """Follow the evaluator ``engine``."""
        engine.add_event_handler(Events.COMPLETED, self.compare)

    def compare(self, engine: Engine) -> None:
        """Write the weights if they are the best; on the first process only."""
        state: Any = engine.state
        if state.rank:
            return
        score = float(state.metrics[state.key_metric_name])
        iteration = int(self.checkpoints.objects["ema"].n_averaged)
        best = read_checkpoint(self.path)["score"] if self.path.is_file() else -math.inf
        known = "the best so far" if score > best else f"best {best:.4f}"
        logger.info(f"iteration {iteration}: {state.key_metric_name} {score:.4f}, {known}")
        if score > best:
            write_checkpoint({**self.checkpoints.weights(iteration), "score": score}, self.path)
