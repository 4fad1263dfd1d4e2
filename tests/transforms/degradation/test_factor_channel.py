"""One network for many factors: the channel that tells it which, and factors that each item has of its own."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Compose

from contracts.transform_contract import TransformContract, assert_equal, make_image
from monai_cdiff.data import with_factors
from monai_cdiff.transforms import DownsampleUpsample, DownsampleUpsampled, FactorChannel, FactorChanneld


class TestFactorChannel(TransformContract):
    array_class = FactorChannel
    dictionary_class = FactorChanneld
    arguments = {"factor": 2 * 2**0.5}

    @pytest.mark.parametrize("spatial_dims", [2, 3])
    @pytest.mark.parametrize(("factor", "value"), [(2, -1), (4, 0), (4 * 2**0.5, 0.5), (16, 2)])
    def test_the_logarithm_is_the_last_channel(self, spatial_dims: int, factor: float, value: float) -> None:
        found = FactorChannel(factor)(make_image(spatial_dims)).as_tensor()
        assert_equal(found[:2], make_image(spatial_dims).as_tensor())
        assert found.shape[0] == 3 and (found[2] - value).abs().max() < 1e-6

    def test_constants_must_be_a_number_more_than_1(self) -> None:
        for make in (FactorChannel, lambda factor: FactorChanneld("image", factor)):
            for factor in (1, 0, -2, math.nan):
                with pytest.raises(ValueError, match=f"factor={factor} must be a finite number, more than 1"):
                    make(factor)

    def test_wrong_number_of_axes(self) -> None:
        with pytest.raises(ValueError, match=r"img of shape \(8, 8\) must be"):
            self.make()(torch.zeros(8, 8))


class TestFactorsOfItems:
    def test_each_item_once_for_each_factor(self) -> None:
        items = [{"image": "a", "subject": "a"}, {"image": "b", "subject": "b", "key": "b/1", "factor": 3}]
        found = with_factors(items, [2, 4.5])
        assert [(item["image"], item["factor"]) for item in found] == [("a", 2), ("a", 4.5), ("b", 2), ("b", 4.5)]
        assert found[2]["key"] == "b/1" and "factor" not in items[0] and items[1]["factor"] == 3
        found[0]["subject"] = "other"
        assert found[1]["subject"] == items[0]["subject"] == "a"

    @pytest.mark.parametrize(
        ("factors", "message"),
        [
            ([], r"factors=\[\] must be a list of at least one number more than 1"),
            ("24", "factors='24' must be a list"),
            (4, "factors=4 must be a list"),
            ([2, 1], "factors=1 must be a finite number, more than 1"),
            ([2, "x"], "factors='x' must be a finite number, more than 1"),
        ],
    )
    def test_wrong_factors(self, factors: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            with_factors([{"image": "a"}], factors)

    def test_degraded_by_its_own(self) -> None:
        degrade = DownsampleUpsampled("image", "factor", "kspace", "bicubic")
        chain = Compose([degrade, FactorChanneld("image", "factor")])
        items = with_factors([{"image": make_image(2)}], [2, 5])
        found = [one["image"] for one in Dataset(items, chain)]
        for image, factor in zip(found, (2.0, 5.0)):
            expected = DownsampleUpsample(factor, "kspace", "bicubic")(make_image(2))
            assert_equal(image[:2].as_tensor(), expected.as_tensor())
            assert_equal(image[2].as_tensor(), torch.full((24, 18), math.log2(factor) - 2))
            assert image.meta["degradation"] == f"downsample factor={factor:g} domain=kspace"
        (batch,) = DataLoader(Dataset(items, chain), batch_size=2)
        assert_equal(torch.as_tensor(batch["image"]), torch.stack([image.as_tensor() for image in found]))

    @pytest.mark.parametrize("form", [DownsampleUpsampled, FactorChanneld])
    def test_errors(self, form: Any) -> None:
        transform = form("image", factor="factor")
        with pytest.raises(KeyError, match=r"factor='factor' is not in the data, which has \['image'\]"):
            transform({"image": make_image(2)})
        for factor in (1.0, "x", None):
            with pytest.raises(ValueError, match=f"factor={factor!r} must be a finite number, more than 1"):
                transform({"image": make_image(2), "factor": factor})

    def test_other_arguments_are_checked_before_the_first_item(self) -> None:
        with pytest.raises(ValueError, match="domain='fourier' is not supported"):
            DownsampleUpsampled("image", "factor", "fourier")
        with pytest.raises(ValueError, match="mode='cubic' is not supported"):
            DownsampleUpsampled("image", "factor", mode="cubic")
