"""Noise of X-ray images as transforms: by key for test images, drawn for training images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from contracts.keyed_contract import KeyedContract
from contracts.transform_contract import RandomContract, TransformContract, assert_equal, make_image
from monai_cdiff.operators import gaussian_salt_pepper
from monai_cdiff.transforms import (
    GaussianSaltPepperNoise,
    GaussianSaltPepperNoised,
    RandGaussianSaltPepperNoise,
    RandGaussianSaltPepperNoised,
)


class TestGaussianSaltPepperNoise(KeyedContract, TransformContract):
    array_class = GaussianSaltPepperNoise
    dictionary_class = GaussianSaltPepperNoised
    arguments = {"std": 0.01, "amount": 0.05, "value_range": (0, 200)}

    def test_golden_values(self) -> None:
        """Made by seed 3 and key "patient-1": two slices of 2 x 2 pixels; see tests/operators/test_noise.py."""
        image = torch.linspace(0, 1, 8).reshape(1, 2, 2, 2)
        found = GaussianSaltPepperNoise(0.1, 0.2, seed=3)(image, key="patient-1")
        expected = [0.0, 0.1265752, 0.1170967, 0.4225033, 0.5525987, 0.7316929, 0.9362223, 1.0]
        assert_equal(found.flatten(), torch.tensor(expected), rtol=0, atol=1e-6)

    def test_the_range_is_that_of_the_whole_volume(self) -> None:
        image = torch.rand(1, 40, 40, 2, generator=torch.Generator().manual_seed(0))
        image[..., 0] *= 0.01
        found = GaussianSaltPepperNoise(0.1, 0.2)(image, key="a")
        assert (found[..., 0] == image.max()).sum() > 80 and (found[..., 0] == image.min()).sum() > 80
        error = GaussianSaltPepperNoise(0.1, 0.0, value_range=(0, 10), clip=False)(image, key="a") - image
        assert abs(float(error.std()) - 1) < 0.1

    def test_record(self) -> None:
        found = self.make(seed=0)(make_image(2))
        assert found.meta["degradation"] == "noise std=0.01 amount=0.05 seed=0"

    @pytest.mark.parametrize("form", [GaussianSaltPepperNoise(), RandGaussianSaltPepperNoise()])
    def test_an_image_that_is_not_finite(self, form: Any) -> None:
        image = make_image(3)
        image[1, 2, 3, 4] = math.nan
        with pytest.raises(ValueError, match="img holds 1 NaN or infinite values of 4320; it must be finite"):
            form(image)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"std": -1}, "std=-1 must be a finite number, at least 0"),
            ({"amount": 2}, "amount=2 must be a finite number, at least 0 and at most 1"),
            ({"seed": -1}, "seed=-1 must be a whole number, at least 0"),
            ({"value_range": (1, 1)}, r"value_range=\(1, 1\) must be the lowest and the highest value, not the same"),
            ({"value_range": (1, 0)}, "value_range=0 must be a finite number, at least 1"),
            ({"value_range": 3}, "value_range=3 must be two numbers"),
            ({"clip": "maybe"}, "clip='maybe' is not supported; allowed: true, false"),
        ],
    )
    def test_arguments_out_of_range(self, arguments: dict, message: str) -> None:
        for make in (self.array_class, lambda **kwargs: self.dictionary_class("image", **kwargs)):
            with pytest.raises(ValueError, match=message):
                make(**arguments)

    def test_wrong_number_of_axes(self) -> None:
        for form in (self.make(), RandGaussianSaltPepperNoise()):
            with pytest.raises(ValueError, match=r"img of shape \(8, 8\) must be"):
                form(torch.zeros(8, 8))


class TestRandGaussianSaltPepperNoise(RandomContract):
    array_class = RandGaussianSaltPepperNoise
    dictionary_class = RandGaussianSaltPepperNoised
    arguments = {"std_range": (0.02, 0.2), "amount_range": (0.0, 0.1)}

    def test_is_the_operator_of_what_was_drawn(self) -> None:
        transform = self.make(value_range=(0, 300), clip=False)
        for _ in range(3):
            found = transform(make_image(2))
            std, amount, seed = transform._drawn
            state = np.random.RandomState([seed, 0])
            expected = gaussian_salt_pepper(make_image(2).as_tensor(), std, amount, state, (0, 300), clip=False)
            assert_equal(found.as_tensor(), expected)
            assert found.meta["degradation"] == f"noise std={std:.6g} amount={amount:.6g}"

    @pytest.mark.parametrize("form", ["make", "make_dictionary"])
    def test_strengths_are_drawn_uniformly_and_apart(self, form: str) -> None:
        transform = getattr(self, form)()
        drawn = []
        for _ in range(400):
            transform.randomize()
            drawn.append(getattr(transform, "drawn", transform)._drawn)
        for n, (low, high) in enumerate([(0.02, 0.2), (0.0, 0.1)]):
            values = np.array([one[n] for one in drawn])
            assert low <= values.min() < low + 0.02 * (high - low) and high - 0.02 * (high - low) < values.max() <= high
            assert abs(values.mean() - (low + high) / 2) < 4 * ((high - low) / 12**0.5) / 20
        assert abs(np.corrcoef([one[0] for one in drawn], [one[1] for one in drawn])[0, 1]) < 0.2
        assert len({one[2] for one in drawn}) == 400

    def test_slices_of_a_volume_differ(self) -> None:
        found = self.make()(torch.rand(1, 16, 16, 1).expand(1, 16, 16, 3))
        assert not torch.equal(found[..., 0], found[..., 1])

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"std_range": (0.2, 0.1)}, "std_range=0.1 must be a finite number, at least 0.2"),
            ({"std_range": 0.2}, "std_range=0.2 must be two numbers, the lowest and the highest"),
            ({"amount_range": (0, 1.5)}, "amount_range=1.5 must be a finite number, at least 0 and at most 1"),
            ({"amount_range": (-0.1, 0.5)}, "amount_range=-0.1 must be"),
            ({"value_range": "ab"}, "value_range='ab' must be two numbers"),
        ],
    )
    def test_arguments_out_of_range(self, arguments: dict, message: str) -> None:
        for make in (self.array_class, lambda **kwargs: self.dictionary_class("image", **kwargs)):
            with pytest.raises(ValueError, match=message):
                make(**arguments)
