"""Gaussian and salt-and-pepper noise: its statistics, its limits, and the numbers it must go on to give."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from monai_cdiff.operators import gaussian_salt_pepper


def noisy(image: torch.Tensor, std: float, amount: float, seed: int = 0, **kwargs: Any) -> torch.Tensor:
    return gaussian_salt_pepper(image, std, amount, np.random.RandomState(seed), **kwargs)


def test_golden_values() -> None:
    """Made by ``RandomState(0)``, whose streams NumPy never changes: first the Gaussian of all pixels, then places.

    ``standard_normal`` begins with 1.764052, 0.400157: the first pixel is 0 + 0.1 x 1.764052.
    """
    found = noisy(torch.linspace(0, 1, 12).reshape(1, 3, 4), 0.1, 0.3)
    expected = [0.1764052, 1, 0, 0, 0, 0.3568177, 0.6404634, 1, 1, 0.8592417, 0.9234952, 1]
    torch.testing.assert_close(found.flatten(), torch.tensor(expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1024.0, 3071.0)])
def test_the_standard_deviation_is_a_part_of_the_range(low: float, high: float) -> None:
    image = torch.full((1, 500, 400), (low + high) / 2)
    error = (noisy(image, 0.1, 0.0, value_range=(low, high)) - image) / (high - low)
    assert abs(float(error.mean())) < 4 * 0.1 / math.sqrt(image.numel())
    assert abs(float(error.std()) - 0.1) < 4 * 0.1 / math.sqrt(2 * image.numel())
    assert abs(float((error.abs() < 0.1).double().mean()) - 0.6827) < 0.005  # as of a Gaussian


@pytest.mark.parametrize("amount", [0.01, 0.3, 1.0])
def test_salt_and_pepper_are_as_likely(amount: float) -> None:
    image = torch.full((1, 500, 400), 0.5)
    found = noisy(image, 0.0, amount, value_range=(0, 1))
    spread = 4 * math.sqrt(amount / 2 * (1 - amount / 2) / image.numel())
    for value in (0.0, 1.0):
        assert abs(float((found == value).double().mean()) - amount / 2) < spread
    assert float(((found != 0) & (found != 1) & (found != 0.5)).sum()) == 0
    rows = (found == 1).double().mean(dim=2)  # nowhere more of it
    assert float(rows.std()) < 1.5 * math.sqrt(amount / 2 * (1 - amount / 2) / 400)


def test_salt_and_pepper_replace_what_the_gaussian_left() -> None:
    image = torch.rand(1, 50, 40, generator=torch.Generator().manual_seed(0))
    gaussian, both = noisy(image, 0.05, 0.0), noisy(image, 0.05, 0.2)
    hit = both != gaussian
    assert 0.12 < float(hit.double().mean()) < 0.2
    assert set(both[hit].tolist()) == {float(image.min()), float(image.max())}


def test_zero_strengths_leave_every_value() -> None:
    image = torch.randn(2, 9, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(noisy(image, 0.0, 0.0), image)
    wide = noisy(image, 0.0, 0.0, value_range=(-0.5, 0.5), clip=False)
    assert torch.equal(wide, image)


def test_clip() -> None:
    image = torch.linspace(-1, 1, 400).reshape(1, 20, 20)
    cut, wide = noisy(image, 0.5, 0.0), noisy(image, 0.5, 0.0, clip=False)
    assert cut.min() == -1 and cut.max() == 1 and wide.min() < -1.5 and wide.max() > 1.5
    assert torch.equal(cut, wide.clamp(-1, 1))
    narrow = noisy(image, 0.0, 0.0, value_range=(-0.5, 0.25))
    assert narrow.min() == -0.5 and narrow.max() == 0.25


def test_a_constant_image_has_no_range_for_noise() -> None:
    image = torch.full((1, 8, 8), 3.0)
    assert torch.equal(noisy(image, 0.5, 0.5), image)
    assert noisy(image, 0.5, 0.5, value_range=(0, 4)).std() > 0.5


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.bool])
def test_integers_become_float32(dtype: torch.dtype) -> None:
    image = (torch.arange(64).reshape(1, 8, 8) % 2).to(dtype)
    found = noisy(image, 0.1, 0.0, clip=False)
    assert found.dtype == torch.float32 and torch.equal(found, noisy(image.float(), 0.1, 0.0, clip=False))
    assert found.unique().numel() == 64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_keep_their_type(dtype: torch.dtype) -> None:
    image = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = noisy(image.to(dtype), 0.1, 0.1)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), noisy(image.to(dtype).float(), 0.1, 0.1), rtol=0, atol=0.01)


def test_the_image_stays() -> None:
    image = torch.rand(1, 8, 8)
    before = image.clone()
    noisy(image, 0.3, 0.3)
    assert torch.equal(image, before)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("value_range", [None, (0, 1)])
def test_an_image_that_is_not_finite(value: float, value_range: tuple[float, float] | None) -> None:
    image = torch.rand(1, 8, 8)
    image[0, 2, 3] = value
    with pytest.raises(ValueError, match="image holds 1 NaN or infinite values of 64; it must be finite"):
        noisy(image, 0.1, 0.1, value_range=value_range)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-0.1, 0), "std=-0.1 must be a finite number, at least 0"),
        ((math.inf, 0), "std=inf must be a finite number, at least 0"),
        ((0, 1.1), "amount=1.1 must be a finite number, at least 0 and at most 1"),
        ((0, -0.1), "amount=-0.1 must be"),
        ((0, 0, (2, 1)), "value_range=1 must be a finite number, at least 2"),
        ((0, 0, (math.nan, 1)), "value_range=nan must be a finite number"),
    ],
)
def test_arguments_out_of_range(arguments: tuple, message: str) -> None:
    std, amount, *value_range = arguments
    with pytest.raises(ValueError, match=message):
        gaussian_salt_pepper(torch.rand(1, 8, 8), std, amount, np.random.RandomState(0), *value_range)
