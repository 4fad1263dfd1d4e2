from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import Compose, CopyItemsd, Invertd, LoadImage, Resize

from contracts.transform_contract import InvertibleContract, RandomContract, TransformContract, assert_equal, make_image
from monai_cdiff.operators import downsample_upsample
from monai_cdiff.transforms import (
    DownsampleUpsample,
    DownsampleUpsampled,
    RandDownsampleUpsample,
    RandDownsampleUpsampled,
    UpsampleInPlane,
    UpsampleInPlaned,
)


class TestDownsampleUpsample(TransformContract):
    array_class = DownsampleUpsample
    dictionary_class = DownsampleUpsampled
    arguments = {"factor": 2 * 2**0.5, "domain": "kspace", "mode": "bicubic"}

    @pytest.mark.parametrize("spatial_dims", [2, 3])
    def test_is_the_operator(self, spatial_dims: int) -> None:
        image = make_image(spatial_dims)
        expected = downsample_upsample(image.as_tensor()[None], 2 * 2**0.5, "kspace", "bicubic")[0]
        assert_equal(self.make()(image).as_tensor(), expected)
        expected = downsample_upsample(image.as_tensor()[None], 3, "image", "bilinear")[0]
        assert_equal(DownsampleUpsample(3)(image).as_tensor(), expected)

    def test_records_what_was_done(self) -> None:
        once = self.make()(make_image(2))
        assert once.meta["degradation"] == "downsample factor=2.82843 domain=kspace"
        twice = DownsampleUpsample(2)(once)
        assert twice.meta["degradation"] == f"{once.meta['degradation']}; downsample factor=2 domain=image"

    def test_condition_beside_the_image(self) -> None:
        chain = Compose([CopyItemsd("image", names="condition"), self.make_dictionary("condition")])
        result = chain({"image": make_image(3)})
        assert_equal(result["image"].as_tensor(), make_image(3).as_tensor())
        assert_equal(result["condition"].as_tensor(), self.make()(make_image(3)).as_tensor())
        assert "degradation" not in result["image"].meta

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"factor": 1}, "factor=1 must be a finite number, more than 1"),
            ({"factor": math.nan}, "factor=nan must be a finite number, more than 1"),
            ({"domain": "fourier"}, "domain='fourier' is not supported; allowed: 'image', 'kspace'"),
            ({"mode": "cubic"}, "mode='cubic' is not supported; .* Did you mean 'bicubic'"),
        ],
    )
    def test_arguments_out_of_range(self, arguments: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            self.make(**arguments)
        with pytest.raises(ValueError, match=message):
            self.make_dictionary(**arguments)

    @pytest.mark.parametrize("shape", [(8, 8), (1, 1, 8, 8, 8)])
    def test_wrong_number_of_axes(self, shape: tuple[int, ...]) -> None:
        for transform in (self.make(), RandDownsampleUpsample(2), UpsampleInPlane(2)):
            with pytest.raises(ValueError, match=r"img of shape \(.*\) must be \(C, H, W\) or \(C, H, W, D\)"):
                transform(torch.zeros(shape))


class TestRandDownsampleUpsample(RandomContract):
    array_class = RandDownsampleUpsample
    dictionary_class = RandDownsampleUpsampled
    arguments = {"factor_range": (2.0, 8.0), "domains": ("image", "kspace"), "mode": "bicubic"}

    def test_is_the_transform_of_what_was_drawn(self) -> None:
        transform = self.make()
        for _ in range(3):
            result = transform(make_image(2))
            fixed = DownsampleUpsample(transform._factor, transform._domain, "bicubic")(make_image(2))
            assert_equal(result.as_tensor(), fixed.as_tensor())
            assert result.meta["degradation"] == fixed.meta["degradation"]

    def test_range_is_covered_evenly_in_its_logarithm(self) -> None:
        transform = self.make()
        drawn = []
        for _ in range(400):
            transform.randomize()
            drawn.append((math.log2(transform._factor), transform._domain == "kspace"))
        logs, in_kspace = np.array(drawn).T
        assert 1 <= logs.min() < 1.05 and 2.95 < logs.max() <= 3
        assert abs(logs.mean() - 2) < 4 * (2 / 12**0.5) / 20
        assert abs(in_kspace.mean() - 0.5) < 4 * 0.5 / 20

    def test_choices_are_all_drawn(self) -> None:
        transform = RandDownsampleUpsample([2, 4 * 2**0.5, 8]).set_random_state(seed=0)
        drawn = []
        for _ in range(300):
            transform.randomize()
            drawn.append(transform._factor)
            assert transform._domain == "image"
        assert set(drawn) == {2, 4 * 2**0.5, 8}
        assert min(drawn.count(factor) for factor in set(drawn)) > 100 - 4 * 8.2

    def test_a_batch_keeps_the_record_of_each_image(self) -> None:
        chain = Compose([self.make_dictionary(prob=0.5)]).set_random_state(seed=1)
        loader = DataLoader(Dataset([{"image": make_image(2)}] * 8, chain), batch_size=8)
        records = [item["image"].meta["degradation"] for item in decollate_batch(next(iter(loader)))]
        assert 0 < records.count("none") < 8
        assert all(record.startswith("downsample factor=") for record in records if record != "none")

    def test_an_earlier_record_stays_where_nothing_is_done(self) -> None:
        before = DownsampleUpsample(2)(make_image(2))
        assert self.make(prob=0.0)(before).meta["degradation"] == before.meta["degradation"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({}, "factors=None and factor_range=None: exactly one"),
            ({"factors": 2, "factor_range": (2, 4)}, r"factors=2 and factor_range=\(2, 4\): exactly one"),
            ({"factors": (2, 1)}, "factors=1 must be a finite number, more than 1"),
            ({"factor_range": (1, 4)}, "factor_range=1 must be a finite number, more than 1"),
            ({"factor_range": (4, 2)}, r"factor_range=\(4, 2\) must be the lowest and the highest factor"),
            ({"factor_range": (2, 3, 4)}, r"factor_range=\(2, 3, 4\) must be the lowest and the highest factor"),
            ({"factors": ()}, r"factors=\(\) and domains=.* must each hold at least one entry"),
            ({"factors": 2, "domains": ()}, r"domains=\(\) must each hold at least one entry"),
            ({"factors": 2, "domains": ("image", "wavelet")}, "domains='wavelet' is not supported"),
            ({"factors": 2, "mode": "spline"}, "mode='spline' is not supported"),
        ],
    )
    def test_arguments_out_of_range(self, arguments: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            RandDownsampleUpsample(**arguments)
        with pytest.raises(ValueError, match=message):
            RandDownsampleUpsampled("image", **arguments)


def world_of(affine: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """World coordinates in mm of voxel indices, shape (..., 3)."""
    return index @ affine[:3, :3].T + affine[:3, 3]


def corners(size: torch.Size) -> torch.Tensor:
    """Indices of the outer corners of the volume, half a voxel beyond the centres of the outermost voxels."""
    return torch.cartesian_prod(*[torch.tensor([-0.5, n - 0.5], dtype=torch.float64) for n in size])


class TestUpsampleInPlane(InvertibleContract):
    array_class = UpsampleInPlane
    dictionary_class = UpsampleInPlaned
    arguments = {"factor": 2.3}
    changed_meta = ("affine", "pixdim")

    def round_trip_image(self, spatial_dims: int) -> MetaTensor:
        image = make_image(spatial_dims)
        rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(18.0), indexing="ij")
        ramp = 2 * rows - 3 * columns if spatial_dims == 2 else (2 * rows - 3 * columns)[..., None]
        return MetaTensor(ramp.expand(image.shape).clone()).copy_meta_from(image)

    def assert_restored(self, restored: MetaTensor, image: MetaTensor) -> None:
        assert restored.shape == image.shape
        assert_equal(restored[:, 2:-2, 2:-2].as_tensor(), image[:, 2:-2, 2:-2].as_tensor(), rtol=0, atol=0.1 * 5)
        assert_equal(restored.affine, image.affine, rtol=0, atol=1e-9)

    @pytest.mark.parametrize("factor", [2, 2 * 2**0.5, 2.3, 5])
    @pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest-exact", "kspace"])
    def test_field_of_view_stays(self, factor: float, mode: str) -> None:
        low = make_image(3)
        fine = UpsampleInPlane(factor, mode)(low)
        assert tuple(fine.shape) == (2, round(24 * factor), round(18 * factor), 5)
        before = world_of(low.affine, corners(low.shape[1:]))
        after = world_of(fine.affine, corners(fine.shape[1:]))
        assert_equal(after, before, rtol=0, atol=1e-5)
        spacing = fine.affine[:3, :3].norm(dim=0)
        expected = low.affine[:3, :3].norm(dim=0) * torch.tensor(
            [24 / fine.shape[1], 18 / fine.shape[2], 1], dtype=torch.float64
        )
        assert_equal(spacing, expected, rtol=1e-12, atol=0)
        np.testing.assert_allclose(fine.meta["pixdim"][1:4], expected.numpy(), rtol=1e-6)
        np.testing.assert_array_equal(low.meta["pixdim"][1:4], [0.52**0.5, 0.52**0.5, 3.0])

    @pytest.mark.parametrize("factor", [2, 2.3, 4 * 2**0.5])
    @pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
    def test_a_linear_function_of_the_world_is_reproduced(self, factor: float, mode: str) -> None:
        def sampled(affine: torch.Tensor, size: torch.Size) -> torch.Tensor:
            index = torch.cartesian_prod(*[torch.arange(n, dtype=torch.float64) for n in size])
            values = world_of(affine, index) @ torch.tensor([0.7, -1.1, 0.4], dtype=torch.float64) + 3
            return values.reshape(tuple(size))

        low = make_image(3)
        low = MetaTensor(sampled(low.affine, low.shape[1:])[None], affine=low.affine)
        fine = UpsampleInPlane(factor, mode)(low)
        edge = math.ceil(2 * factor)
        inside = (0, slice(edge, -edge), slice(edge, -edge))
        expected = sampled(fine.affine, fine.shape[1:])[inside[1:]]
        if mode == "bilinear":
            assert_equal(fine.as_tensor()[inside], expected, rtol=0, atol=1e-9)
        else:  # torch's cubic kernel reproduces a line only nearly
            assert_equal(fine.as_tensor()[inside], expected, rtol=0, atol=0.05)

    @pytest.mark.parametrize("spatial_dims", [2, 3])
    def test_agrees_with_resize_of_monai(self, spatial_dims: int) -> None:
        low = make_image(spatial_dims)
        fine = self.make()(low)
        theirs = Resize(tuple(fine.shape[1:]), mode="bilinear")(low.clone())
        assert_equal(fine.as_tensor(), theirs.as_tensor(), rtol=1e-5, atol=1e-4)
        assert_equal(fine.affine, theirs.affine)

    def test_invertd_brings_a_label_back_without_new_values(self) -> None:
        chain = Compose([UpsampleInPlaned("image", 2.5)])
        item = chain({"image": make_image(3)})
        label = (torch.rand(item["image"].shape, generator=torch.Generator().manual_seed(0)) > 0.5) * 5.0
        label[:, :, :20] = 0
        back = Invertd("label", chain, orig_keys="image")({**item, "label": MetaTensor(label)})["label"]
        assert back.shape == (2, 24, 18, 5)
        assert back.unique().tolist() == [0, 5]
        assert back[:, :, :8].max() == 0 and back[:, :, 8].max() == 5
        assert_equal(back.affine, make_image(3).affine, rtol=0, atol=1e-9)

    def test_inverse_without_a_trace(self) -> None:
        with pytest.raises(ValueError, match="empty 'applied_operations'"):
            self.make().inverse(make_image(2))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"factor": 0.5}, "factor=0.5 must be a finite number, more than 1"),
            ({"mode": "area"}, "mode='area' is not supported"),
        ],
    )
    def test_arguments_out_of_range(self, arguments: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            self.make(**arguments)

    def test_on_a_real_volume(self, shared_data: Path) -> None:
        low = LoadImage("NibabelReader", image_only=True, ensure_channel_first=True)(
            shared_data / "msd_hippocampus" / "images" / "hippocampus_015.nii.gz"
        )
        fine = UpsampleInPlane(4 * 2**0.5)(low)
        before = world_of(low.affine, corners(low.shape[1:]))
        assert_equal(world_of(fine.affine, corners(fine.shape[1:])), before, rtol=0, atol=1e-5)
        assert fine.meta["filename_or_obj"] == low.meta["filename_or_obj"]
