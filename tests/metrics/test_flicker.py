"""Flicker: known steps from slice to slice."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from monai_cdiff.metrics import FlickerMetric


def volume(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_known_steps() -> None:
    """Steps 1 1 1 of the original, 1 3 2 of the prediction: (1 + 9 + 4) / 3."""
    original, restored = torch.tensor([0.0, 1, 2, 3]), torch.tensor([5.0, 6, 3, 5])
    values: Any = FlickerMetric()(restored.expand(1, 1, 2, 3, 4), original.expand(1, 1, 2, 3, 4))
    assert values.item() == pytest.approx(14 / 3)


@pytest.mark.parametrize("factor", [1.0, 0.5, -3.0])
def test_grows_with_the_square_and_ignores_a_constant_image(factor: float) -> None:
    original, pattern = volume(2, 3, 4, 5, 6), volume(2, 3, 4, 5, 1, seed=1)
    values: Any = FlickerMetric()(factor * original + pattern, original)
    torch.testing.assert_close(values, torch.full((2, 3), factor**2), rtol=1e-4, atol=0)


def test_independent_errors_add_twice_their_variance() -> None:
    ramp = torch.arange(40.0).expand(1, 1, 50, 50, 40)
    values: Any = FlickerMetric()(ramp + 0.5 * volume(*ramp.shape), ramp)
    assert values.item() == pytest.approx(1 + 2 * 0.25, abs=0.02)


def test_a_volume_smoothed_through_the_plane_is_below_1() -> None:
    original = volume(1, 1, 6, 6, 12)
    smooth = (original + original.roll(1, -1) + original.roll(-1, -1)) / 3
    values: Any = FlickerMetric()(smooth, original)
    assert values.item() < 0.5


@pytest.mark.parametrize("axis", [2, 3, 4, -3, -2, -1])
def test_axis(axis: int) -> None:
    """Along the axis the prediction changes twice as much, along the others as much as the original."""
    original = volume(1, 1, 5, 5, 5)
    steps = torch.arange(5.0).view([5 if i == axis % 5 else 1 for i in range(5)])
    ramp = steps.expand(1, 1, 5, 5, 5)
    along: Any = FlickerMetric(axis)(2 * ramp, ramp)
    other: Any = FlickerMetric(2 + (axis % 5 - 1) % 3)(original + 9 * ramp, original)
    assert (along.item(), other.item()) == (4, pytest.approx(1, rel=1e-4))


def test_an_original_that_never_changes_is_left_out() -> None:
    original = volume(2, 1, 4, 4, 3)
    restored = 2 * original
    original[0] = original[0, ..., :1]
    metric: Any = FlickerMetric(get_not_nans=True)
    assert metric(restored, original).isnan().flatten().tolist() == [True, False]
    mean, counted = metric.aggregate()
    assert (mean.item(), counted.item()) == (pytest.approx(4), 1)


def test_reductions_and_lists_as_monais() -> None:
    original = volume(2, 2, 4, 4, 3)
    gains = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    metric: Any = FlickerMetric()
    metric(list(gains[..., None, None, None] * original), list(original))
    torch.testing.assert_close(metric.aggregate("none"), gains.square(), rtol=1e-4, atol=0)
    assert metric.aggregate().item() == pytest.approx(7.5, rel=1e-4)


def test_half_precision_is_computed_in_float32() -> None:
    ramp = torch.arange(4.0).expand(1, 1, 3, 3, 4).bfloat16()
    values: Any = FlickerMetric()(2 * ramp, ramp)
    assert values.dtype == torch.float32 and values.item() == 4


@pytest.mark.parametrize("axis", [5, -4, 1.5, "z"])
def test_an_axis_that_does_not_exist(axis: Any) -> None:
    with pytest.raises(ValueError, match=f"axis={axis!r} must be a whole number, from -3 to 4"):
        FlickerMetric(axis=axis)


@pytest.mark.parametrize("axis", [0, 1])
def test_batch_and_channels_are_no_axes_across_slices(axis: int) -> None:
    with pytest.raises(ValueError, match=f"axis={axis} is the batch's or the channels'; allowed: 2 to 4"):
        FlickerMetric(axis=axis)


def test_errors() -> None:
    original = volume(1, 1, 4, 4, 3)
    with pytest.raises(ValueError, match="'median'"):
        FlickerMetric(reduction="median")
    with pytest.raises(ValueError, match=r"y has shape \(1, 1, 4, 4\); it must be \(B, C, H, W, D\)"):
        FlickerMetric()(original[..., 0], original[..., 0])
    with pytest.raises(ValueError, match=r"y has shape \(1, 1, 4, 4, 1\).*at least 2 slices along axis=-1"):
        FlickerMetric()(original[..., :1], original[..., :1])
    with pytest.raises(ValueError, match="shapes dont match"):
        FlickerMetric()(original, original[..., :2])
    with pytest.raises(ValueError, match="y_pred holds 48 NaN"):
        FlickerMetric()(original * torch.nan, original)
    with pytest.raises(ValueError, match="y holds 48 NaN"):
        FlickerMetric()(original, original * torch.nan)
