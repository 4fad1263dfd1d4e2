"""Rows of a comparison: means, intervals, tests, reasons."""

from __future__ import annotations

import math

import numpy as np
import pytest

from monai_cdiff.evaluation import Measured, make_row
from monai_cdiff.metrics import bootstrap_interval, paired_test

SUBJECTS = [str(n // 2) for n in range(12)]
OURS = np.random.default_rng(0).normal(30, 1, 12).tolist()
THEIRS = np.random.default_rng(1).normal(29, 1, 12).tolist()


def test_interval_and_test_are_those_of_the_metrics() -> None:
    row = make_row({"method": "a"}, {"psnr": Measured(THEIRS, SUBJECTS)}, {"psnr": Measured(OURS, SUBJECTS)}, seed=3)
    interval = bootstrap_interval(THEIRS, SUBJECTS, seed=3)
    test = paired_test(THEIRS, OURS, SUBJECTS, seed=3)
    assert row["psnr"] == pytest.approx(interval.mean, abs=1e-6)
    assert row["psnr_interval"] == pytest.approx([interval.low, interval.high], abs=1e-6)
    assert row["psnr_difference"] == pytest.approx(test.difference, abs=1e-6)
    assert row["psnr_p"] == pytest.approx(test.p_value, abs=1e-6)


def test_missing_values_are_counted() -> None:
    row = make_row({}, {"psnr": Measured([*OURS[:-1], math.nan], SUBJECTS)})
    assert row["psnr_n"] == 11 and row["psnr"] == pytest.approx(np.mean(OURS[:-1]), abs=1e-6)


def test_missing_values_have_a_reason() -> None:
    row = make_row({}, {"dice": Measured([0.5, math.nan], ["a", "b"], "no label")})
    assert (row["dice"], row["dice_n"], row["dice_reason"]) == (0.5, 1, "no label")


def test_no_value_has_a_reason() -> None:
    row = make_row({}, {"a": Measured([], None, "no weights"), "b": Measured([math.nan], ["x"])})
    assert row == {"a": None, "a_reason": "no weights", "b": None, "b_reason": "no image has a value"}


def test_one_subject_has_a_mean_only() -> None:
    row = make_row({}, {"psnr": Measured([1.0, 2.0], ["a", "a"])}, {"psnr": Measured([2.0, 3.0], ["a", "a"])})
    assert (row["psnr"], row["psnr_interval"], row["psnr_difference"], row["psnr_p"]) == (1.5, None, -1.0, None)


def test_a_metric_of_sets_is_never_tested() -> None:
    row = make_row({}, {"fid": Measured([3.0], None)}, {"fid": Measured([2.0], None)})
    assert row == {"fid": 3.0, "fid_interval": None}
    assert make_row({}, {"told": Measured([0.9], None, interval=(0.8, 1.0))})["told_interval"] == [0.8, 1.0]
