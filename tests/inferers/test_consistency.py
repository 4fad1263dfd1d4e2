"""Hooks that hold a restored image to what was measured."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor

from contracts.inferer_contract import images
from monai_cdiff.data import read_series, scan_series, select_series
from monai_cdiff.inferers.consistency import KeepMeasured, MatchLowResolution, residual_map
from monai_cdiff.operators import downsample, downsample_upsample, recover_low_resolution, upsample

ROOT2 = 2**0.5
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def masked(*shape: int, channels: int = 1) -> torch.Tensor:
    """Inputs of inpainting: a degraded image, and the mask in the last channel."""
    batch, *plane = shape
    return torch.cat([images(batch, channels, *plane, seed=1), (images(batch, 1, *plane, seed=2) > 0.3).float()], dim=1)


def inputs_of(hook: Any, *shape: int) -> torch.Tensor:
    return masked(*shape) if isinstance(hook, KeepMeasured) else downsample_upsample(images(shape[0], 1, *shape[1:]), 2)


class TestEveryHook:
    """What the inferer relies on."""

    HOOKS: tuple[Callable, ...] = (KeepMeasured(), MatchLowResolution(2), MatchLowResolution(2, domain="kspace"))

    @pytest.mark.parametrize("hook", HOOKS)
    @pytest.mark.parametrize("size", [(16, 18), (16, 18, 3)])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
    @pytest.mark.parametrize("device", DEVICES)
    def test_shape_type_and_device_of_the_image(
        self, hook: Callable, size: tuple[int, ...], dtype: torch.dtype, device: str
    ) -> None:
        image, inputs = images(2, 1, *size).to(device, dtype), inputs_of(hook, 2, *size)
        for where in ("cpu", device):
            corrected = hook(image, inputs.to(where))
            assert corrected.shape == image.shape and corrected.dtype == dtype and corrected.device == image.device

    @pytest.mark.parametrize("hook", HOOKS)
    def test_idempotent_and_items_apart(self, hook: Callable) -> None:
        image, inputs = images(3, 1, 16, 18), inputs_of(hook, 3, 16, 18)
        before = image.clone(), inputs.clone()
        corrected = hook(image, inputs)
        assert torch.equal(image, before[0]) and torch.equal(inputs, before[1])
        assert not torch.equal(corrected, image)
        torch.testing.assert_close(hook(corrected, inputs), corrected, rtol=0, atol=1e-6)
        torch.testing.assert_close(hook(image[1:2], inputs[1:2]), corrected[1:2], rtol=0, atol=1e-6)

    @pytest.mark.parametrize("hook", HOOKS)
    def test_metadata_is_that_of_the_image(self, hook: Callable) -> None:
        image, inputs = images(1, 1, 16, 18), inputs_of(hook, 1, 16, 18)
        tagged = hook(MetaTensor(image, meta={"subject": "p"}), inputs)
        assert isinstance(tagged, MetaTensor) and tagged.meta["subject"] == "p"
        plain = hook(image, MetaTensor(inputs, meta={"subject": "q"}))
        assert not isinstance(plain, MetaTensor) and torch.equal(plain, tagged.as_tensor())

    @pytest.mark.parametrize("hook", HOOKS)
    def test_travels_to_other_processes(self, hook: Callable) -> None:
        assert vars(pickle.loads(pickle.dumps(hook))) == vars(hook)

    @pytest.mark.parametrize("hook", HOOKS)
    @pytest.mark.parametrize(
        ("image", "inputs"),
        [
            ((1, 1, 16, 18), (1, 2, 16, 16)),
            ((1, 1, 16, 18), (2, 2, 16, 18)),
            ((1, 3, 16, 18), (1, 2, 16, 18)),
            ((1, 1, 16, 18), (1, 2, 16, 18, 1)),
            ((16, 18), (16, 18)),
        ],
    )
    def test_shapes_that_do_not_fit(self, hook: Callable, image: tuple[int, ...], inputs: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="image of shape .* and inputs of shape .* must be"):
            hook(torch.zeros(image), torch.zeros(inputs))


class TestKeepMeasured:
    @pytest.mark.parametrize("size", [(16, 18), (16, 18, 3)])
    @pytest.mark.parametrize("channels", [1, 2])
    def test_measured_values_bit_by_bit(self, channels: int, size: tuple[int, ...]) -> None:
        inputs = masked(2, *size, channels=channels)
        inputs[:, :channels] *= 1.2345e-3  # beside images of order one, sums and products would round
        image = 1e3 * images(2, channels, *size)
        filled = KeepMeasured()(image, inputs)
        hole = (inputs[:, -1:] == 1).expand_as(image)
        assert 0 < hole.sum() < hole.numel()
        assert torch.equal(filled[~hole], inputs[:, :channels][~hole])
        assert torch.equal(filled[hole], image[hole])

    def test_values_that_are_not_finite_do_not_leak(self) -> None:
        inputs, image = masked(1, 8, 8), images(1, 1, 8, 8)
        hole = inputs[:, 1:] == 1
        image[~hole] = torch.nan
        inputs[:, :1][hole] = torch.inf
        assert KeepMeasured()(image, inputs).isfinite().all()

    def test_mask_in_another_channel(self) -> None:
        inputs, image = masked(1, 8, 8), images(1, 1, 8, 8)
        beside = torch.cat([inputs, images(1, 2, 8, 8)], dim=1)
        assert torch.equal(KeepMeasured(mask_channel=1)(image, beside), KeepMeasured()(image, inputs))

    @pytest.mark.parametrize(("mask", "wrong"), [([0, 1, 0.5, 2], 2), ([-1, 1, 1, -1], 2), ([0, 1, torch.nan, 0], 1)])
    def test_mask_that_is_not_binary(self, mask: list[float], wrong: int) -> None:
        inputs = torch.stack([torch.zeros(4), torch.tensor(mask)]).reshape(1, 2, 2, 2)
        with pytest.raises(
            ValueError, match=f"mask_channel=-1 of inputs holds {wrong} values of 4 that are neither 0 nor 1"
        ):
            KeepMeasured()(torch.zeros(1, 1, 2, 2), inputs)

    @pytest.mark.parametrize(("channel", "channels"), [(-1, 1), (2, 2), (0, 2)])
    def test_mask_channel_that_does_not_exist(self, channel: int, channels: int) -> None:
        with pytest.raises(ValueError, match=f"mask_channel={channel} must be a channel of inputs after those"):
            KeepMeasured(channel)(torch.zeros(1, 1, 8, 8), torch.zeros(1, channels, 8, 8))

    @pytest.mark.parametrize("channel", [-2, 0.5, "last", True])
    def test_wrong_mask_channel(self, channel: Any) -> None:
        with pytest.raises(ValueError, match=f"mask_channel={channel!r} must be a whole number, at least -1"):
            KeepMeasured(channel)


class TestMatchLowResolution:
    @pytest.mark.parametrize("domain", ["image", "kspace"])
    @pytest.mark.parametrize("mode", ["bilinear", "bicubic", "kspace"])
    @pytest.mark.parametrize("factor", [2, 4, 2 * ROOT2])
    def test_agrees_with_what_was_measured(self, factor: float, mode: str, domain: str) -> None:
        low = downsample(images(2, 1, 33, 47), factor, domain=domain)
        inputs = torch.cat([upsample(low, (33, 47), mode), images(2, 1, 33, 47)], dim=1)
        matched = MatchLowResolution(factor, domain, mode)(images(2, 1, 33, 47, seed=1), inputs)
        assert (downsample(matched, factor, domain=domain) - low).norm() < 1e-5 * low.norm()

    def test_the_original_is_left_alone(self) -> None:
        original = images(1, 1, 33, 47)
        matched = MatchLowResolution(2)(original, downsample_upsample(original, 2))
        torch.testing.assert_close(matched, original, rtol=0, atol=1e-5)

    def test_axes(self) -> None:
        original, axes = images(1, 1, 12, 14, 16), [0, 2]
        inputs = downsample_upsample(original, 2, spatial_axes=axes)
        matched = MatchLowResolution(2, spatial_axes=axes)(images(1, 1, 12, 14, 16, seed=1), inputs)
        low = downsample(original, 2, spatial_axes=axes)
        torch.testing.assert_close(downsample(matched, 2, spatial_axes=axes), low, rtol=0, atol=1e-5)

    def test_inputs_of_half_type(self) -> None:
        inputs = downsample_upsample(images(1, 1, 32, 32), 2).bfloat16()
        with pytest.raises(ValueError, match=r"0\.00\d+ of it, root mean square, is left unexplained"):
            MatchLowResolution(2)(images(1, 1, 32, 32, seed=1), inputs)
        matched = MatchLowResolution(2, tolerance=0.005)(images(1, 1, 32, 32, seed=1), inputs)
        low = recover_low_resolution(inputs.float(), 2, tolerance=0.005)
        torch.testing.assert_close(downsample(matched, 2), low, rtol=0, atol=1e-5)

    @pytest.mark.parametrize("change", [{"factor": 3}, {"mode": "bicubic"}, {"mode": "kspace"}])
    def test_inputs_made_otherwise(self, change: dict[str, Any]) -> None:
        inputs = downsample_upsample(images(1, 1, 24, 24), 2)
        with pytest.raises(ValueError, match="condition of shape .* is no interpolation with mode="):
            MatchLowResolution(**{"factor": 2, **change})(images(1, 1, 24, 24, seed=1), inputs)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"factor": 1}, "factor=1 must be a finite number, more than 1"),
            ({"factor": "two"}, "factor='two' must be a finite number"),
            ({"domain": "fourier"}, "domain='fourier' is not supported; allowed: 'image', 'kspace'"),
            ({"mode": "linear"}, "mode='linear' is not supported.*Did you mean 'bilinear'"),
            ({"spatial_axes": (0, 3)}, "spatial_axes=3 must be a whole number, from 0 to 2"),
            ({"spatial_axes": (1, 1)}, r"spatial_axes=\(1, 1\) must name at least one axis, and each only once"),
            ({"spatial_axes": ()}, r"spatial_axes=\(\) must name at least one axis"),
            ({"tolerance": -0.1}, "tolerance=-0.1 must be a finite number, at least 0"),
        ],
    )
    def test_wrong_arguments(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            MatchLowResolution(**{"factor": 2, **arguments})

    def test_an_axis_that_the_image_lacks(self) -> None:
        with pytest.raises(ValueError, match="spatial_axes=2 must be a whole number, from 0 to 1"):
            MatchLowResolution(2, spatial_axes=(0, 2))(images(1, 1, 8, 8), images(1, 1, 8, 8))


class TestResidualMap:
    @pytest.mark.parametrize("domain", ["image", "kspace"])
    def test_is_what_was_added_to_the_measured_image(self, domain: str) -> None:
        original = images(1, 1, 32, 40)
        inputs = torch.cat([downsample_upsample(original, 2, domain), images(1, 1, 32, 40)], dim=1)
        added = torch.zeros_like(original)
        added[..., 12:16, 20:24] = 1
        on_low = residual_map(original + added, inputs, 2, domain, upsampled=False)
        torch.testing.assert_close(on_low, downsample(added, 2, domain=domain), rtol=0, atol=1e-5)
        assert on_low.max() > 0.5
        fine = residual_map(original + added, inputs, 2, domain)
        torch.testing.assert_close(fine, upsample(on_low, (32, 40)))

    def test_nothing_after_the_projection(self) -> None:
        inputs = downsample_upsample(images(1, 1, 33, 47), 2 * ROOT2)
        restored = images(1, 1, 33, 47, seed=1)
        assert residual_map(restored, inputs, 2 * ROOT2).abs().max() > 0.1
        assert residual_map(MatchLowResolution(2 * ROOT2)(restored, inputs), inputs, 2 * ROOT2).abs().max() < 1e-5

    def test_volume_in_plane_with_metadata(self) -> None:
        affine = torch.diag(torch.tensor([0.5, 0.5, 3.0, 1.0], dtype=torch.float64))
        original = images(1, 1, 16, 18, 3)
        restored = MetaTensor(original.double(), affine=affine)
        inputs = MetaTensor(downsample_upsample(original, 2), affine=affine)
        fine = residual_map(restored, inputs, 2)
        assert isinstance(fine, MetaTensor) and torch.equal(fine.affine, affine) and fine.dtype == torch.float64
        assert fine.shape == restored.shape and fine.abs().max() < 1e-5
        on_low = residual_map(restored, inputs, 2, upsampled=False)
        assert not isinstance(on_low, MetaTensor) and on_low.shape == (1, 1, 8, 9, 3)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_types_are_rounded_once(self, dtype: torch.dtype) -> None:
        inputs = downsample_upsample(images(1, 1, 32, 40), 2)
        restored = images(1, 1, 32, 40, seed=1).to(dtype)
        exact = residual_map(restored.float(), inputs, 2)
        assert torch.equal(residual_map(restored, inputs, 2), exact.to(dtype))

    def test_wrong_arguments(self) -> None:
        image = images(1, 1, 16, 16)
        with pytest.raises(ValueError, match="domain='pixels' is not supported"):
            residual_map(image, downsample_upsample(image, 2), 2, domain="pixels")
        with pytest.raises(ValueError, match="is no interpolation with mode='bilinear'"):
            residual_map(image, image, 2)
        with pytest.raises(ValueError, match="image of shape .* and inputs of shape"):
            residual_map(image, image[..., 1:], 2)


@pytest.fixture(scope="module")
def real_slice(shared_data: Path) -> torch.Tensor:
    series = scan_series(shared_data / "prostate3t_dicom" / "Prostate3T-03-0005")
    volume, _, _ = read_series(select_series(series, "t2*", "axial"))
    image = torch.from_numpy(volume[..., volume.shape[-1] // 2])[None, None]
    return image / torch.quantile(image, 0.995) * 2 - 1


@pytest.mark.parametrize("domain", ["image", "kspace"])
@pytest.mark.parametrize("factor", [2, 2 * ROOT2, 4])
def test_interpolation_of_a_real_slice_comes_nearer_to_the_original(
    real_slice: torch.Tensor, domain: str, factor: float
) -> None:
    original = real_slice
    low = downsample(original, factor, domain=domain)
    inputs = upsample(low, original.shape[2:])
    matched = MatchLowResolution(factor, domain)(inputs, inputs)
    consistency = [float((downsample(x, factor, domain=domain) - low).norm() / low.norm()) for x in (inputs, matched)]
    psnr = [float(-10 * ((x - original) / 2).square().mean().log10()) for x in (inputs, matched)]
    assert consistency[0] > 1e-3 and consistency[1] < 1e-4
    assert psnr[1] > psnr[0] + 0.5
    with pytest.raises(ValueError, match="is no interpolation"):
        MatchLowResolution(factor * 1.1, domain)(inputs, inputs)
