from __future__ import annotations

import doctest
import math
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from monai_cdiff.operators import (
    UPSAMPLE_MODES,
    downsample,
    downsample_upsample,
    downsampling,
    high_resolution_size,
    low_resolution_size,
    upsample,
)

ROOT2 = 2**0.5
DOMAINS = ("image", "kspace")
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def coarse_centres(fine: int, coarse: int) -> torch.Tensor:
    """Centres of the coarse pixels in fine pixels, for one field of view."""
    return (torch.arange(coarse, dtype=torch.float64) + 0.5) * fine / coarse - 0.5


def test_docstring_examples() -> None:
    assert doctest.testmod(downsampling).failed == 0


class TestSizes:
    @pytest.mark.parametrize(
        ("factor", "expected"),
        [(2 * ROOT2, 45), (4, 32), (4 * ROOT2, 23), (8, 16), (8 * ROOT2, 11), (16, 8), (1.3, 98)],
    )
    def test_low_resolution_size_of_128(self, factor: float, expected: int) -> None:
        assert low_resolution_size((128,), factor) == (expected,)

    def test_sizes_by_axis(self) -> None:
        assert low_resolution_size(torch.Size([384, 100, 3]), 8) == (48, 12, 1)
        assert high_resolution_size((48, 12, 1), 2.5) == (120, 30, 2)

    @pytest.mark.parametrize("factor", [1, 1.0, 0, -2, 0.5, math.nan, math.inf, "four", None])
    def test_factor_out_of_range(self, factor: float) -> None:
        for size_of in (low_resolution_size, high_resolution_size):
            with pytest.raises(ValueError, match=rf"factor={factor!r} must be a finite number, more than 1"):
                size_of((128,), factor)

    def test_size_out_of_range(self) -> None:
        with pytest.raises(ValueError, match="size=0 must be a whole number, at least 1"):
            low_resolution_size((0,), 2)


