"""Where a chain stands: the scalings of a timestep, and the step from one timestep to the next."""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["NoiseLevel", "Transition"]


class NoiseLevel(NamedTuple):
    """``x_t = alpha x_0 + sigma eps``, in double precision.

    Args:
        alpha: factor on x0, from 0 to 1.
        sigma: standard deviation of the noise, at least 0.
    """

    alpha: float
    sigma: float

    @property
    def half_log_snr(self) -> float:
        """``lambda = log(alpha / sigma)``, the time of the solvers; infinite without noise."""
        return math.log(self.alpha / self.sigma) if self.sigma else math.inf

    @property
    def noise_to_signal(self) -> float:
        """``sigma / alpha``, the noise relative to an image of unchanged scale."""
        return self.sigma / self.alpha


class Transition(NamedTuple):
    """One step of a grid.

    Args:
        place: place of the timestep in the grid, from 0.
        here: noise level of the timestep.
        there: noise level of the next one; without noise after the last.
    """

    place: int
    here: NoiseLevel
    there: NoiseLevel

    @property
    def is_last(self) -> bool:
        """Whether the step ends at x0."""
        return self.there.sigma == 0
