"""Projection onto the images that agree with a low-resolution one, and the way back from an interpolation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from monai_cdiff.operators import (
    UPSAMPLE_MODES,
    downsample,
    low_resolution_size,
    match_low_resolution,
    projection,
    recover_low_resolution,
    upsample,
)

ROOT2 = 2**0.5
DOMAINS = ("image", "kspace")
FACTORS = (2, 4, 2 * ROOT2)
SIZES = [(33, 47), (96, 96), (33, 47, 5)]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def images(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 2 - 1


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


class TestRecoverLowResolution:
    @pytest.mark.parametrize("device", DEVICES)
    @pytest.mark.parametrize("mode", UPSAMPLE_MODES)
    @pytest.mark.parametrize("factor", FACTORS)
    @pytest.mark.parametrize("size", SIZES)
    def test_undoes_the_interpolation(self, size: tuple[int, ...], factor: float, mode: str, device: str) -> None:
        low = images(2, 1, *low_resolution_size(size[:2], factor), *size[2:]).to(device)
        found = recover_low_resolution(upsample(low, size[:2], mode), factor, mode)
        assert found.dtype == torch.float32 and found.device == low.device and found.is_contiguous()
        torch.testing.assert_close(found, low, rtol=0, atol=1e-5)

    @pytest.mark.parametrize("factor", [1.01, 1.05, 1.3, 7.9])
    def test_factors_near_one_and_large(self, factor: float) -> None:
        low = images(1, 1, *low_resolution_size((64, 51), factor))
        torch.testing.assert_close(recover_low_resolution(upsample(low, (64, 51)), factor), low, rtol=0, atol=1e-5)

    @pytest.mark.parametrize("axes", [(0, 1, 2), (2,), (1, 0)])
    def test_other_axes(self, axes: tuple[int, ...]) -> None:
        fine = (20, 27, 12)
        low_size = [low_resolution_size(fine, 3)[axis] if axis in axes else fine[axis] for axis in range(3)]
        low = images(1, 2, *low_size)
        condition = upsample(low, [fine[axis] for axis in axes], "bicubic", axes)
        torch.testing.assert_close(recover_low_resolution(condition, 3, "bicubic", axes), low, rtol=0, atol=1e-5)

    def test_least_squares_within_the_tolerance(self) -> None:
        """What is left is orthogonal to every interpolation."""
        condition = images(1, 1, 20, 24, dtype=torch.float64)
        low = recover_low_resolution(condition, 2, tolerance=1)
        left = condition - upsample(low, (20, 24))
        other = upsample(images(1, 1, 10, 12, seed=1, dtype=torch.float64), (20, 24))
        assert left.norm() > 0.1 and abs((left * other).sum()) < 1e-9

    def test_what_is_left_is_measured_by_item(self) -> None:
        low = images(2, 1, 16, 16)
        condition = upsample(low, (32, 32))
        pattern = torch.ones(32).mul_(1 - 2 * (torch.arange(32) % 2))  # hardly an interpolation
        condition[1] += 0.0012 * condition[1].norm() / pattern.norm() / 32**0.5 * pattern
        assert recover_low_resolution(condition[:1], 2).shape == (1, 1, 16, 16)
        with pytest.raises(ValueError, match=r"factor=2 leaves along spatial_axes=\(0, 1\): 0\.001\d+ of it, root"):
            recover_low_resolution(condition, 2)
        assert recover_low_resolution(condition, 2, tolerance=0.0013).shape == (2, 1, 16, 16)

    def test_an_empty_image_is_an_interpolation(self) -> None:
        assert torch.equal(recover_low_resolution(torch.zeros(1, 1, 16, 16), 2), torch.zeros(1, 1, 8, 8))

    @pytest.mark.parametrize(
        "change",
        [
            {"factor": 3},
            {"mode": "bicubic"},
            {"spatial_axes": (0,)},
            {"condition": lambda x: x[..., 1:-1]},
            {"condition": lambda x: x.clamp(-0.5, 0.5)},
            {"condition": lambda x: x * torch.nan},
        ],
    )
    def test_what_is_no_interpolation(self, change: dict[str, Any]) -> None:
        arguments = {"factor": 2, "mode": "bilinear", "spatial_axes": (0, 1), **change}
        condition = arguments.pop("condition", lambda x: x)(upsample(images(1, 1, 16, 20), (32, 40)))
        if change == {"spatial_axes": (0,)}:  # true, and not all that is true
            return torch.testing.assert_close(
                recover_low_resolution(condition, **arguments), upsample(images(1, 1, 16, 20), (40,), spatial_axes=(1,))
            )
        with pytest.raises(ValueError, match="is left unexplained, at most tolerance=0.001 may be") as error:
            recover_low_resolution(condition, **arguments)
        assert f"mode={arguments['mode']!r}" in str(error.value) and f"factor={arguments['factor']}" in str(error.value)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"factor": 1}, "factor=1 must be a finite number, more than 1"),
            ({"mode": "cubic"}, "mode='cubic' is not supported"),
            ({"tolerance": -1}, "tolerance=-1 must be a finite number, at least 0"),
            ({"spatial_axes": (2,)}, "spatial_axes=2 must be a whole number, from 0 to 1"),
            ({"condition": torch.zeros(16, 16)}, r"condition of shape \(16, 16\) must be"),
        ],
    )
    def test_wrong_arguments(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            recover_low_resolution(**{"condition": torch.zeros(1, 1, 16, 16), "factor": 2, **change})


class TestMatchLowResolution:
    @pytest.mark.parametrize("device", DEVICES)
    @pytest.mark.parametrize("domain", DOMAINS)
    @pytest.mark.parametrize("factor", [*FACTORS, 1.05])
    @pytest.mark.parametrize("size", SIZES)
    def test_agrees(self, size: tuple[int, ...], factor: float, domain: str, device: str) -> None:
        image = images(2, 1, *size).to(device)
        low = downsample(images(2, 1, *size, seed=1).to(device), factor, domain=domain)
        matched = match_low_resolution(image, low, domain)
        assert matched.dtype == torch.float32 and matched.device == image.device and matched.shape == image.shape
        assert relative(downsample(matched, factor, domain=domain), low) < 1e-5
        # torch's resize by fractions rounds its weights, and near factor 1 the pseudo-inverse enlarges that
        tolerance = 1e-4 if factor == 1.05 else 1e-5
        torch.testing.assert_close(match_low_resolution(matched, low, domain), matched, rtol=0, atol=tolerance)

    @pytest.mark.parametrize("domain", DOMAINS)
    def test_any_low_image_can_be_met(self, domain: str) -> None:
        low = images(1, 1, 12, 17, seed=1)
        matched = match_low_resolution(5 * images(1, 1, 33, 47), low, domain)
        assert relative(downsample(matched, size=(12, 17), domain=domain), low) < 1e-5

    @pytest.mark.parametrize("domain", DOMAINS)
    @pytest.mark.parametrize("axes", [(0, 1, 2), (2,), (1, 0)])
    def test_other_axes(self, axes: tuple[int, ...], domain: str) -> None:
        low = downsample(images(1, 2, 20, 27, 12, seed=1), 3, domain=domain, spatial_axes=axes)
        matched = match_low_resolution(images(1, 2, 20, 27, 12), low, domain, axes)
        assert relative(downsample(matched, 3, domain=domain, spatial_axes=axes), low) < 1e-5

    @pytest.mark.parametrize("domain", DOMAINS)
    @pytest.mark.parametrize("factor", FACTORS)
    def test_nearest(self, factor: float, domain: str) -> None:
        """The change is orthogonal to all that the downsampling cannot see, so no other image that agrees is nearer."""
        image, other = images(1, 1, 24, 31, dtype=torch.float64), images(1, 1, 24, 31, seed=2, dtype=torch.float64)
        low = downsample(images(1, 1, 24, 31, seed=1, dtype=torch.float64), factor, domain=domain)
        matched = match_low_resolution(image, low, domain)
        change, unseen = matched - image, match_low_resolution(other, torch.zeros_like(low), domain)
        assert downsample(unseen, factor, domain=domain).abs().max() < 1e-12 and unseen.norm() > 1
        assert abs((change * unseen).sum()) < 1e-10 * change.norm() * unseen.norm()
        assert (matched + unseen - image).norm() > change.norm()

    @pytest.mark.parametrize("domain", DOMAINS)
    def test_a_perfect_image_is_left_alone(self, domain: str) -> None:
        image = images(1, 1, 33, 47)
        low = downsample(image, 2 * ROOT2, domain=domain)
        torch.testing.assert_close(match_low_resolution(image, low, domain), image, rtol=0, atol=1e-6)

    def test_kspace_puts_the_centre_of_the_spectrum_in_place(self) -> None:
        image, true = images(1, 1, 30, 30), images(1, 1, 30, 30, seed=1)
        matched = match_low_resolution(image, downsample(true, size=(15, 15), domain="kspace"), "kspace")
        centred = [torch.fft.fftshift(torch.fft.fft2(x.double()), dim=(-2, -1)) for x in (matched, true, image)]
        inside = torch.zeros(30, 30, dtype=torch.bool)
        inside[8:23, 8:23] = True
        torch.testing.assert_close(centred[0], torch.where(inside, centred[1], centred[2]), rtol=0, atol=1e-4)

    def test_by_the_pseudo_inverse_of_the_whole_matrix(self) -> None:
        image, low = images(1, 1, 9, 8, dtype=torch.float64), images(1, 1, 4, 3, seed=1, dtype=torch.float64)
        columns = torch.eye(72, dtype=torch.float64).reshape(72, 1, 9, 8)
        matrix = downsample(columns, size=(4, 3)).reshape(72, 12).T
        expected = image.flatten() + torch.linalg.pinv(matrix) @ (low.flatten() - matrix @ image.flatten())
        torch.testing.assert_close(match_low_resolution(image, low).flatten(), expected)

    def test_full_size_is_the_low_image_itself(self) -> None:
        torch.testing.assert_close(match_low_resolution(images(1, 1, 8, 9), low := images(1, 1, 8, 9, seed=1)), low)

    @pytest.mark.parametrize(
        ("dtype", "result"),
        [
            (torch.float64, torch.float64),
            (torch.float16, torch.float16),
            (torch.bfloat16, torch.bfloat16),
            (torch.int16, torch.float32),
        ],
    )
    def test_types(self, dtype: torch.dtype, result: torch.dtype) -> None:
        image, low = (100 * images(1, 1, 16, 16)).to(dtype), images(1, 1, 8, 8)
        matched = match_low_resolution(image, low)
        assert matched.dtype == result
        tolerance = {torch.float16: 0.1, torch.bfloat16: 0.6}.get(result, 1e-3)
        torch.testing.assert_close(downsample(matched.float(), 2), low, rtol=0, atol=tolerance)
        assert recover_low_resolution(upsample(low.to(result), (16, 16)), 2, tolerance=0.01).dtype == result

    @pytest.mark.parametrize("device", DEVICES)
    def test_autocast_costs_no_precision(self, device: str) -> None:
        image, low = images(1, 1, 32, 32).to(device), images(1, 1, 16, 16, seed=1).to(device)
        condition = upsample(low, (32, 32))
        expected = match_low_resolution(image, low), recover_low_resolution(condition, 2)
        with torch.autocast(device, dtype=torch.bfloat16):
            found = match_low_resolution(image, low), recover_low_resolution(condition, 2)
        assert all(map(torch.equal, found, expected))

    def test_gradients_pass_even_after_inference_mode(self) -> None:
        projection._downsample_inverse.cache_clear()
        projection._upsample_inverse.cache_clear()
        with torch.inference_mode():
            match_low_resolution(images(1, 1, 14, 12), images(1, 1, 7, 6))
            recover_low_resolution(upsample(images(1, 1, 7, 6), (14, 12)), 2)
        image = images(1, 1, 14, 12, dtype=torch.float64).requires_grad_()
        low = images(1, 1, 7, 6, seed=1, dtype=torch.float64).requires_grad_()
        assert torch.autograd.gradcheck(match_low_resolution, (image, low))
        assert torch.autograd.gradcheck(lambda x: recover_low_resolution(upsample(x, (14, 12)), 2), (low,))

    def test_arguments_are_left_alone(self) -> None:
        image, low = images(1, 1, 8, 8, dtype=torch.float64), images(1, 1, 4, 4, dtype=torch.float64)
        condition = upsample(low, (8, 8))
        before = image.clone(), low.clone(), condition.clone()
        match_low_resolution(image, low)
        recover_low_resolution(condition, 2)
        assert all(map(torch.equal, (image, low, condition), before))

    @pytest.mark.parametrize(
        "shape", [(1, 1, 17, 8), (1, 1, 1, 8), (2, 1, 8, 8), (1, 2, 8, 8), (1, 1, 8, 8, 3), (1, 1, 8)]
    )
    def test_shapes_that_do_not_fit(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="low of shape"):
            match_low_resolution(torch.zeros(1, 1, 16, 16), torch.zeros(shape))

    def test_wrong_arguments(self) -> None:
        with pytest.raises(ValueError, match="domain='k-space' is not supported.*Did you mean 'kspace'"):
            match_low_resolution(torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 8, 8), "k-space")
        with pytest.raises(ValueError, match=r"spatial_axes=2 must be a whole number, from 0 to 1"):
            match_low_resolution(torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 8, 8), spatial_axes=(0, 2))
        with pytest.raises(TypeError, match="low of type torch.complex64 must be real"):
            match_low_resolution(torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 8, 8, dtype=torch.complex64))


def test_matrices_are_made_once() -> None:
    projection._downsample_inverse.cache_clear()
    for _ in range(3):
        match_low_resolution(torch.zeros(1, 1, 16, 18), torch.zeros(1, 1, 8, 9))
    info = projection._downsample_inverse.cache_info()
    assert (info.misses, info.hits, info.maxsize) == (2, 4, projection.CACHED_MATRICES)
