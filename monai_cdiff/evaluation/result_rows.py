"""Rows of a comparison: means with their intervals, and paired tests against one method."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from ..metrics import bootstrap_interval, paired_test

__all__ = ["Measured", "make_row"]

_DIGITS = 6


class Measured(NamedTuple):
    """What was measured of one metric.

    Args:
        values: one number an image, volume or subject, NaN where there is none; a single number with ``groups=None``
            for a metric of whole sets.
        groups: the subject of each value; None for a metric of whole sets.
        reason: why there is no value, where there is none.
        interval: of a metric of whole sets, where it has one.
    """

    values: Sequence[float]
    groups: Sequence[Hashable] | None
    reason: str = ""
    interval: tuple[float, float] | None = None


def make_row(
    head: Mapping[str, Any],
    measured: Mapping[str, Measured],
    reference: Mapping[str, Measured] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """One row: for each metric NAME its mean, ``NAME_interval``, ``NAME_difference`` and ``NAME_p``, or its reason.

    Args:
        head: what the row begins with: task, method, setting, n.
        measured: what was measured, by metric.
        reference: the same of the method that the others are compared with; None for that method itself.
        seed: of the bootstrap and of the sign flips.

    Returns:
        The row. A metric without any value is None, and ``NAME_reason`` says why. Where some of the values are missing,
        ``NAME_n`` says how many are there, and ``NAME_reason`` why the others are not, if that is known. Intervals are
        of 95 % over subjects, None for fewer than 2; the difference is the mean of this method minus the reference over
        the images that both have a value of.

    Example:
        >>> row = make_row({"method": "a"}, {"psnr": Measured([30.0, 32.0], ["x", "y"])})
        >>> row["psnr"], row["psnr_interval"]
        (31.0, [30.0, 32.0])
    """
    row = dict(head)
    for name, found in measured.items():
        known = [value for value in found.values if not math.isnan(value)]
        if not known:
            row[name] = None
            row[f"{name}_reason"] = found.reason or "no image has a value"
            continue
        row |= _summary(name, found, seed)
        other = (reference or {}).get(name)
        if other is not None and found.groups is not None and len(other.values) == len(found.values):
            row |= _difference(name, found, other, seed)
    return row


def _summary(name: str, found: Measured, seed: int) -> dict[str, Any]:
    if found.groups is None:
        bounds = None if found.interval is None else _bounds(*found.interval)
        return {name: round(found.values[0], _DIGITS), f"{name}_interval": bounds}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # fewer than 2 subjects: the interval says it, being None
        interval = bootstrap_interval(list(found.values), list(found.groups), seed=seed)
    bounds = _bounds(interval.low, interval.high)
    summary: dict[str, Any] = {name: round(interval.mean, _DIGITS), f"{name}_interval": bounds}
    if interval.num_values < len(found.values):
        summary[f"{name}_n"] = interval.num_values
        summary |= {f"{name}_reason": found.reason} if found.reason else {}
    return summary


def _bounds(low: float, high: float) -> list[float] | None:
    return None if math.isnan(low) or math.isnan(high) else [round(low, _DIGITS), round(high, _DIGITS)]


def _difference(name: str, found: Measured, other: Measured, seed: int) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        test = paired_test(list(found.values), list(other.values), list(found.groups or ()), seed=seed)
    if math.isnan(test.difference):
        return {}
    return {
        f"{name}_difference": round(test.difference, _DIGITS),
        f"{name}_p": None if math.isnan(test.p_value) else round(test.p_value, _DIGITS),
    }
