"""How sure a mean, or a difference of means, is: by resampling patients, since images of one patient are alike."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import torch

from ..utils import check_integer, check_number

__all__ = ["BootstrapInterval", "PairedTest", "bootstrap_interval", "paired_test"]


class BootstrapInterval(NamedTuple):
    """A mean and its interval.

    Args:
        mean: of the values that are not NaN; NaN if there is none.
        low: lower bound; NaN for fewer than 2 groups.
        high: upper bound; NaN for fewer than 2 groups.
        num_values: how many values were not NaN.
        num_groups: how many groups these belong to.
    """

    mean: float
    low: float
    high: float
    num_values: int
    num_groups: int


class PairedTest(NamedTuple):
    """A mean difference, its interval, and the probability of one as large if the two were alike.

    Args:
        difference: mean of a - b over the pairs without NaN; NaN if there is none.
        low: lower bound of its interval; NaN for fewer than 2 groups.
        high: upper bound; NaN for fewer than 2 groups.
        p_value: two-sided; NaN for fewer than 2 groups.
        exact: whether all sign flips were counted, not a random part of them.
        num_values: how many pairs were without NaN.
        num_groups: how many groups these belong to.
    """

    difference: float
    low: float
    high: float
    p_value: float
    exact: bool
    num_values: int
    num_groups: int


def bootstrap_interval(
    values: Any,
    groups: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> BootstrapInterval:
    """Percentile bootstrap interval of the mean, resampling groups (patients) with all their values.

    Efron, "Bootstrap Methods: Another Look at the Jackknife", Ann. Statist. 7 (1979). The mean is that of all values,
    as a table shows it: a patient of many images weighs more. For equal weights give one value a patient. The interval
    is too narrow for few groups: of normal values, 95 % intervals of 5 groups hold the truth about 84 times in a
    hundred, of 10 about 90, of 30 about 93.

    NaN values are left out, as by MONAI's reductions. The order of values and the names of groups do not matter.

    Args:
        values: one number an image, shape (N,): tensor, array or sequence.
        groups: which patient each value belongs to, N labels; default: every value is a group of its own.
        confidence: share of the intervals that are meant to hold the truth, between 0 and 1.
        resamples: number of draws of groups with replacement.
        seed: of the draws.

    Returns:
        mean, bounds, and what they are made of. Fewer than 2 groups cannot say how much groups differ: the bounds are
        NaN, with a warning.

    Raises:
        ValueError: for an argument outside what is allowed, infinite values, or numbers that do not match.

    Example:
        >>> bootstrap_interval([30.0, 32.0, 31.0, float("nan")], groups=["a", "a", "b", "b"])
        BootstrapInterval(mean=31.0, low=31.0, high=31.0, num_values=3, num_groups=2)
    """
    numbers = _numbers("values", values)
    return _interval(_grouped(numbers, groups), confidence, resamples, seed)


def paired_test(
    a: Any,
    b: Any,
    groups: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    permutations: int = 10000,
    seed: int = 0,
) -> PairedTest:
    """Paired two-sided permutation test of the mean of a - b: the signs of whole groups (patients) are flipped.

    Fisher, "The Design of Experiments" (1935), sec. 21. If both are alike, the differences of a patient are as likely
    as their negatives. Of all sign flips the share is counted whose mean difference is at least as far from 0 as the
    one found; of n patients no p-value is below 2^(1 - n), so at least 6 are needed for 0.05. Where there are more than
    ``permutations`` sign flips, that many are drawn, and the one found counts as one of them: (1 + k) / (1 + m).

    Pairs with a NaN on either side are left out. The order of pairs and the names of groups do not matter.

    Args:
        a: one number an image, shape (N,): tensor, array or sequence.
        b: what it is compared with, image by image, shape (N,).
        groups: which patient each pair belongs to, N labels; default: every pair is a group of its own.
        confidence: of the interval of the mean difference, between 0 and 1.
        resamples: of the interval, as in :py:func:`bootstrap_interval`.
        permutations: number of sign flips up to which all are counted, and above which so many are drawn.
        seed: of all draws.

    Returns:
        mean difference, its interval, p-value, and what they are made of. For fewer than 2 groups the interval and the
        p-value are NaN, with a warning.

    Raises:
        ValueError: for an argument outside what is allowed, infinite values, or numbers that do not match.

    Example:
        >>> ours, theirs = [31.0, 30.0, 33.0, 29.5, 30.5, 32.0], [30.0, 29.5, 31.0, 29.0, 30.0, 31.0]
        >>> result = paired_test(ours, theirs)
        >>> round(result.difference, 3), result.p_value, result.exact
        (0.917, 0.03125, True)
    """
    first, second = _numbers("a", a), _numbers("b", b)
    if len(first) != len(second):
        raise ValueError(f"a has {len(first)} values and b {len(second)}; they must be pairs.")
    check_integer("permutations", permutations, 1)
    sums, counts = _grouped(first - second, groups)
    interval = _interval((sums, counts), confidence, resamples, seed)
    exact = 2 ** len(sums) <= permutations
    p_value = _sign_flip_p(sums, None if exact else permutations, seed) if len(sums) > 1 else math.nan
    mean, low, high, *numbers = interval
    return PairedTest(mean, low, high, p_value, exact, *numbers)


def _numbers(name: str, values: Any) -> torch.Tensor:
    """The values as float64 on the CPU; NaN is allowed."""
    numbers = torch.as_tensor(values, dtype=torch.float64, device="cpu").detach()
    if numbers.ndim != 1:
        raise ValueError(f"{name} has shape {tuple(numbers.shape)}; it must be (N,), one number an image.")
    if bad := int(numbers.isinf().sum()):
        raise ValueError(f"{name} holds {bad} infinite values of {len(numbers)}; they must be finite or NaN.")
    return numbers


def _grouped(numbers: torch.Tensor, groups: Sequence[Hashable] | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum and number of the values of each group, without NaN and without names, in an order of their own."""
    labels = list(range(len(numbers)) if groups is None else groups)
    if len(labels) != len(numbers):
        raise ValueError(f"groups has {len(labels)} labels for {len(numbers)} values; it must have one for each.")
    members: dict[Hashable, list[float]] = {}
    for label, number in zip(labels, numbers.tolist(), strict=True):
        if not math.isnan(number):
            members.setdefault(label, []).append(number)
    totals = sorted((math.fsum(group), len(group)) for group in members.values())
    table = torch.tensor(totals, dtype=torch.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _interval(
    grouped: tuple[torch.Tensor, torch.Tensor], confidence: float, resamples: int, seed: int
) -> BootstrapInterval:
    level = check_number("confidence", confidence, 0, 1, open_low=True)
    if level == 1:
        raise ValueError(f"confidence={confidence!r} must be less than 1: no interval is certain.")
    check_integer("resamples", resamples, 1)
    draws = torch.Generator().manual_seed(check_integer("seed", seed, 0))
    sums, counts = grouped
    num_values, num_groups = int(counts.sum()), len(sums)
    mean = (sums.sum() / counts.sum()).item()
    if num_groups < 2:
        why = f"{num_values} values of {num_groups} groups (patients): no interval or test from fewer than 2."
        warnings.warn(why, stacklevel=3)
        return BootstrapInterval(mean, math.nan, math.nan, num_values, num_groups)
    chosen = (torch.randint(num_groups, (num_groups,), generator=draws) for _ in range(resamples))
    means = torch.stack([sums[groups].sum() / counts[groups].sum() for groups in chosen])
    low, high = torch.quantile(means, torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=means.dtype)).tolist()
    return BootstrapInterval(mean, low, high, num_values, num_groups)


def _sign_flip_p(sums: torch.Tensor, drawn: int | None, seed: int) -> float:
    """Share of the sign flips of groups with a sum at least as far from 0; all of them, or ``drawn``."""
    n = len(sums)
    least = sums.sum().abs() - 1e-12 * sums.abs().sum()  # sums that differ by rounding are equal
    if drawn is None:
        signs = (torch.arange(2**n)[:, None] >> torch.arange(n) & 1) * 2.0 - 1
        return (signs.double() @ sums).abs().ge(least).double().mean().item()
    flips = torch.Generator().manual_seed(seed)
    signs_of = (torch.randint(2, (n,), generator=flips) * 2.0 - 1 for _ in range(drawn))
    hits = sum(int((signs.double() @ sums).abs() >= least) for signs in signs_of)
    return (1 + hits) / (1 + drawn)
