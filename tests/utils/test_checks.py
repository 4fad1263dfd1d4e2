"""Argument checks: what passes, and that a refusal names argument, value and what is allowed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from monai_cdiff.utils import check_finite, check_flag, check_integer, check_number, check_option


@pytest.mark.parametrize("value", [3, True, 0, 2.0, "2", None, float("nan")])
def test_integer(value: Any) -> None:
    if type(value) is int and 1 <= value <= 3:
        assert check_integer("n", value, 1, 3) == value
        return
    with pytest.raises(ValueError, match=f"n={value!r} must be a whole number, from 1 to 3"):
        check_integer("n", value, 1, 3)


@pytest.mark.parametrize("value", [0, -1.0, float("inf"), float("nan"), "x", None, True])
def test_number_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=rf"scale={value!r} must be a finite number, more than 0"):
        check_number("scale", value, low=0, open_low=True)


def test_number_bounds() -> None:
    assert check_number("p", "0.25", 0, 1) == 0.25 and check_number("p", 1, 0, 1) == 1.0
    with pytest.raises(ValueError, match="p=1.01 must be a finite number, at least 0 and at most 1"):
        check_number("p", 1.01, 0, 1)


def test_option_suggests() -> None:
    assert check_option("target", "image", ["image", "residual"]) == "image"
    with pytest.raises(ValueError, match="target='residul' is not supported; allowed: 'image', 'residual'. Did you"):
        check_option("target", "residul", ["image", "residual"])


@pytest.mark.parametrize(("value", "flag"), [(True, True), ("false", False), ("True", True), (False, False)])
def test_flag(value: Any, flag: bool) -> None:
    assert check_flag("amp", value) is flag


def test_flag_refuses_what_only_looks_like_one() -> None:
    with pytest.raises(ValueError, match="amp='no' is not supported; allowed: true, false"):
        check_flag("amp", "no")


def test_finite_counts() -> None:
    with pytest.raises(ValueError, match="image holds 2 NaN or infinite values of 3"):
        check_finite("image", torch.tensor([1.0, float("nan"), float("inf")]))