class TestGrid:
    """Both domains look at the same field of view, and neither changes the mean."""

    @pytest.mark.parametrize("domain", DOMAINS)
    @pytest.mark.parametrize("factor", [2 * ROOT2, 3, 4])
    def test_constant(self, domain: str, factor: float) -> None:
        low = downsample(torch.full((2, 1, 33, 30), 7.5), factor, domain=domain)
        torch.testing.assert_close(low, torch.full((2, 1, *low_resolution_size((33, 30), factor)), 7.5))

    @pytest.mark.parametrize("domain", DOMAINS)
    @pytest.mark.parametrize("size", [(16, 12), (15, 13), (23, 31)])
    def test_mean_of_kspace_and_of_whole_factors(self, domain: str, size: tuple[int, int]) -> None:
        image = noise(1, 1, 32, 48)
        if domain == "kspace":
            torch.testing.assert_close(downsample(image, size=size, domain=domain).mean(), image.mean())
        else:
            torch.testing.assert_close(downsample(image + 5, 2).mean(), (image + 5).mean(), rtol=0.02, atol=0)

    @pytest.mark.parametrize(("fine", "coarse"), [(64, 16), (64, 23), (50, 21)])
    def test_ramps_in_the_interior(self, fine: int, coarse: int) -> None:
        rows, columns = torch.meshgrid(*[torch.arange(fine, dtype=torch.float64)] * 2, indexing="ij")
        image = (2 * rows - 3 * columns + 1)[None, None]
        centres = coarse_centres(fine, coarse)
        expected = 2 * centres[:, None] - 3 * centres + 1
        low = downsample(image, size=(coarse, coarse))
        inside = slice(2, -2)
        # torch samples the kernel at the pixels, so its centroid wanders by up to 0.05 pixels for other factors
        tolerance = 1e-9 if fine % coarse == 0 else 0.05 * (2 + 3)
        torch.testing.assert_close(low[0, 0, inside, inside], expected[inside, inside], rtol=0, atol=tolerance)
        fine_again = upsample(expected[None, None], (fine, fine))
        edge = slice(2 * fine // coarse, -2 * fine // coarse)
        torch.testing.assert_close(fine_again[0, 0, edge, edge], image[0, 0, edge, edge])

    @pytest.mark.parametrize("domain", DOMAINS)
    @pytest.mark.parametrize("factor", [2, 2 * ROOT2, 3, 4])
    def test_centroid(self, domain: str, factor: float) -> None:
        n, centre = 96, torch.tensor([44.3, 52.8], dtype=torch.float64)
        axis = torch.arange(n, dtype=torch.float64)
        rows, columns = (torch.exp(-((axis - c) ** 2) / (2 * 6.0**2)) for c in centre)
        image = (rows[:, None] * columns)[None, None]
        low = downsample(image, factor, domain=domain)[0, 0]
        where = [coarse_centres(n, m) for m in low.shape]
        found = torch.stack([(low.sum(1) @ where[0]), (low.sum(0) @ where[1])]) / low.sum()
        torch.testing.assert_close(found, centre, rtol=0, atol=0.02)
        again = downsample_upsample(image, factor, domain)[0, 0]
        found = torch.stack([again.sum(1) @ axis, again.sum(0) @ axis]) / again.sum()
        torch.testing.assert_close(found, centre, rtol=0, atol=0.02)

    @pytest.mark.parametrize("domain", DOMAINS)
    @pytest.mark.parametrize("mode", UPSAMPLE_MODES)
    @pytest.mark.parametrize("factor", [2, 2 * ROOT2])  # to 12 x 15 and 8 x 11
    def test_a_mirrored_image_gives_the_mirrored_result(self, domain: str, mode: str, factor: float) -> None:
        image = noise(1, 1, 24, 30)
        result = downsample_upsample(image, factor, domain, mode)
        mirrored = downsample_upsample(image.flip(-1, -2), factor, domain, mode)
        torch.testing.assert_close(mirrored, result.flip(-1, -2))


class TestKspace:
    @pytest.mark.parametrize(("fine", "coarse"), [(32, 8), (32, 9), (31, 8), (31, 10), (26, 19)])
    @pytest.mark.parametrize("phase", [0.0, 0.4, 1.7])
    def test_band_limited_cosine_is_preserved(self, fine: int, coarse: int, phase: float) -> None:
        for k in range((coarse - 1) // 2 + 1):
            wave = lambda at, k=k: torch.cos(2 * math.pi * k * at / fine + phase)  # noqa: E731
            image = wave(torch.arange(fine, dtype=torch.float64)).reshape(1, 1, fine, 1).expand(-1, -1, -1, 6)
            low = downsample(image, size=(coarse,), domain="kspace", spatial_axes=(0,))
            expected = wave(coarse_centres(fine, coarse)).reshape(1, 1, coarse, 1).expand_as(low)
            torch.testing.assert_close(low, expected, rtol=0, atol=1e-12)
            torch.testing.assert_close(upsample(low, (fine,), "kspace", (0,)), image, rtol=0, atol=1e-12)

    @pytest.mark.parametrize(("size", "low"), [((16, 14), (8, 7)), ((15, 17), (5, 6)), ((12, 12), (11, 10))])
    def test_zero_filling_is_the_pseudo_inverse(self, size: tuple[int, int], low: tuple[int, int]) -> None:
        down = _matrix(lambda x: downsample(x, size=low, domain="kspace"), size)
        up = _matrix(lambda x: upsample(x, size, "kspace"), low)
        torch.testing.assert_close(up, torch.linalg.pinv(down), rtol=0, atol=1e-10)

    def test_against_a_crop_of_the_centred_spectrum(self) -> None:
        image, m = noise(1, 1, 40, 40), 15
        shift = torch.exp(1j * math.pi * torch.arange(-7, 8, dtype=torch.float64) * (1 / m - 1 / 40))
        crop = torch.fft.fftshift(torch.fft.fft2(image), dim=(-2, -1))[..., 13:28, 13:28] * shift[:, None] * shift
        expected = torch.fft.ifft2(torch.fft.ifftshift(crop, dim=(-2, -1))).real * (m / 40) ** 2
        torch.testing.assert_close(downsample(image, size=(m, m), domain="kspace"), expected)


class TestAntiAliasing:
    @pytest.mark.parametrize("factor", [2, 2 * ROOT2, 4])
    def test_kspace_removes_what_lies_above_the_new_nyquist(self, factor: float) -> None:
        n = 64
        m = low_resolution_size((n,), factor)[0]
        for k in (m // 2 + 1, n // 2 - 1):
            wave = torch.cos(2 * math.pi * k * torch.arange(n, dtype=torch.float64) / n + 0.3)
            low = downsample(wave.reshape(1, 1, 1, n), size=(m,), domain="kspace", spatial_axes=(1,))
            torch.testing.assert_close(low, torch.zeros_like(low), rtol=0, atol=1e-12)

    @pytest.mark.parametrize("factor", [2 * ROOT2, 3, 5])
    def test_image_domain_removes_the_fastest_wave(self, factor: float) -> None:
        wave = torch.cos(math.pi * torch.arange(60, dtype=torch.float64)).reshape(1, 1, 1, 60)
        low = downsample(wave, factor, spatial_axes=(1,))
        assert low[..., 1:-1].abs().max() < 0.12
        aliased = functional.interpolate(wave, (1, low.shape[-1]), mode="bilinear")
        assert aliased.abs().max() > 0.8

    def test_image_domain_is_the_anti_aliased_resize_of_torch(self) -> None:
        image = noise(2, 3, 37, 41)
        expected = functional.interpolate(image, (13, 14), mode="bilinear", antialias=True)
        torch.testing.assert_close(downsample(image, factor=2 * ROOT2 + 0.05), expected)


class TestVolumes:
    @pytest.mark.parametrize("domain", DOMAINS)
    def test_slices_never_mix(self, domain: str) -> None:
        volume = noise(2, 1, 24, 20, 5)
        result = downsample_upsample(volume, 2.5, domain)
        for i in range(5):
            torch.testing.assert_close(result[..., i], downsample_upsample(volume[..., i], 2.5, domain))

    @pytest.mark.parametrize("domain", DOMAINS)
    def test_items_and_channels_never_mix(self, domain: str) -> None:
        images = noise(2, 3, 24, 20)
        result = downsample(images, 2.5, domain=domain)
        torch.testing.assert_close(result[1:, 2:], downsample(images[1:, 2:], 2.5, domain=domain), rtol=0, atol=1e-15)

    @pytest.mark.parametrize("domain", DOMAINS)
    def test_all_three_axes(self, domain: str) -> None:
        volume = noise(1, 1, 16, 20, 12)
        low = downsample(volume, 2, domain=domain, spatial_axes=(0, 1, 2))
        assert low.shape == (1, 1, 8, 10, 6)
        in_plane_first = downsample(downsample(volume, 2, domain=domain), 2, domain=domain, spatial_axes=(2,))
        torch.testing.assert_close(low, in_plane_first)
        turned = downsample(volume.permute(0, 1, 4, 2, 3), 2, domain=domain, spatial_axes=(0, 1, 2))
        torch.testing.assert_close(turned, low.permute(0, 1, 4, 2, 3))
        assert upsample(low, (16, 20, 12), spatial_axes=(0, 1, 2)).shape == volume.shape

    @pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest-exact"])
    def test_upsample_is_the_resize_of_torch(self, mode: str) -> None:
        low = noise(1, 2, 9, 7)
        expected = functional.interpolate(low, (20, 31), mode=mode)
        torch.testing.assert_close(upsample(low, (20, 31), mode), expected)


class TestTensors:
    @pytest.mark.parametrize("device", DEVICES)
    @pytest.mark.parametrize("domain", DOMAINS)
    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float16, torch.bfloat16, torch.float32])
    def test_types_and_devices(self, device: str, domain: str, dtype: torch.dtype) -> None:
        image = (torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(1)) * 100).to(dtype)
        result = downsample_upsample(image.to(device), 2, domain)
        assert result.dtype == (dtype if dtype.is_floating_point else torch.float32)
        assert result.device.type == device
        expected = downsample_upsample(image.double(), 2, domain)
        tolerance = 1e-5 if result.dtype == torch.float32 else torch.finfo(dtype).eps
        torch.testing.assert_close(result.cpu().double(), expected, rtol=tolerance, atol=100 * tolerance)

    @pytest.mark.parametrize("domain", DOMAINS)
    def test_half_types_are_rounded_once(self, domain: str) -> None:
        image = noise(1, 1, 20, 20).bfloat16()
        expected = downsample_upsample(image.float(), 3, domain).bfloat16()
        torch.testing.assert_close(downsample_upsample(image, 3, domain), expected, rtol=0, atol=0)

    def test_input_is_untouched_even_where_nothing_changes(self) -> None:
        image = noise(1, 1, 8, 8)
        for result in (downsample(image, size=(8, 8)), upsample(image, (8, 8), "kspace")):
            torch.testing.assert_close(result, image, rtol=0, atol=0)
            assert result.data_ptr() != image.data_ptr()

    @pytest.mark.parametrize("domain", DOMAINS)
    def test_gradients(self, domain: str) -> None:
        image = noise(1, 1, 5, 4).requires_grad_()
        assert torch.autograd.gradcheck(lambda x: downsample_upsample(x, 2, domain, "bicubic"), image)


