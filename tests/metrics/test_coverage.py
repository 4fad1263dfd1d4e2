"""Coverage: shares that can be counted, in the three forms an interval may have."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from monai.data import MetaTensor

from monai_cdiff.metrics import CoverageMetric

# by image and channel: 4 values, of which the interval from 0 to 2 holds as many as are written behind
TRUTH = torch.tensor([[[-1.0, 0, 1, 2], [0, 1, 2, 3]], [[5, 6, 7, 8], [1, 1, 1, 9]]]).view(2, 2, 2, 2)
SHARES = torch.tensor([[0.75, 0.75], [0.0, 0.75]])
LOW, HIGH = torch.zeros_like(TRUTH), torch.full_like(TRUTH, 2)


def test_a_pair() -> None:
    assert torch.equal(CoverageMetric()((LOW, HIGH), TRUTH), SHARES)  # type: ignore[arg-type]


def test_a_stacked_tensor() -> None:
    assert torch.equal(CoverageMetric()(torch.stack((LOW, HIGH), dim=1), TRUTH), SHARES)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [list, tuple])
def test_lists_as_an_engine_hands_them_over(kind: Any) -> None:
    metric: Any = CoverageMetric()
    intervals = torch.stack((LOW, HIGH), dim=1)
    assert torch.equal(metric(kind(intervals), kind(TRUTH)), SHARES)
    assert metric.aggregate().item() == pytest.approx((0.75 + 0.375) / 2)
    torch.testing.assert_close(metric.aggregate("mean_batch"), torch.tensor([0.375, 0.75]))


def test_bounds_belong_to_their_own_image_and_voxel() -> None:
    metric: Any = CoverageMetric()
    assert metric((TRUTH, TRUTH), TRUTH).eq(1).all(), "the bounds are within"
    assert metric((TRUTH - 0.1, TRUTH + 0.1), TRUTH.flip(0)).mean().item() < 0.5
    beyond = torch.nextafter(TRUTH, torch.tensor(torch.inf))
    assert metric((beyond, beyond + 1), TRUTH).eq(0).all()
    assert metric((-beyond - 1, -beyond), -TRUTH).eq(0).all()


@pytest.mark.parametrize("z, share", [(1.0, 0.6827), (1.6449, 0.9), (1.96, 0.95)])
@pytest.mark.parametrize("size", [(400, 500), (40, 50, 100)])
def test_normal_errors(z: float, share: float, size: tuple[int, ...]) -> None:
    truth = torch.randn((1, 1, *size), generator=torch.Generator().manual_seed(0))
    bound = torch.full_like(truth, z)
    values: Any = CoverageMetric()((-bound, bound), truth)
    assert values.item() == pytest.approx(share, abs=0.004)


def test_infinite_bounds_hold_everything() -> None:
    values: Any = CoverageMetric()((LOW - math.inf, HIGH + math.inf), TRUTH)
    assert values.eq(1).all()


def test_meta_tensors_and_half_precision() -> None:
    metric: Any = CoverageMetric()
    metric((MetaTensor(LOW), MetaTensor(HIGH)), MetaTensor(TRUTH))
    metric((LOW.bfloat16(), HIGH.bfloat16()), TRUTH.double())
    torch.testing.assert_close(torch.as_tensor(metric.aggregate("none")), torch.cat((SHARES, SHARES)))


def test_a_pair_of_a_batch_of_two_is_not_taken_for_two_intervals() -> None:
    """MONAI itself would pair low with the first truth and high with the second."""
    truth = torch.zeros(2, 1, 3, 3)
    values: Any = CoverageMetric()((truth - 2, truth - 1), truth)
    assert torch.equal(values, torch.zeros(2, 1))


WRONG: list[tuple[Any, Any, str]] = [
    ([LOW, HIGH], TRUTH, "y_pred is a list of tensors of the shapes.*must be the tuple"),
    ((LOW, HIGH, HIGH), TRUTH, "y_pred is a tuple of tensors"),
    ((LOW, HIGH[:1]), TRUTH, r"shapes \[\(2, 2, 2, 2\), \(1, 2, 2, 2\)\]"),
    ((LOW[:1], HIGH[:1]), TRUTH, r"y_pred has shape \(1, 2, 2, 2, 2\) and y \(2, 2, 2, 2\)"),
    (LOW, TRUTH, r"y_pred has shape \(2, 2, 2, 2\).*torch.stack"),
    (torch.stack((LOW, HIGH)), TRUTH[:, :1], r"y_pred has shape \(2, 2, 2, 2, 2\) and y \(2, 1, 2, 2\)"),
    (torch.zeros(3, 2), torch.zeros(3), r"and y \(3,\)"),
    ((HIGH, LOW), TRUTH, "low is above high, or one of them NaN, at 16 voxels of 16"),
    ((LOW * torch.nan, HIGH), TRUTH, "one of them NaN, at 16 voxels"),
    ((LOW, HIGH), TRUTH * torch.nan, "y holds 16 NaN"),
    ((LOW, HIGH), None, "."),
]


@pytest.mark.parametrize("interval, truth, message", WRONG, ids=range(len(WRONG)))
def test_errors(interval: Any, truth: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CoverageMetric()(interval, truth)


def test_an_unknown_reduction() -> None:
    with pytest.raises(ValueError, match="'median'"):
        CoverageMetric(reduction="median")
