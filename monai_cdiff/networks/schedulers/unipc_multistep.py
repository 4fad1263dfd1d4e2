"""UniPC: a multistep predictor whose every sample is corrected by the prediction it led to, at no further call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ...utils import Generators, check_flag, check_option
from .multistep import MultistepScheduler, Node, combine, interpolation_weights, moments
from .noise_level import NoiseLevel, Transition

__all__ = ["UniPCMultistepScheduler"]


class UniPCMultistepScheduler(MultistepScheduler):
    """Unified predictor-corrector (Zhao et al., arXiv:2302.04867), on predictions of x0.

    The predictor UniP goes from here to the next timestep along a polynomial through the latest predictions; once the
    network has been called there, the corrector UniC goes the same way again along a polynomial that has the new
    prediction too. Here the corrector adds the difference of both to the sample it is given, which is the same as long
    as nobody touched the sample, and keeps the change if somebody did.

    Args:
        num_train_timesteps: see :py:class:`DiffusionScheduler`.
        schedule: see :py:class:`DiffusionScheduler`.
        solver_order: order of predictor and corrector, from 1 to 3; None: 2 with fewer than 10 calls, else 3.
        solver_type: ``B(h)`` of the paper in the steps where it matters, the second predictor and the first corrector:
            ``"bh1"`` (``h``) or ``"bh2"`` (``1 - exp(-h)``).
        use_corrector: False leaves the predictor alone.
        kwargs: the other arguments of :py:class:`MultistepScheduler` and :py:class:`DiffusionScheduler`.

    Example:
        >>> import torch
        >>> scheduler = UniPCMultistepScheduler(prediction_type="v_prediction")
        >>> scheduler.set_timesteps(10)
        >>> sample = torch.zeros(1, 1, 8, 8)
        >>> for t in scheduler.timesteps:
        ...     sample, x0 = scheduler.step(torch.zeros_like(sample), t, sample)
    """

    def __init__(
        self,
        num_train_timesteps: int = 2000,
        schedule: str = "linear_beta",
        *,
        solver_order: int | None = None,
        solver_type: str = "bh2",
        use_corrector: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_train_timesteps, schedule, solver_order=solver_order, **kwargs)
        self.solver_type = check_option("solver_type", solver_type, ["bh1", "bh2"])
        self.use_corrector = check_flag("use_corrector", use_corrector)

    def _solve(
        self, sample: torch.Tensor, nodes: Sequence[Node], transition: Transition, generator: Generators
    ) -> torch.Tensor:
        weights = self._weights(nodes[0].level, transition.there, [node.level for node in nodes])
        return combine(transition.there.sigma / transition.here.sigma, sample, transition.there.alpha, weights, nodes)

    def _correct(self, sample: torch.Tensor, nodes: Sequence[Node]) -> torch.Tensor:
        new, *past = nodes
        if not past or not self.use_corrector:
            return sample
        levels = [node.level for node in past]
        predicted = self._weights(levels[0], new.level, levels)
        corrected = self._weights(levels[0], new.level, [new.level, *levels])
        change = [c - p for c, p in zip(corrected, [0.0, *predicted])]
        return combine(1.0, sample, new.level.alpha, change, nodes)

    def _weights(self, here: NoiseLevel, there: NoiseLevel, levels: Sequence[NoiseLevel]) -> list[float]:
        h = there.half_log_snr - here.half_log_snr
        integrals = moments(h, len(levels))
        if len(levels) == 2:  # the paper takes B(h) / 2 for the integral of s
            integrals[1] = (h if self.solver_type == "bh1" else -math.expm1(-h)) / 2
        positions = [(level.half_log_snr - here.half_log_snr) / h for level in levels]
        return interpolation_weights(positions, integrals)
