"""Acutance ratio: gradients of known size, and what blur and noise do to them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import GaussianSmooth

from monai_cdiff.metrics import AcutanceMetric


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    """Smooth random images, so that noise is sharper than they are."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.avg_pool2d(noise, 5, stride=1, padding=2)


@pytest.mark.parametrize("factor", [1.0, 0.5, -3.0])
def test_scaling_scales_it_and_a_constant_does_not_matter(factor: float) -> None:
    original = images(2, 1, 16, 12)
    values: Any = AcutanceMetric()(factor * original + 7, original)
    torch.testing.assert_close(values, torch.full((2, 1), abs(factor)), rtol=1e-4, atol=0)


def test_a_plane_of_known_slope() -> None:
    """Central differences of a plane are its slope everywhere, borders included: length (3, 4) over (0, 1)."""
    rows, columns = torch.meshgrid(torch.arange(5.0), torch.arange(7.0), indexing="ij")
    values: Any = AcutanceMetric()((3 * rows + 4 * columns)[None, None], columns[None, None])
    assert values.item() == pytest.approx(5)


def test_differences_are_central() -> None:
    """An impulse of 1 at x of a row 0 0 1 0 0 has slopes 0 1/2 0 -1/2 0, in each of three equal rows."""
    impulse, ramp = torch.tensor([0.0, 0, 1, 0, 0]), torch.arange(5.0)
    values: Any = AcutanceMetric()(impulse.expand(1, 1, 3, 5), ramp.expand(1, 1, 3, 5))
    assert values.item() == pytest.approx(1 / 5)


def test_blur_is_below_1_and_noise_above() -> None:
    original = images(1, 1, 32, 32)
    blurred = torch.as_tensor(GaussianSmooth(sigma=1.5)(original[0]))[None]
    noisy = original + 0.3 * torch.randn(original.shape, generator=torch.Generator().manual_seed(1))
    metric: Any = AcutanceMetric()
    assert metric(original, original).item() == 1
    assert metric(blurred, original).item() < 0.8
    assert metric(noisy, original).item() > 1.5


def test_equals_the_ratio_of_whole_image_gradients() -> None:
    """The definition behind the tables of docs/samplers.md, written out on its own."""
    restored, original = images(3, 1, 9, 11, seed=1), images(3, 1, 9, 11)

    def acutance(image: torch.Tensor) -> torch.Tensor:
        rows, columns = torch.gradient(image, dim=(-2, -1))
        return (rows.square() + columns.square()).sqrt().flatten(1).mean(1)

    values: Any = AcutanceMetric(spatial_dims=2)(restored, original)
    assert torch.equal(values[:, 0], acutance(restored) / acutance(original))


def test_volumes_are_measured_in_their_planes() -> None:
    """Steps from slice to slice do not count; the mean runs over all slices."""
    original = images(1, 2, 8, 9)[..., None].expand(-1, -1, -1, -1, 4)
    gains = torch.tensor([1.0, 2.0, 3.0, 6.0])
    values: Any = AcutanceMetric(spatial_dims=3)(gains * original + 5 * torch.arange(4.0), original)
    torch.testing.assert_close(values, torch.full((1, 2), 3.0), rtol=1e-4, atol=0)


def test_a_flat_original_is_left_out() -> None:
    original = images(3, 1, 8, 8)
    original[1] = 0.5
    metric: Any = AcutanceMetric(get_not_nans=True)
    values = metric(2 * images(3, 1, 8, 8), original)
    assert values.isnan().flatten().tolist() == [False, True, False]
    mean, counted = metric.aggregate()
    assert (mean.item(), counted.item()) == (pytest.approx(2, rel=1e-4), 2)


def test_if_all_are_flat_monais_mean_is_0_of_0() -> None:
    metric: Any = AcutanceMetric(get_not_nans=True)
    assert metric(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)).isnan().all()
    assert [value.item() for value in metric.aggregate()] == [0, 0]


def test_reductions_and_lists_as_monais() -> None:
    original = images(2, 2, 8, 8)
    gains = torch.tensor([[1.0, 2.0], [3.0, 6.0]])[..., None, None]
    metric: Any = AcutanceMetric()
    metric(list(gains * original), list(original))
    assert metric.aggregate().item() == pytest.approx(3, rel=1e-4)
    torch.testing.assert_close(metric.aggregate("mean_batch"), torch.tensor([2.0, 4.0]), rtol=1e-4, atol=0)
    torch.testing.assert_close(metric.aggregate("none"), gains[..., 0, 0], rtol=1e-4, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int16])
def test_other_types_are_computed_in_float32(dtype: torch.dtype) -> None:
    ramp = torch.arange(6.0).expand(1, 1, 4, 6)
    values: Any = AcutanceMetric()((2 * ramp).to(dtype), ramp.to(dtype))
    assert values.dtype == torch.float32 and values.item() == 2


def test_meta_tensors() -> None:
    original = MetaTensor(images(2, 1, 8, 8), meta={"subject": ["a", "b"]})
    metric: Any = AcutanceMetric()
    metric(original * 2, original)
    assert metric.aggregate().item() == pytest.approx(2)


@pytest.mark.parametrize("shape, spatial_dims", [((1, 1, 8), None), ((1, 1, 8, 8), 3), ((1, 1, 8, 8, 3), 2)])
def test_the_number_of_axes_is_checked(shape: tuple[int, ...], spatial_dims: int | None) -> None:
    with pytest.raises(ValueError, match=r"y has shape \(1, 1, 8.*spatial_dims"):
        AcutanceMetric(spatial_dims)(torch.ones(shape), torch.ones(shape))


def test_errors() -> None:
    image = images(1, 1, 8, 8)
    with pytest.raises(ValueError, match="spatial_dims=4 must be a whole number, from 2 to 3"):
        AcutanceMetric(spatial_dims=4)
    with pytest.raises(ValueError, match="'median'"):
        AcutanceMetric(reduction="median")
    with pytest.raises(ValueError, match=r"y has shape \(1, 1, 8, 1\).*H, W >= 2"):
        AcutanceMetric()(image[..., :1], image[..., :1])
    with pytest.raises(ValueError, match="shapes dont match"):
        AcutanceMetric()(image, image[..., :7])
    with pytest.raises(ValueError, match="y_pred holds 64 NaN"):
        AcutanceMetric()(image * torch.nan, image)
    with pytest.raises(ValueError, match="y holds 64 NaN"):
        AcutanceMetric()(image, image * torch.nan)
