"""A share of successes: its exact interval (Clopper and Pearson, Biometrika 26:404, 1934) and its test against 1/2."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

from ..utils import check_integer, check_number

__all__ = ["binomial_interval", "binomial_test"]

# Halvings of [0, 1]: one more than the bits of a float64, after which the interval is one number.
_HALVINGS = 54


def binomial_interval(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of Clopper and Pearson for the probability of a success.

    Its ends are the probabilities at which what was seen, or something further out, has the chance ``(1 - level) / 2``.

    Args:
        successes: from 0 to ``trials``.
        trials: at least 1.
        level: how often such intervals hold the truth at least, between 0 and 1.

    Returns:
        The lower and the upper end, from 0 to 1.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> low, high = binomial_interval(0, 10)
        >>> low, round(high, 4)
        (0.0, 0.3085)
    """
    _check(successes, trials)
    tail = (1 - check_number("level", level, 0.0, 1.0)) / 2
    if tail in (0.0, 0.5):
        raise ValueError(f"level={level!r} must lie between 0 and 1, and be neither.")
    low = 0.0 if successes == 0 else _solve(lambda p: 1 - _at_most(successes - 1, trials, p), tail)
    high = 1.0 if successes == trials else _solve(lambda p: 1 - _at_most(successes, trials, p), 1 - tail)
    return low, high


def binomial_test(successes: int, trials: int) -> float:
    """The exact two-sided p-value of a share of successes against the probability 1/2.

    Args:
        successes: from 0 to ``trials``.
        trials: at least 1.

    Returns:
        The chance, if both outcomes are as likely, of a count at least as far from ``trials / 2`` as the one seen.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> binomial_test(0, 10) == 2 / 2**10, binomial_test(5, 10)
        (True, 1.0)
    """
    _check(successes, trials)
    smaller = min(successes, trials - successes)
    if 2 * smaller == trials:
        return 1.0
    return 2 * sum(math.comb(trials, count) for count in range(smaller + 1)) / 2**trials


def _check(successes: int, trials: int) -> None:
    check_integer("trials", trials, 1)
    check_integer("successes", successes, 0, trials)


def _at_most(count: int, trials: int, p: float) -> float:
    """The chance of at most ``count`` successes; ``0 < p < 1`` and ``count < trials``."""
    odds, fixed = math.log(p), math.log1p(-p)
    logs = (ways + k * odds + (trials - k) * fixed for k, ways in enumerate(_log_combs(trials, count)))
    return math.fsum(map(math.exp, logs))


@functools.lru_cache(maxsize=8)
def _log_combs(trials: int, count: int) -> tuple[float, ...]:
    """Logarithms of the binomial coefficients from 0 to ``count``, rounded once: those of gamma functions err more."""
    return tuple(math.log(math.comb(trials, k)) for k in range(count + 1))


def _solve(rising: Callable[[float], float], value: float) -> float:
    """Where a rising function of [0, 1] takes a value."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if rising(middle) < value:
            low = middle
        else:
            high = middle
    return (low + high) / 2
