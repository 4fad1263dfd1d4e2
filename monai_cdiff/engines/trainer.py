"""A thin ``SupervisedTrainer``: what MONAI's lacks to train diffusion on any device and to be resumed."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.engines.workflow import Workflow
from monai.utils.enums import CommonKeys

from ..utils import amp_dtype, autocast, check_flag, check_integer, check_number, derive_seed

__all__ = ["DiffusionTrainer", "in_float32"]

logger = logging.getLogger(__name__)


def in_float32(value: Any) -> Any:
    """What a network returned under autocast, in the precision of a loss: a tensor, or tuples and lists of tensors."""
    if isinstance(value, torch.Tensor):
        return value.float()
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(in_float32, value))
    if isinstance(value, (tuple, list)):
        return type(value)(map(in_float32, value))
    return value


class DiffusionTrainer(SupervisedTrainer):
    """MONAI's ``SupervisedTrainer`` with autocast on the device's own type, gradient clipping and a lasting scaler.

    It counts iterations: training ends after ``max_iterations``, in the middle of an epoch if need be, and a run that
    was resumed continues with the very batch it would have seen. Ctrl-C or SIGTERM ends it after the iteration under
    way, so that the handlers save a checkpoint; a second Ctrl-C ends it at once.

    Args:
        max_iterations: number of iterations in all, those before a resume included.
        seed: set torch's generators from ``(seed, iteration, process)`` before each iteration, so that dropout too is
            the same in a resumed run; None leaves them alone.
        max_grad_norm: clip the gradient to this norm; None leaves it.
        amp: autocast to bfloat16, or float16 with a loss scaler on GPUs without bfloat16.
        decollate: split batch and output into lists after each iteration, which training does not need.
        kwargs: the arguments of ``SupervisedTrainer``.

    Raises:
        ValueError: for numbers outside what is allowed.
        SystemExit: with code 130 from :py:meth:`run` after an interruption.
    """

    def __init__(
        self,
        *,
        max_iterations: int,
        seed: int | None = None,
        max_grad_norm: float | None = None,
        amp: bool = False,
        decollate: bool = False,
        **kwargs: Any,
    ) -> None:
        amp = check_flag("amp", amp)
        super().__init__(amp=amp, decollate=decollate, **kwargs)
        self.max_iterations = check_integer("max_iterations", max_iterations, 1)
        self.seed = None if seed is None else check_integer("seed", seed, 0)
        if max_grad_norm is not None:
            max_grad_norm = check_number("max_grad_norm", max_grad_norm, low=0, open_low=True)
        self.max_grad_norm = max_grad_norm
        device = self.state.device
        scaled = amp and amp_dtype(device) == torch.float16
        self.grad_scaler = torch.amp.GradScaler(device.type, enabled=scaled)
        self.interrupted = False
        self.add_event_handler(Events.EPOCH_STARTED, self._begin_where_resumed)
        self.add_event_handler(Events.ITERATION_STARTED, self._seed_iteration)
        self.add_event_handler(Events.ITERATION_COMPLETED, self._end_at_max_iterations)

    def run(self) -> None:  # type: ignore[override]
        """Train until ``max_iterations``, from where the state stands."""
        with self._ending_gently():
            Workflow.run(self)  # Trainer.run would make a new scaler
        if self.interrupted:
            raise SystemExit(130)

    def _iteration(  # type: ignore[override]
        self, engine: DiffusionTrainer, batchdata: dict[str, torch.Tensor]
    ) -> dict:
        inputs, targets, *rest = engine.prepare_batch(
            batchdata, engine.state.device, engine.non_blocking, **engine.to_kwargs
        )
        args, kwargs = rest or ((), {})
        output = engine.state.output = {CommonKeys.IMAGE: inputs, CommonKeys.LABEL: targets}
        engine.network.train()
        first, last = engine._place_in_accumulation()
        if first:
            engine.optimizer.zero_grad(set_to_none=True)
        with autocast(engine.state.device, engine.amp):
            output[CommonKeys.PRED] = engine.inferer(inputs, engine.network, *args, **kwargs)
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        output[CommonKeys.LOSS] = engine._loss(output)
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        engine.grad_scaler.scale(output[CommonKeys.LOSS] / engine.accumulation_steps).backward()
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if last:
            engine._step(engine.optimizer, engine.network)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def _loss(self, output: dict[str, Any]) -> torch.Tensor:
        return self.loss_function(in_float32(output[CommonKeys.PRED]), output[CommonKeys.LABEL]).mean()

    def _place_in_accumulation(self) -> tuple[bool, bool]:
        place = (self.state.iteration - 1) % self.accumulation_steps
        last = place == self.accumulation_steps - 1 or self.state.iteration == self.max_iterations
        return place == 0, last

    def _step(self, optimizer: torch.optim.Optimizer, network: torch.nn.Module) -> None:
        if self.max_grad_norm is not None:
            self.grad_scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(network.parameters(), self.max_grad_norm)
        self.grad_scaler.step(optimizer)
        self.grad_scaler.update()

    def _begin_where_resumed(self, engine: Engine) -> None:
        set_iteration = getattr(getattr(self.data_loader, "batch_sampler", None), "set_iteration", None)
        if set_iteration is not None:
            set_iteration(engine.state.iteration)
        if engine.state.iteration >= self.max_iterations:
            logger.info(f"nothing to train: iteration {engine.state.iteration} of {self.max_iterations} was reached.")
            engine.terminate()

    def _seed_iteration(self, engine: Engine) -> None:
        if self.seed is not None:
            torch.manual_seed(derive_seed(self.seed, "iteration", engine.state.iteration, self.state.rank))

    def _end_at_max_iterations(self, engine: Engine) -> None:
        if engine.state.iteration >= self.max_iterations:
            engine.terminate()

    @contextmanager
    def _ending_gently(self) -> Iterator[None]:
        before: dict[int, Any] = {}

        def restore() -> None:
            while before:
                signal.signal(*before.popitem())

        def end(number: int, frame: Any) -> None:
            logger.warning(f"{signal.Signals(number).name}: ending after this iteration; once more ends at once.")
            self.interrupted = True
            self.terminate()
            restore()

        # processes that train together must end together, which a signal to each of them does not promise
        together = torch.distributed.is_available() and torch.distributed.is_initialized()
        if not together:
            try:
                for number in (signal.SIGINT, signal.SIGTERM):
                    before[number] = signal.signal(number, end)
            except ValueError:  # not in the main thread: signals are not ours to take
                pass
        try:
            yield
        finally:
            restore()
