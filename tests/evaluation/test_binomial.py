"""Exact intervals and tests of a share: by their definition, by closed forms, and beside scipy."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import pytest

from monai_cdiff.evaluation import binomial_interval, binomial_test

CASES = [(0, 1), (1, 1), (0, 10), (1, 10), (5, 10), (10, 10), (24, 50), (37, 50), (3, 200), (199, 200), (700, 1500)]


def tail(counts: range, trials: int, p: float) -> float:
    exact = Fraction(p)
    return float(sum(comb(trials, k) * exact**k * (1 - exact) ** (trials - k) for k in counts))


@pytest.mark.parametrize("successes, trials", [case for case in CASES if case[1] <= 50])
@pytest.mark.parametrize("level", [0.5, 0.95])
def test_the_ends_are_where_the_tails_have_their_share(successes: int, trials: int, level: float) -> None:
    low, high = binomial_interval(successes, trials, level)
    share = (1 - level) / 2
    if successes == 0:
        assert low == 0
    else:
        assert tail(range(successes, trials + 1), trials, low) == pytest.approx(share, rel=1e-9)
    if successes == trials:
        assert high == 1
    else:
        assert tail(range(successes + 1), trials, high) == pytest.approx(share, rel=1e-9)


def test_closed_forms() -> None:
    # none of n: (1 - p)^n = 0.025
    assert binomial_interval(0, 50) == (0.0, pytest.approx(1 - 0.025 ** (1 / 50), abs=1e-14))
    assert binomial_interval(50, 50) == (pytest.approx(0.025 ** (1 / 50), abs=1e-14), 1.0)
    assert binomial_test(0, 50) == binomial_test(50, 50) == 2 / 2**50
    assert binomial_test(1, 3) == binomial_test(4, 8) == 1.0
    assert binomial_test(1, 4) == 2 * 5 / 16


@pytest.mark.parametrize("successes, trials", CASES)
def test_both_sides_are_alike(successes: int, trials: int) -> None:
    low, high = binomial_interval(successes, trials)
    mirrored = binomial_interval(trials - successes, trials)
    assert mirrored == (pytest.approx(1 - high, abs=1e-13), pytest.approx(1 - low, abs=1e-13))
    assert low < successes / trials < high or successes in (0, trials)
    assert binomial_test(successes, trials) == binomial_test(trials - successes, trials)


@pytest.mark.parametrize("successes, trials", CASES)
def test_beside_scipy(successes: int, trials: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    peer = stats.binomtest(successes, trials, 0.5)
    interval = peer.proportion_ci(0.95, method="exact")
    assert binomial_interval(successes, trials) == pytest.approx((interval.low, interval.high), abs=1e-10)
    assert binomial_test(successes, trials) == pytest.approx(peer.pvalue, rel=1e-9)


def test_wrong_arguments() -> None:
    for arguments, sentence in (
        ((1, 0), "trials=0 must be a whole number, at least 1"),
        ((3, 2), "successes=3 must be a whole number, from 0 to 2"),
        ((1, 2, 1.0), "level=1.0 must lie between 0 and 1"),
        ((1, 2, 0.0), "level=0.0 must lie between 0 and 1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            binomial_interval(*arguments)
    with pytest.raises(ValueError, match="successes=-1"):
        binomial_test(-1, 2)
