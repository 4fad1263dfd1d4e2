"""Argument checks whose messages name the argument, its value and what is allowed."""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterable
from typing import Any

import torch

__all__ = ["check_finite", "check_flag", "check_integer", "check_number", "check_option"]


def check_option(name: str, value: Any, options: Iterable[str]) -> str:
    """Return ``value`` as a plain string if it is one of ``options``.

    Raises:
        ValueError: if it is not; the message lists the options and suggests the nearest one.

    Example:
        >>> check_option("target", "image", ["image", "residual"])
        'image'
    """
    allowed = [str(option) for option in options]
    text = str(value)
    if text in allowed:
        return text
    near = difflib.get_close_matches(text, allowed, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{name}={value!r} is not supported; allowed: {', '.join(map(repr, allowed))}.{hint}")


def check_flag(name: str, value: Any) -> bool:
    """Return ``value`` as a ``bool``; the words "true" and "false", as a command line gives them, count.

    Raises:
        ValueError: if it is neither.

    Example:
        >>> check_flag("amp", "false")
        False
    """
    word = str(value).strip().lower()
    if word not in ("true", "false"):
        raise ValueError(f"{name}={value!r} is not supported; allowed: true, false.")
    return word == "true"


def check_integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return ``value`` as an ``int`` if it is whole and ``low <= value <= high``.

    Raises:
        ValueError: if it is not a whole number in the range.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < low or (high is not None and number > high):
        allowed = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name}={value!r} must be a whole number, {allowed}.")
    return number


def check_number(
    name: str, value: Any, low: float = -math.inf, high: float = math.inf, open_low: bool = False
) -> float:
    """Return ``value`` as a ``float`` if it is finite and ``low <= value <= high`` (``low < value`` if ``open_low``).

    Raises:
        ValueError: if it is not a finite number in the range.
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or number > high or number < low or (open_low and number == low):
        bounds = [f"{'more than' if open_low else 'at least'} {low:g}"] if math.isfinite(low) else []
        bounds += [f"at most {high:g}"] if math.isfinite(high) else []
        raise ValueError(f"{name}={value!r} must be a finite number{', ' if bounds else ''}{' and '.join(bounds)}.")
    return number


def check_finite(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Return ``tensor`` if none of its values is NaN or infinite.

    Raises:
        ValueError: if some are; the message says how many.
    """
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise ValueError(f"{name} holds {bad} NaN or infinite values of {tensor.numel()}; it must be finite.")
    return tensor
