"""Restorations without a network, against images whose restoration is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_cdiff.evaluation import CLASSICAL_METHODS, Case, remove_impulses
from monai_cdiff.operators import downsample, upsample

SIZE = 32


def case(condition: np.ndarray, mask: np.ndarray | None = None, low_res: np.ndarray | None = None) -> Case:
    return Case(0, "a", 0, None, "a", np.zeros_like(condition), condition, mask, low_res, "0")


def smooth() -> np.ndarray:
    """A smooth image within 0.2 to 0.8."""
    x, y = np.meshgrid(np.linspace(0, np.pi, SIZE), np.linspace(0, np.pi, SIZE), indexing="ij")
    return (0.5 + 0.3 * np.sin(2 * x) * np.cos(y)).astype(np.float32)


def noisy(impulses: bool = True) -> np.ndarray:
    draws = np.random.default_rng(0)
    image = np.clip(smooth() + draws.normal(0, 0.05, (SIZE, SIZE)), 0.01, 0.99)
    if impulses:
        hit = draws.random((SIZE, SIZE)) < 0.05
        image[hit] = draws.integers(0, 2, int(hit.sum()))
    return image.astype(np.float32)


def error(image: np.ndarray) -> float:
    return float(np.sqrt(np.mean((image - smooth()) ** 2)))


def test_impulses_go_and_nothing_else_changes() -> None:
    with_impulses, without = noisy(), noisy(impulses=False)
    cleaned = remove_impulses(with_impulses)
    hit = (with_impulses == 0) | (with_impulses == 1)
    assert np.array_equal(cleaned[~hit], with_impulses[~hit]) and hit.sum() > 20
    assert np.abs(cleaned[hit] - smooth()[hit]).max() < 0.2
    assert error(cleaned) < 1.1 * error(without)


def test_impulses_of_a_constant_image() -> None:
    assert np.array_equal(remove_impulses(np.ones((4, 4))), np.ones((4, 4)))


def test_a_pixel_whose_neighbours_were_all_hit() -> None:
    image = np.full((9, 9), 0.5, dtype=np.float32)
    image[:7, :7] = 1.0
    image[8, 8] = 0.0
    assert np.array_equal(remove_impulses(image), np.full((9, 9), 0.5, dtype=np.float32))


@pytest.mark.parametrize("name", ["median", "nlm", "tv", "wavelet"])
def test_denoising_cuts_the_error(name: str) -> None:
    restored = CLASSICAL_METHODS[name].function(case(noisy()))
    assert restored.dtype == np.float32 and restored.shape == (SIZE, SIZE)
    assert error(restored) < 0.6 * error(remove_impulses(noisy()))


@pytest.mark.parametrize("name", ["median", "nlm", "tv", "wavelet", "biharmonic"])
def test_volumes_go_slice_by_slice(name: str) -> None:
    image, mask = noisy(), np.zeros((SIZE, SIZE), dtype=np.float32)
    mask[10:14, 10:14] = 1
    volume, masks = np.stack([image, image.T], axis=-1), np.stack([mask, mask.T], axis=-1)
    function = CLASSICAL_METHODS[name].function
    restored = function(case(volume, masks))
    assert np.array_equal(restored[..., 0], function(case(image, mask)))
    assert np.array_equal(restored[..., 1], function(case(image.T.copy(), mask.T.copy())))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["median", "nlm", "tv", "wavelet"])
def test_a_constant_image_stays(name: str) -> None:
    image = np.full((16, 16), 0.5, dtype=np.float32)
    assert np.allclose(CLASSICAL_METHODS[name].function(case(image)), image)


def test_biharmonic_filling_continues_a_plane() -> None:
    """A linear image solves the biharmonic equation."""
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    plane = (0.01 * x + 0.005 * y).astype(np.float32)
    mask = np.zeros_like(plane)
    mask[8:20, 10:18] = 1
    restored = CLASSICAL_METHODS["biharmonic"].function(case(np.where(mask > 0, 0.4, plane).astype(np.float32), mask))
    assert np.abs(restored - plane).max() < 1e-3
    assert np.array_equal(restored[mask == 0], plane[mask == 0])


def test_bicubic_is_that_of_the_operators() -> None:
    image = torch.from_numpy(smooth())[None, None]
    low_res = downsample(image, 4.0)
    restored = CLASSICAL_METHODS["bicubic"].function(case(smooth(), None, low_res[0, 0].numpy()))
    assert np.array_equal(restored, upsample(low_res, (SIZE, SIZE), "bicubic")[0, 0].numpy())
    assert error(restored) < error(upsample(low_res, (SIZE, SIZE), "bilinear")[0, 0].numpy())
