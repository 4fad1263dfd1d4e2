from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import Compose, CopyItemsd, EnsureChannelFirstd, Flipd, LoadImaged

from contracts.transform_contract import InvertibleContract, TransformContract, assert_equal, make_image
from monai_cdiff.transforms import (
    DownsampleUpsampled,
    ScaleIntensityPatientwise,
    ScaleIntensityPatientwised,
    UnscaleIntensityPatientwise,
    UnscaleIntensityPatientwised,
)


def ramp(count: int = 201) -> torch.Tensor:
    """Stored values 0, 1, ... in mixed order, so that percentile p of 201 of them is 2 p."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return order.reshape(1, -1, 3).float()


class TestScaleIntensityPatientwise(InvertibleContract):
    array_class = ScaleIntensityPatientwise
    dictionary_class = ScaleIntensityPatientwised
    arguments = {"lower": 2.0, "upper": 98.0}
    keeps_half = False

    def test_percentiles_fall_on_the_ends(self) -> None:
        image = ramp()
        scaled = ScaleIntensityPatientwise(2.5, 97.5, b_min=-1, b_max=3)(image)
        assert_equal(scaled.as_tensor(), -1 + (image - 5) * 4 / 190, rtol=0, atol=1e-6)
        assert json.loads(scaled.meta["intensity_range"]) == {"low": 5.0, "high": 195.0, "b_min": -1.0, "b_max": 3.0}

    def test_percentiles_lie_between_voxels(self) -> None:
        assert ScaleIntensityPatientwise(1.25, 99.0).intensity_range(ramp()) == (2.5, 198.0)
        assert ScaleIntensityPatientwise().intensity_range(ramp()) == (1.0, 199.0)

    def test_0_and_100_are_minimum_and_maximum(self) -> None:
        image = make_image(3)
        scale = ScaleIntensityPatientwise(0, 100)
        assert scale.intensity_range(image) == (float(image.min()), float(image.max()))
        scaled = scale(image)
        assert scaled.min() == -1 and scaled.max() == 1

    def test_statistics_are_of_the_whole_volume(self) -> None:
        volume = torch.stack([torch.zeros(1, 4, 4), torch.full((1, 4, 4), 10.0)], dim=-1)
        assert_equal(ScaleIntensityPatientwise(0, 100)(volume).as_tensor(), volume / 5 - 1, rtol=0, atol=1e-6)

    def test_more_voxels_than_torch_quantile_takes(self) -> None:
        image = torch.arange(2**24 + 1, dtype=torch.int32).reshape(1, 1, -1)
        assert ScaleIntensityPatientwise(25, 75).intensity_range(image) == (2**22, 3 * 2**22)

    def test_outliers_stay_unless_clipped(self) -> None:
        image = ramp()
        assert ScaleIntensityPatientwise(10, 90)(image).max() > 1.2
        clipped = ScaleIntensityPatientwise(10, 90, clip=True)(image)
        assert clipped.min() == -1 and clipped.max() == 1

    def test_statistics_of_another_image(self) -> None:
        scale = ScaleIntensityPatientwise(0, 100)
        scaled = scale(ramp(), reference=torch.tensor([[[100.0, 300.0]]]))
        assert_equal(scaled.as_tensor(), (ramp() - 200) / 100, rtol=0, atol=1e-6)
        assert_equal(scale.inverse(scaled).as_tensor(), ramp(), rtol=0, atol=1e-4)

    def test_padding_is_left_out_of_the_statistics_and_scaled(self) -> None:
        image = torch.tensor([[[-2000.0, 0.0, 50.0, 100.0]]])
        scaled = ScaleIntensityPatientwise(0, 100, padding_value=-2000)(image)
        assert_equal(scaled.as_tensor(), torch.tensor([[[-41.0, -1.0, 0.0, 1.0]]]))

    def test_only_padding_is_an_error(self) -> None:
        with pytest.raises(ValueError, match=r"shape \(1, 2, 2\) holds no finite voxel other than padding_value=7.0"):
            ScaleIntensityPatientwise(padding_value=7)(torch.full((1, 2, 2), 7.0))
        with pytest.raises(ValueError, match="holds no finite voxel other than padding_value=None"):
            ScaleIntensityPatientwise()(torch.zeros(1, 1, 1), reference=torch.full((1, 2), math.nan))

    @pytest.mark.parametrize("value", [-3.7, 0.0, 1234.5])
    def test_a_constant_goes_to_the_lower_end_and_back(self, value: float) -> None:
        image = torch.full((1, 3, 3), value)
        scale = ScaleIntensityPatientwise(b_min=-1, b_max=1)
        scaled = scale(image)
        assert_equal(scaled.as_tensor(), torch.full((1, 3, 3), -1.0))
        assert_equal(scale.inverse(scaled).as_tensor(), image)
        other = scale(image + 0.5, reference=image)
        assert_equal(other.as_tensor(), torch.full((1, 3, 3), -1 + 0.5 * 2), rtol=0, atol=1e-4)
        assert_equal(scale.inverse(other).as_tensor(), image + 0.5, rtol=1e-6, atol=1e-6)

    def test_coinciding_percentiles_give_way_to_minimum_and_maximum(self) -> None:
        image = torch.zeros(1, 100, 100)
        image[0, 0, 0], image[0, 0, 1] = 60, -20
        assert ScaleIntensityPatientwise().intensity_range(image) == (-20, 60)

    def test_voxels_that_are_not_finite(self) -> None:
        image = make_image(2)
        image[0, 0, 0], image[1, 2, 3] = math.nan, math.inf
        with pytest.raises(ValueError, match="img holds 2 NaN or infinite values of 864"):
            self.make()(image)
        with pytest.raises(ValueError, match="img holds 2 NaN or infinite values of 864"):
            self.make()(image, reference=make_image(2))
        reference = torch.tensor([0.0, 8.0, math.nan, -math.inf])
        assert ScaleIntensityPatientwise(0, 100).intensity_range(reference) == (0, 8)

    def test_scaling_twice_is_an_error(self) -> None:
        with pytest.raises(ValueError, match=r"img is scaled already, intensity_range='\{.*; apply the inverse first"):
            self.make()(self.make()(make_image(2)))
        with pytest.raises(ValueError, match="reference is scaled already"):
            self.make()(make_image(2), reference=self.make()(make_image(2)))
        with pytest.raises(ValueError, match="reference is scaled already"):
            data = self.make_dictionary("condition")({"image": make_image(2), "condition": make_image(2)})
            self.make_dictionary("image", ref_key="condition")(data)

    @pytest.mark.parametrize("image", [make_image(2), make_image(2).as_tensor(), make_image(2).numpy()])
    def test_inverse_without_a_range_is_an_error(self, image: torch.Tensor) -> None:
        with pytest.raises(ValueError, match="data has intensity_range=None in its metadata; what is needed"):
            self.make().inverse(image)

    def test_inverse_of_a_batch_is_an_error(self) -> None:
        batch = next(iter(DataLoader(Dataset([{"image": make_image(2)}], self.make_dictionary()), batch_size=1)))
        with pytest.raises(ValueError, match="decollate a batch first"):
            self.make().inverse(batch["image"])

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"lower": -1}, "lower=-1 must be a finite number, at least 0 and at most 100"),
            ({"upper": 101}, "upper=101 must be a finite number, at least 0 and at most 100"),
            ({"lower": 60, "upper": 40}, "lower=60 must be less than upper=40"),
            ({"b_min": 1, "b_max": 1}, "b_min=1 must be less than b_max=1"),
            ({"b_max": math.inf}, "b_max=inf must be a finite number"),
            ({"padding_value": math.nan}, "padding_value=nan must be a finite number"),
        ],
    )
    def test_arguments_out_of_range(self, arguments: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            ScaleIntensityPatientwise(**arguments)
        with pytest.raises(ValueError, match=message):
            ScaleIntensityPatientwised("image", **arguments)

    @settings(max_examples=40, deadline=None)
    @given(
        st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=12),
        st.sampled_from([(0.0, 100.0), (0.5, 99.5), (10.0, 60.0)]),
        st.sampled_from([(-1.0, 1.0), (0.0, 1.0), (-3.0, 5.0)]),
    )
    def test_any_image_comes_back(self, values: list[float], percentiles: tuple, ends: tuple) -> None:
        image = torch.tensor(values).reshape(1, 1, -1)
        scale = ScaleIntensityPatientwise(*percentiles, *ends)
        low, high = scale.intensity_range(image)
        # float32 keeps a scaled value to 6e-8 of it, far outside the range of few percentiles as well as inside
        reach = max(high - low, float((image - low).abs().max()), float((image - high).abs().max()))
        restored = scale.inverse(scale(image))
        assert_equal(restored.as_tensor(), image, rtol=2e-7, atol=1e-6 * reach)

    def test_integers_far_from_zero_come_back_exactly(self) -> None:
        image = 1_000_000 + ramp().int()
        assert_equal(self.make().inverse(self.make()(image)).as_tensor(), image.float())

    def test_the_range_outlives_the_object_that_wrote_it(self) -> None:
        restored = ScaleIntensityPatientwise(b_min=0).inverse(self.make()(make_image(2)))
        self.assert_restored(restored, make_image(2))

    def test_statistics_of_one_key_for_all(self) -> None:
        image, condition = make_image(3), make_image(3, seed=1) * 3
        data = {"image": image, "condition": condition}
        result = self.make_dictionary(("condition", "image"), ref_key="condition")(data)
        assert_equal(result["condition"].as_tensor(), self.make()(condition).as_tensor())
        assert_equal(result["image"].as_tensor(), self.make()(image, reference=condition).as_tensor())
        assert result["image"].meta["intensity_range"] == result["condition"].meta["intensity_range"]
        restored = self.make_dictionary(("condition", "image"), ref_key="condition").inverse(result)
        self.assert_restored(restored["image"], image)

    def test_reference_key_is_missing(self) -> None:
        with pytest.raises(KeyError, match=r"ref_key='image' is not in the data, which has \['condition'\]"):
            self.make_dictionary("condition", ref_key="image")({"condition": make_image(2)})

    def test_inverse_within_a_chain(self) -> None:
        chain = Compose([self.make_dictionary("image"), Flipd("image", 0)])
        restored = chain.inverse(chain({"image": make_image(3)}))["image"]
        self.assert_restored(restored, make_image(3))
        assert restored.applied_operations == []


class TestMask:
    @pytest.mark.parametrize("mask_value", [1, 255, -1, 0.5])
    def test_what_is_masked_does_not_count(self, mask_value: float) -> None:
        image, mask = make_image(3), torch.zeros(1, 24, 18, 5)
        mask[0, 5:15, 3:9] = mask_value
        known = image.as_tensor()[:, mask[0] == 0].double().numpy()
        expected = tuple(np.percentile(known, (2.0, 98.0)))
        scaler = ScaleIntensityPatientwise(2.0, 98.0)
        assert scaler.intensity_range(image, mask) == pytest.approx(expected)
        assert scaler.intensity_range(image, mask) != scaler.intensity_range(image)
        assert scaler.intensity_range(image, mask.expand(2, 24, 18, 5).numpy()) == pytest.approx(expected)
        broken = image.as_tensor().masked_fill(mask != 0, math.nan)
        assert scaler.intensity_range(broken, mask) == pytest.approx(expected)

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_what_is_masked_may_be_nan(self, value: float) -> None:
        image, mask = make_image(3), torch.zeros(1, 24, 18, 5)
        mask[0, 5:15, 3:9] = 1
        broken = image.as_tensor().masked_fill(mask != 0, value)
        plain = ScaleIntensityPatientwised("image", mask_key="mask")
        lenient = ScaleIntensityPatientwised("image", mask_key="mask", masked_nan=True)
        found = lenient({"image": broken, "mask": mask})["image"].as_tensor()
        expected = plain({"image": image, "mask": mask})["image"].as_tensor()
        assert torch.equal(found[:, mask[0] == 0], expected[:, mask[0] == 0])
        with pytest.raises(ValueError, match="img holds [0-9]+ NaN or infinite values"):
            plain({"image": broken, "mask": mask})
        broken[0, 0, 0, :2] = value
        with pytest.raises(ValueError, match="img outside the mask holds 2 NaN or infinite values of 4320"):
            lenient({"image": broken, "mask": mask})
        with pytest.raises(ValueError, match="mask of shape .1, 24, 18, 4. does not fit an image of shape"):
            ScaleIntensityPatientwise().scale(image, (0.0, 1.0), mask[..., :4])

    @pytest.mark.parametrize("ref_key", [None, "condition"])
    def test_dictionary(self, ref_key: str | None) -> None:
        mask = torch.zeros(1, 24, 18, 5)
        mask[0, 5:15, 3:9] = 1
        data = {"image": make_image(3), "condition": make_image(3, 1), "hole": mask}
        found = ScaleIntensityPatientwised(("image", "condition"), ref_key, mask_key="hole")(data)
        scaler = ScaleIntensityPatientwise()
        for key in ("image", "condition"):
            expected = scaler.scale(data[key], scaler.intensity_range(data[ref_key or key], mask))
            assert_equal(found[key].as_tensor(), expected.as_tensor())
            restored = ScaleIntensityPatientwised(key).inverse(found)[key]
            assert_equal(restored.as_tensor(), data[key].as_tensor(), rtol=0, atol=1e-4)
        assert found["hole"] is mask

    def test_errors(self) -> None:
        with pytest.raises(KeyError, match=r"mask_key='hole' is not in the data, which has \['image'\]"):
            ScaleIntensityPatientwised("image", mask_key="hole")({"image": make_image(2)})
        with pytest.raises(ValueError, match="mask covers the whole image; nothing is left to go by"):
            ScaleIntensityPatientwise().intensity_range(make_image(2), torch.ones(1, 24, 18))
        for shape in [(1, 18, 24), (3, 24, 18), (1, 1, 18), (1, 24, 18, 1), (24, 18)]:
            with pytest.raises(ValueError, match=r"mask of shape .* does not fit a reference of shape \(2, 24, 18\)"):
                ScaleIntensityPatientwise().intensity_range(make_image(2), torch.zeros(shape))


class TestUnscaleIntensityPatientwise(TransformContract):
    array_class = UnscaleIntensityPatientwise
    dictionary_class = UnscaleIntensityPatientwised
    keeps_half = False

    # What the contract hands over carries no range, so the reference is bound here.
    def make(self, seed: int = 0, **overrides: object) -> _WithReference:
        return _WithReference()

    def make_dictionary(self, keys: object = "image", seed: int = 0, **overrides: object) -> _WithReferenced:
        return _WithReferenced(keys, **overrides)

    def test_prediction_to_stored_units(self) -> None:
        condition = ScaleIntensityPatientwise(0, 100, b_min=0)(torch.tensor([[[-10.0, 30.0]]]))
        restored = UnscaleIntensityPatientwise()(torch.tensor([[0.0, 0.25, 1.0, 2.0]]), condition)
        assert_equal(restored.as_tensor(), torch.tensor([[-10.0, 0.0, 30.0, 70.0]]), rtol=0, atol=1e-5)

    def test_a_range_of_its_own_serves_and_is_gone(self) -> None:
        scaled = ScaleIntensityPatientwise()(make_image(2))
        restored = UnscaleIntensityPatientwise()(scaled)
        assert_equal(restored.as_tensor(), make_image(2).as_tensor(), rtol=0, atol=1e-4)
        assert "intensity_range" not in restored.meta and "intensity_range" in scaled.meta
        with pytest.raises(ValueError, match="img has intensity_range=None"):
            UnscaleIntensityPatientwise()(restored)

    def test_reference_without_a_range(self) -> None:
        with pytest.raises(ValueError, match="reference has intensity_range=None in its metadata"):
            UnscaleIntensityPatientwise()(torch.zeros(1, 2), make_image(2))
        with pytest.raises(KeyError, match=r"ref_key='condition' is not in the data, which has \['pred'\]"):
            UnscaleIntensityPatientwised("pred", ref_key="condition")({"pred": torch.zeros(1, 2)})


class _WithReference(UnscaleIntensityPatientwise):
    def __call__(self, img: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return super().__call__(img, REFERENCE)


class _WithReferenced(UnscaleIntensityPatientwised):
    def __init__(self, keys: object, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, "reference", allow_missing_keys)

    def __call__(self, data: dict) -> dict:
        return super().__call__({**data, "reference": REFERENCE})


REFERENCE = ScaleIntensityPatientwise(0, 100)(torch.tensor([[[0.0, 50.0]]]))


def test_recommended_recipe_on_a_real_volume(shared_data: Path) -> None:
    file = shared_data / "msd_hippocampus" / "images" / "hippocampus_015.nii.gz"
    keys = ("image", "condition")
    prepare = Compose(
        [
            LoadImaged("image", reader="NibabelReader"),
            EnsureChannelFirstd("image"),
            CopyItemsd("image", names="condition"),
            DownsampleUpsampled("condition", 2 * 2**0.5, domain="kspace"),
            ScaleIntensityPatientwised(keys, ref_key="condition"),
        ]
    )
    batch = next(iter(DataLoader(Dataset([{"image": str(file)}], prepare), batch_size=1)))
    low, high = np.percentile(batch["condition"].numpy(), (0.5, 99.5))
    assert abs(low + 1) < 1e-5 and abs(high - 1) < 1e-5
    batch["pred"] = batch["image"].as_tensor().clone()  # a perfect restoration
    item = UnscaleIntensityPatientwised("pred", ref_key="condition")(decollate_batch(batch)[0])
    stored = LoadImaged("image", reader="NibabelReader")({"image": str(file)})["image"]
    assert isinstance(item["pred"], MetaTensor)
    assert_equal(item["pred"].as_tensor()[0].round(), stored.as_tensor().round())


def test_a_spread_is_only_multiplied() -> None:
    scaled = ScaleIntensityPatientwise(0, 100)(torch.tensor([[[100.0, 300.0]]]))
    data = {"image": scaled, "std": torch.tensor([[[0.0, 0.5]]])}
    found = UnscaleIntensityPatientwised("std", ref_key="image", spread=True)(data)["std"]
    assert found.flatten().tolist() == [0.0, 50.0]
    with pytest.raises(ValueError, match="spread=2"):
        UnscaleIntensityPatientwise(spread=2)  # type: ignore[arg-type]
