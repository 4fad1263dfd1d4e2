"""What solvers share that use the predictions of several timesteps: memory, interpolation, integration."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from ...utils import Generators, check_flag, check_integer
from .base import DiffusionScheduler
from .noise_level import NoiseLevel, Transition

__all__ = ["MultistepScheduler", "Node", "combine", "interpolation_weights", "moments"]


# Calls from which the third order has the smaller error, on random mixtures of normal distributions; see spacings.py.
_THIRD_ORDER_FROM = 10


class Node(NamedTuple):
    """A prediction at a timestep of the grid.

    Args:
        place: place of the timestep in the grid.
        level: its noise level.
        x0: the predicted x0, bounded.
    """

    place: int
    level: NoiseLevel
    x0: torch.Tensor


class MultistepScheduler(DiffusionScheduler):
    """Base of solvers that interpolate the predicted x0 over several timesteps, with one network call per step.

    In the time ``lambda = log(alpha / sigma)`` of DPM-Solver++ (arXiv:2211.01095, eq. 8) a step is exactly
    ``x_next = sigma_next / sigma x + alpha_next int_0^1 h exp(-h (1 - s)) x0(s) ds`` with ``h = lambda_next - lambda``
    and ``s`` from 0 here to 1 there. A solver replaces ``x0(s)`` by a polynomial through known predictions.

    Only predictions of the timesteps directly before in the grid count, so the first timestep of the grid, a start in
    the middle and a timestep visited again all forget what no longer fits. One object serves one batch at a time.

    Args:
        num_train_timesteps: see :py:class:`DiffusionScheduler`.
        schedule: see :py:class:`DiffusionScheduler`.
        solver_order: most predictions that a step uses, from 1 to 3; the first steps have fewer. None takes what
            measured best: 2 with fewer than 10 calls, else 3.
        final_extrapolation: extrapolate the last two predictions to no noise at all, instead of returning the last
            one. The predicted x0 changes with the square of the noise there, so this leaves an error of higher order.
        kwargs: the other arguments of :py:class:`DiffusionScheduler` and of the schedule.
    """

    def __init__(
        self,
        num_train_timesteps: int = 2000,
        schedule: str = "linear_beta",
        *,
        solver_order: int | None = None,
        final_extrapolation: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_train_timesteps, schedule, **kwargs)
        self.solver_order = None if solver_order is None else check_integer("solver_order", solver_order, 1, 3)
        self.final_extrapolation = check_flag("final_extrapolation", final_extrapolation)

    def _set_grid(self, grid: torch.Tensor, device: str | torch.device | None = None) -> None:
        super()._set_grid(grid, device)
        self._memory: list[Node] = []

    def _advance(
        self, x0: torch.Tensor, sample: torch.Tensor, transition: Transition, generator: Generators
    ) -> torch.Tensor:
        past = self._past(transition.place, sample)
        nodes = [Node(transition.place, transition.here, x0.clone()), *past]  # nobody else's to change
        if transition.is_last:
            self._memory = []
            return _extrapolate(nodes) if self.final_extrapolation and past else x0.clone()
        self._memory = nodes[: self.solver_order or (3 if len(self.timesteps) >= _THIRD_ORDER_FROM else 2)]
        return self._solve(self._correct(sample, nodes), self._memory, transition, generator)

    def _past(self, place: int, sample: torch.Tensor) -> list[Node]:
        """The predictions of the timesteps directly before, the latest first."""
        past: list[Node] = []
        if place > 0 and self._memory and self._memory[0].place == place:
            raise ValueError(
                f"timestep={self.timesteps[place].item():g} was stepped just before: one scheduler steps one batch at "
                "a time, from the first timestep on."
            )
        for node in self._memory:
            if node.place == place - 1 - len(past):
                past.append(node)
        if past and past[0].x0.shape != sample.shape:
            raise ValueError(
                f"sample has shape {tuple(sample.shape)}, but {tuple(past[0].x0.shape)} at the timestep before: one "
                "scheduler steps one batch at a time."
            )
        return past

    def _correct(self, sample: torch.Tensor, nodes: Sequence[Node]) -> torch.Tensor:
        """Improve the sample by the prediction it led to (``nodes[0]``); a solver without a corrector leaves it."""
        return sample

    @abstractmethod
    def _solve(
        self, sample: torch.Tensor, nodes: Sequence[Node], transition: Transition, generator: Generators
    ) -> torch.Tensor:
        """The sample at ``transition.there``, from the predictions here and before, the latest first."""


def moments(h: float, count: int) -> list[float]:
    """``int_0^1 h exp(-h (1 - s)) s^k ds`` for k = 0, 1, ...: a step over a polynomial of the predicted x0.

    Args:
        h: length of the step in the time of the exponential, more than 0.
        count: number of moments.
    """
    found = [-math.expm1(-h)]
    for k in range(1, count):
        found.append(1 - k / h * found[-1])
    return found


def interpolation_weights(positions: Sequence[float], integrals: Sequence[float]) -> list[float]:
    """Weights of the values at ``positions`` that integrate their interpolating polynomial.

    Args:
        positions: where the values lie, in units of the step: 0 here, 1 there, negative before.
        integrals: integral of ``s^k`` for k = 0, 1, ..., one for each position.
    """
    # Vandermonde system in Newton's form (Bjoerck and Pereyra 1970, doi:10.1090/S0025-5718-1970-0290541-1): a
    # general solver would be the longest part of a step
    weights, count = list(integrals), len(positions)
    for k in range(count - 1):
        for i in range(count - 1, k, -1):
            weights[i] -= positions[k] * weights[i - 1]
    for k in range(count - 2, -1, -1):
        for i in range(k + 1, count):
            weights[i] /= positions[i] - positions[i - k - 1]
        for i in range(k, count - 1):
            weights[i] -= weights[i + 1]
    return weights


def combine(
    factor: float, sample: torch.Tensor, alpha: float, weights: Sequence[float], nodes: Sequence[Node]
) -> torch.Tensor:
    """``factor sample + alpha sum(weight x0)``."""
    result = factor * sample
    for weight, node in zip(weights, nodes):
        result = result.add(node.x0, alpha=alpha * weight)
    return result


def _extrapolate(nodes: Sequence[Node]) -> torch.Tensor:
    here, before = (node.level.noise_to_signal**2 for node in nodes[:2])
    return nodes[0].x0 + here / (before - here) * (nodes[0].x0 - nodes[1].x0)
