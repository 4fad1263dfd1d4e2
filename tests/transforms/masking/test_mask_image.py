"""What a mask covers taken out of an image, and what was measured put back bit by bit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import Compose, CopyItemsd, LoadImaged

import monai_cdiff.transforms
from contracts.transform_contract import DTYPES, assert_equal, make_image, state_of
from monai_cdiff.operators import fill_masked
from monai_cdiff.transforms import (
    InpaintMaskd,
    MaskImage,
    MaskImaged,
    RestoreMeasured,
    RestoreMeasuredd,
    ScaleIntensityPatientwised,
    UnscaleIntensityPatientwised,
)


def make_mask(spatial_dims: int) -> torch.Tensor:
    mask = torch.zeros(1, 24, 18, 5)
    mask[0, 3:9, 2:11] = 1
    mask[..., 2] = 1
    return mask if spatial_dims == 3 else mask[..., 0]


class TestMaskImage:
    @pytest.mark.parametrize("spatial_dims", [2, 3])
    @pytest.mark.parametrize("fill", ["mean", -1.5])
    def test_is_the_operator_and_the_mask(self, spatial_dims: int, fill: float | str) -> None:
        image, mask = make_image(spatial_dims), make_mask(spatial_dims)
        found = MaskImage(fill)(image, mask)
        assert_equal(found.as_tensor(), torch.cat([fill_masked(image.as_tensor(), mask != 0, fill), mask]))
        assert found.meta["filename_or_obj"] == "patient-0.nii" and torch.equal(found.affine, image.affine)
        assert found.meta["degradation"] == ("mask of 12.50%" if spatial_dims == 2 else "mask of 30.00%")

    @pytest.mark.parametrize(
        "mask",
        [
            make_mask(2) * 255,
            make_mask(2).byte() * 255,
            make_mask(2).bool(),
            make_mask(2).short() * torch.arange(18).sub(20).short(),  # labels, negative ones too
            make_mask(2).double() * 1e-9,
            make_mask(2).half() * 0.5,
            (make_mask(2) * 65535).numpy().astype(np.uint16),
            MetaTensor(make_mask(2)),
        ],
    )
    def test_any_number_but_0_masks(self, mask: Any) -> None:
        assert_equal(MaskImage()(make_image(2), mask).as_tensor(), MaskImage()(make_image(2), make_mask(2)).as_tensor())

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_dtype(self, dtype: torch.dtype) -> None:
        found = MaskImage(0)(make_image(2).to(dtype), make_mask(2))
        assert found.dtype == (dtype if dtype.is_floating_point else torch.float32)
        assert set(found[-1].unique().tolist()) == {0, 1}

    def test_inputs_are_untouched(self) -> None:
        image, mask = make_image(3), make_mask(3)
        before, before_mask = state_of(image), mask.clone()
        found = MaskImage()(image, mask)
        found += 1
        found.meta["filename_or_obj"] = "other"
        assert_equal(image.as_tensor(), before["values"])
        assert_equal(mask, before_mask)
        assert image.meta["filename_or_obj"] == "patient-0.nii" and "degradation" not in image.meta

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_what_is_masked_does_not_leak(self, value: float) -> None:
        image, mask = make_image(3), make_mask(3)
        broken = MetaTensor(image.as_tensor().masked_fill(mask != 0, value))
        assert_equal(MaskImage()(broken, mask).as_tensor(), MaskImage()(image, mask).as_tensor())
        broken[0, 0, 0, 0] = value
        with pytest.raises(ValueError, match="image outside the mask holds 1 NaN or infinite values of 4320"):
            MaskImage()(broken, mask)

    @pytest.mark.parametrize(
        ("mask", "message"),
        [
            (torch.ones(1, 24, 18), r"mask of shape \(1, 24, 18\) covers the whole image"),
            (torch.zeros(1, 18, 24), r"mask of shape \(1, 18, 24\) does not fit an image of \(2, 24, 18\)"),
            (torch.zeros(2, 24, 18), r"mask of shape \(2, 24, 18\) does not fit"),
            (torch.zeros(24, 18), r"mask of shape \(24, 18\) does not fit"),
            (torch.zeros(1, 24, 18, 1), r"mask of shape \(1, 24, 18, 1\) does not fit"),
            (torch.full((1, 24, 18), math.nan), "mask holds 432 NaN or infinite values of 432"),
            (torch.eye(24)[None, :, :18] / 0, "mask holds 432 NaN or infinite values"),
        ],
    )
    def test_masks_that_do_not_fit(self, mask: torch.Tensor, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            MaskImage()(make_image(2), mask)

    @pytest.mark.parametrize("form", [MaskImage, lambda fill: MaskImaged("image", fill=fill)])
    def test_arguments_out_of_range(self, form: Any) -> None:
        with pytest.raises(ValueError, match="fill='median' is not supported; allowed: 'mean'"):
            form(fill="median")
        with pytest.raises(ValueError, match="fill=inf must be a finite number"):
            form(fill=math.inf)

    def test_dictionary(self) -> None:
        data = {"image": make_image(3), "condition": make_image(3, 1), "hole": make_mask(3)}
        found = MaskImaged(("image", "condition"), mask_key="hole", fill=2)(data)
        for key in ("image", "condition"):
            assert_equal(found[key].as_tensor(), MaskImage(2)(data[key], data["hole"]).as_tensor())
        assert found["hole"] is data["hole"] and data["image"].shape[0] == 2
        with pytest.raises(KeyError, match=r"mask_key='mask' is not in the data, which has \['condition', 'hole'"):
            MaskImaged("image")(data)
        with pytest.raises(KeyError, match="absent"):
            MaskImaged("absent", "hole")(data)
        assert MaskImaged("absent", "hole", allow_missing_keys=True)(data).keys() == data.keys()

    def test_a_batch(self) -> None:
        items = [{"image": make_image(2, seed), "mask": make_mask(2)} for seed in (0, 1)]
        batch = next(iter(DataLoader(Dataset(items, Compose([MaskImaged("image")])), batch_size=2)))
        assert [one["image"].meta["degradation"] for one in decollate_batch(batch)] == ["mask of 12.50%"] * 2


class TestRestoreMeasured:
    @pytest.mark.parametrize("spatial_dims", [2, 3])
    def test_outside_the_mask_the_measured_inside_the_image(self, spatial_dims: int) -> None:
        image, measured, mask = make_image(spatial_dims), make_image(spatial_dims, 1), make_mask(spatial_dims)
        before = state_of(image)
        found = RestoreMeasured()(image, measured, mask * 255)
        inside = mask.expand_as(found) != 0
        assert torch.equal(found[inside], image[inside]) and torch.equal(found[~inside], measured[~inside])
        assert found.meta["filename_or_obj"] == "patient-0.nii"
        found += 1
        assert_equal(image.as_tensor(), before["values"])

    @pytest.mark.parametrize("predicted", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int16])
    @pytest.mark.parametrize(
        "stored", [torch.uint8, torch.int16, torch.int32, torch.float16, torch.float32, torch.float64]
    )
    def test_every_stored_value_comes_back(self, predicted: torch.dtype, stored: torch.dtype) -> None:
        if stored.is_floating_point:
            values = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(stored)
            values[0, 0, :4] = torch.tensor([-0.0, torch.finfo(stored).max, torch.finfo(stored).tiny, math.inf])
        else:
            info = torch.iinfo(stored)
            values = torch.linspace(info.min, info.max, 64, dtype=torch.float64).to(stored).reshape(1, 8, 8)
        mask = torch.zeros(1, 8, 8)
        mask[0, 4:] = 1
        image = torch.full((1, 8, 8), 3.0).to(predicted)
        found = RestoreMeasured()(image, values, mask).as_tensor()
        known = found[:, :4].to(stored)
        assert torch.equal(known, values[:, :4])
        if stored.is_floating_point:
            assert torch.equal(torch.signbit(known), torch.signbit(values[:, :4]))
        assert (found[:, 4:] == 3).all()
        assert found.dtype == torch.promote_types(predicted, found.dtype)

    def test_nan_of_the_prediction_stays_under_the_mask(self) -> None:
        image = torch.full((1, 2, 2), math.nan)
        found = RestoreMeasured()(image, torch.ones(1, 2, 2), torch.eye(2)[None])
        assert found.isnan().int().tolist() == [[[1, 0], [0, 1]]]

    def test_errors(self) -> None:
        with pytest.raises(ValueError, match=r"measured of shape \(1, 4, 4\) must have the shape of img, \(2, 4, 4\)"):
            RestoreMeasured()(torch.zeros(2, 4, 4), torch.zeros(1, 4, 4), torch.zeros(1, 4, 4))
        with pytest.raises(ValueError, match=r"mask of shape \(2, 4, 4\) does not fit an image of \(2, 4, 4\)"):
            RestoreMeasured()(torch.zeros(2, 4, 4), torch.zeros(2, 4, 4), torch.zeros(2, 4, 4))
        data = {"pred": torch.zeros(1, 4, 4), "image": torch.zeros(1, 4, 4)}
        with pytest.raises(KeyError, match="measured_key='stored' is not in the data"):
            RestoreMeasuredd("pred", "stored")(data)
        with pytest.raises(KeyError, match="mask_key='mask' is not in the data"):
            RestoreMeasuredd("pred", "image")(data)

    def test_dictionary(self) -> None:
        data = {"pred": make_image(2), "std": make_image(2, 2), "stored": make_image(2, 1), "hole": make_mask(2)}
        found = RestoreMeasuredd(("pred", "std", "no"), "stored", "hole", allow_missing_keys=True)(data)
        for key in ("pred", "std"):
            expected = RestoreMeasured()(data[key], data["stored"], data["hole"])
            assert_equal(found[key].as_tensor(), expected.as_tensor())
        assert found["stored"] is data["stored"] and "no" not in found


@pytest.mark.parametrize("name", ["MaskImage", "RestoreMeasured", "AlignMask"])
def test_aliases(name: str) -> None:
    forms = {getattr(monai_cdiff.transforms, f"{name}{ending}") for ending in ("d", "D", "Dict")}
    assert len(forms) == 1 and {f"{name}{ending}" for ending in ("", "d", "D", "Dict")} <= set(
        monai_cdiff.transforms.__all__
    )


def restored_chain(mask_key: str | None = "mask") -> Compose:
    """As the bundle inpaints: a network that answers with something else everywhere takes the middle."""

    def network(data: dict[str, Any]) -> dict[str, Any]:
        condition = data["image"]
        return {**data, "pred": condition[:1] * 0.9 + 0.0123}

    return Compose(
        [
            CopyItemsd("image", names="measured"),
            ScaleIntensityPatientwised("image", mask_key=mask_key),
            MaskImaged("image"),
            network,
            UnscaleIntensityPatientwised("pred", ref_key="image"),
            RestoreMeasuredd("pred", "measured"),
        ]
    )


@pytest.mark.parametrize("kind", ["int16", "float", "large", "offset"])
def test_measured_voxels_go_through_the_chain_bit_by_bit(kind: str) -> None:
    noise = torch.randn(1, 24, 18, 5, generator=torch.Generator().manual_seed(0))
    image = {
        "int16": (noise * 9000).round().clamp(-32768, 32767),
        "float": noise,
        "large": noise * 1e30,
        "offset": noise * 0.1 + 1e4,
    }[kind]
    data = {"image": MetaTensor(image.clone()), "mask": make_mask(3)}
    pred = restored_chain()(data)["pred"]
    outside = make_mask(3) == 0
    assert torch.equal(torch.as_tensor(pred)[outside], image[outside])
    assert (pred != image)[~outside].double().mean() > 0.5 and torch.isfinite(pred).all()
    assert "intensity_range" not in pred.meta


def test_what_is_masked_changes_nothing_in_the_chain() -> None:
    """Not the scale, not the fill, not the result: it was never measured."""
    image, mask = make_image(3)[:1], make_mask(3)
    other = MetaTensor(torch.where(mask != 0, torch.tensor(1e6), image.as_tensor()))
    found = [restored_chain()({"image": one, "mask": mask})["pred"].as_tensor() for one in (image, other)]
    assert torch.equal(*found)
    leaked = [restored_chain(None)({"image": one, "mask": mask})["pred"].as_tensor() for one in (image, other)]
    assert not torch.equal(*leaked)


def test_a_real_volume(shared_data: Path) -> None:
    chain = Compose(
        [
            LoadImaged("image", reader="NibabelReader", ensure_channel_first=True),
            InpaintMaskd("image", area=(0.1, 0.2)),
            restored_chain(),
        ]
    )
    file = shared_data / "msd_hippocampus" / "images" / "hippocampus_015.nii.gz"
    found = chain({"image": str(file), "subject": "hippocampus_015"})
    outside = found["mask"] == 0
    assert torch.equal(found["pred"][outside], found["measured"][outside])
    assert 0.1 <= 1 - float(outside.double().mean()) <= 0.2