class TestErrors:
    image = torch.zeros(1, 1, 16, 16)

    @pytest.mark.parametrize("factor", [1, 0.5, math.nan, math.inf])
    def test_factor(self, factor: float) -> None:
        with pytest.raises(ValueError, match=rf"factor={factor!r} must be a finite number, more than 1"):
            downsample(self.image, factor)

    def test_factor_larger_than_the_image_allows(self) -> None:
        message = r"factor=16 is too large for an image of \(16, 16\) .*spatial_axes=\(0, 1\): \(1, 1\) would remain"
        with pytest.raises(ValueError, match=message):
            downsample(self.image, 16)
        with pytest.raises(ValueError, match=r"\(8, 1\) would remain"):
            downsample_upsample(torch.zeros(1, 1, 16, 2), 2)

    def test_domain(self) -> None:
        with pytest.raises(ValueError, match="domain='k-space' is not supported; allowed: 'image', 'kspace'"):
            downsample(self.image, 2, domain="k-space")

    def test_mode(self) -> None:
        with pytest.raises(ValueError, match="mode='trilinear' is not supported; allowed: 'bilinear'"):
            upsample(self.image, (32, 32), "trilinear")
        with pytest.raises(ValueError, match="mode='linear'"):
            downsample_upsample(self.image, 2, mode="linear")

    def test_neither_or_both_of_factor_and_size(self) -> None:
        with pytest.raises(ValueError, match="factor=None and size=None: exactly one"):
            downsample(self.image)
        with pytest.raises(ValueError, match=r"factor=2 and size=\(8, 8\): exactly one"):
            downsample(self.image, 2, (8, 8))

    def test_axes_of_the_image(self) -> None:
        with pytest.raises(ValueError, match=r"image of shape \(16, 16, 3\) must be \(B, C, H, W\) or"):
            downsample(torch.zeros(16, 16, 3), 2)
        with pytest.raises(ValueError, match=r"low of shape \(16, 16\) must be \(B, C, H, W\) or"):
            upsample(torch.zeros(16, 16), (32, 32))

    def test_complex(self) -> None:
        with pytest.raises(TypeError, match="image of type torch.complex64 must be real"):
            downsample(self.image.to(torch.complex64), 2)

    def test_spatial_axes(self) -> None:
        with pytest.raises(ValueError, match="spatial_axes=2 must be a whole number, from 0 to 1"):
            downsample(self.image, 2, spatial_axes=(0, 2))
        for axes in [(), (0, 0)]:
            with pytest.raises(ValueError, match="must name at least one axis, and each only once"):
                downsample(self.image, 2, spatial_axes=axes)

    def test_size(self) -> None:
        with pytest.raises(ValueError, match=r"size=\(8,\) must hold 2 numbers"):
            downsample(self.image, size=(8,))
        for size, shown in [((17, 8), 17), ((8, 1), 1), ((8.0, 8), 8.0)]:
            with pytest.raises(ValueError, match=f"size={shown} must be a whole number, from 2 to 16"):
                downsample(self.image, size=size)
        with pytest.raises(ValueError, match="size=15 must be a whole number, at least 16"):
            upsample(self.image, (15, 32))


def _matrix(operation: Callable[[torch.Tensor], torch.Tensor], size: tuple[int, ...]) -> torch.Tensor:
    """The matrix of a linear operation on images of this size."""
    pixels = math.prod(size)
    columns = operation(torch.eye(pixels, dtype=torch.float64).reshape(pixels, 1, *size))
    return columns.reshape(pixels, -1).T
