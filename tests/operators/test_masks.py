"""Masks that are drawn, always within their area, and what fills an image under a mask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from monai_cdiff.operators import check_area, check_shapes, draw_mask, fill_masked
from monai_cdiff.operators.masks import _grow


def drawn(size: tuple[int, int], seed: int = 0, **kwargs: Any) -> torch.Tensor:
    return draw_mask(size, np.random.RandomState(seed), **kwargs)


def picture(mask: torch.Tensor) -> str:
    return "\n".join("".join(".#"[int(value)] for value in row) for row in mask)


BOX = """\
.......######...
....#########...
....###.........
....###.........
....###.........
................
................
######..........
######..........
....##..........
....##..........
....##.........."""

STROKE = """\
................
..............#.
...........#####
..##.......#####
.###........####
###.........####
##............#.
#...........##..
...........##...
...........##...
...........##...
..........###..."""


@pytest.mark.parametrize(("shape", "expected"), [("box", BOX), ("stroke", STROKE)])
def test_golden_masks(shape: str, expected: str) -> None:
    """Made by ``RandomState(5)``, whose streams NumPy never changes, as the law of masks was first written."""
    assert picture(drawn((12, 16), 5, area=(0.2, 0.3), shapes=[shape])) == expected


@settings(max_examples=150, deadline=None)
@given(
    size=st.tuples(st.integers(8, 70), st.integers(8, 70)),
    area=st.tuples(st.floats(0.02, 0.9), st.floats(0.0, 0.3)).map(lambda a: (a[0], min(0.9, a[0] + a[1]))),
    shape=st.sampled_from(["box", "stroke"]),
    max_pieces=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_area_is_met(
    size: tuple[int, int], area: tuple[float, float], shape: str, max_pieces: int, seed: int
) -> None:
    check_met(size, area, drawn(size, seed, area=area, shapes=[shape], max_pieces=max_pieces))


@pytest.mark.parametrize("size", [(8, 8), (8, 300), (500, 300)])
@pytest.mark.parametrize("area", [(0.1, 0.1), (0.07, 0.07), (0.9, 0.9), (0.05, 0.25), (0.01, 0.02)])
@pytest.mark.parametrize("shape", ["box", "stroke"])
def test_the_area_is_met_at_the_ends(size: tuple[int, int], area: tuple[float, float], shape: str) -> None:
    for seed in range(3 if size[0] == 500 else 10):
        check_met(size, area, drawn(size, seed, area=area, shapes=[shape]))


def check_met(size: tuple[int, int], area: tuple[float, float], mask: torch.Tensor) -> None:
    assert tuple(mask.shape) == size and mask.dtype == torch.bool
    count, low, high = int(mask.sum()), *(share * mask.numel() for share in area)
    possible = [n for n in range(1, mask.numel()) if low - 1e-5 <= n <= high + 1e-5]
    if possible:
        assert possible[0] <= count <= possible[-1]
    else:
        assert abs(count - (low + high) / 2) <= 0.5 + 1e-5 or count == 1


def test_where_no_stroke_fits_the_mask_grows_around_one_pixel() -> None:
    """One pixel is less than the thinnest stroke; more are added on all four sides, the upper ones first."""
    assert int(drawn((8, 8), area=(0.01, 0.02), shapes="stroke").sum()) == 1
    found = drawn((8, 8), 2, area=(0.07, 0.08), shapes="stroke")
    assert int(found.sum()) == 5 and pieces(found) == 1
    for least, expected in ((3, [(1, 3), (2, 2), (2, 3)]), (5, [(1, 3), (2, 2), (2, 3), (2, 4), (3, 3)])):
        mask = np.zeros((5, 6), dtype=bool)
        mask[2, 3] = True
        _grow(mask, least, np.random.RandomState(0))
        assert np.argwhere(mask).tolist() == [list(place) for place in expected]
    corner = np.zeros((3, 3), dtype=bool)
    corner[0, 0] = True
    _grow(corner, 6, np.random.RandomState(0))
    assert corner.tolist() == [[True, True, True], [True, True, False], [True, False, False]]


def test_the_area_is_drawn_uniformly() -> None:
    shares = np.array([float(drawn((64, 64), n, area=(0.1, 0.3), shapes=["box"]).double().mean()) for n in range(400)])
    assert 0.1 <= shares.min() < 0.105 and 0.285 < shares.max() <= 0.3
    assert abs(shares.mean() - 0.2) < 4 * (0.2 / 12**0.5) / 20 + 0.01  # boxes may stop a little below what is wanted
    assert abs(shares.std() - 0.2 / 12**0.5) < 0.01


def pieces(mask: torch.Tensor) -> int:
    return int(ndimage.label(mask.numpy())[1])


def is_box(mask: torch.Tensor) -> bool:
    rows, columns = torch.nonzero(mask, as_tuple=True)
    return bool(mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all())


def test_one_box_is_a_box_no_more_than_twice_as_long() -> None:
    ratios = []
    for seed in range(100):
        mask = drawn((64, 64), seed, area=(0.05, 0.1), shapes=["box"], max_pieces=1)
        if is_box(mask):  # where the least area is asked for, a whole number of rows may miss it, and a dab is added
            ratios.append(float(mask.any(1).sum() / mask.any(0).sum()))
    assert len(ratios) > 90
    assert 0.4 < min(ratios) < 0.55 and 1.8 < max(ratios) < 2.2
    assert 0.3 < np.mean(np.array(ratios) > 1) < 0.7


def test_boxes_and_strokes_are_as_likely_and_lie_anywhere() -> None:
    masks = [drawn((48, 48), seed, area=(0.05, 0.1), max_pieces=1) for seed in range(400)]
    assert abs(sum(map(is_box, masks)) - 200) < 4 * 10
    where = torch.stack(masks).double().mean(0)
    assert where.min() > 0 and where[16:32, 16:32].max() < 0.3
    for turned in (where.flip(0), where.flip(1), where.T):  # no side is preferred
        assert abs(float(where[:24].mean() - turned[:24].mean())) < 0.02


def test_the_number_of_pieces() -> None:
    area = (0.005, 0.02)
    counts = [pieces(drawn((128, 128), seed, area=area, shapes=["box"], max_pieces=4)) for seed in range(200)]
    assert set(counts) == {1, 2, 3, 4}
    assert all(counts.count(n) > 25 for n in (1, 2, 3, 4))


def test_strokes_are_connected_and_long() -> None:
    for seed in range(30):
        mask = drawn((96, 96), seed, area=(0.05, 0.06), shapes="stroke", max_pieces=1)
        assert pieces(mask) <= 2  # a stroke, and at most one dab to reach the area
        depth = ndimage.distance_transform_edt(np.pad(mask.numpy(), 1))
        assert depth.max() < 0.35 * math.sqrt(float(mask.sum()))  # a blob of this area is 0.56 deep


def test_no_shape_but_the_asked() -> None:
    assert not any(is_box(drawn((64, 64), seed, shapes=["stroke"], max_pieces=1)) for seed in range(20))
    assert check_shapes("box") == ("box",)
    assert check_shapes(["stroke", "box"]) == ("stroke", "box")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": (7, 64)}, "size=7 must be a whole number, at least 8"),
        ({"size": (64, 7.5)}, "size=7.5 must be a whole number, at least 8"),
        ({"area": (0.0, 0.1)}, "area=0.0 must be a finite number, more than 0 and at most 0.9"),
        ({"area": (0.2, 0.1)}, "area=0.1 must be a finite number, at least 0.2 and at most 0.9"),
        ({"area": (0.2, 0.95)}, "area=0.95 must be"),
        ({"area": 0.2}, "area=0.2 must be the lowest and the highest masked share"),
        ({"area": (0.1, 0.2, 0.3)}, r"area=\(0.1, 0.2, 0.3\) must be the lowest"),
        ({"area": "ab"}, "area='ab' must be the lowest"),
        ({"area": (0.001, 0.005)}, r"area=\(0.001, 0.005\) of size=\(8, 8\) is at most 0.32 pixels"),
        ({"shapes": ["circle"]}, "shapes='circle' is not supported; allowed: 'box', 'stroke'"),
        ({"shapes": []}, r"shapes=\[\] must hold at least one of box, stroke"),
        ({"max_pieces": 0}, "max_pieces=0 must be a whole number, at least 1"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drawn(**{"size": (8, 8), **arguments})


def test_area_is_returned_as_numbers() -> None:
    assert check_area([1 / 8, "0.5"]) == (0.125, 0.5)


def filled(values: Sequence[Any], mask: Sequence[Any], fill: float | str = "mean") -> torch.Tensor:
    return fill_masked(torch.tensor(values), torch.tensor(mask, dtype=torch.bool), fill)


def test_the_mean_of_the_measured() -> None:
    assert filled([[[1.0, 3.0, 100.0]]], [[[0, 0, 1]]]).flatten().tolist() == [1, 3, 2]
    assert filled([[[1, 3, 100]]], [[[0, 0, 1]]]).dtype == torch.float32
    assert filled([[[1.0, 3.0, 100.0]]], [[[0, 0, 1]]], -7).flatten().tolist() == [1, 3, -7]


def test_channels_and_slices_have_means_of_their_own() -> None:
    image = torch.zeros(2, 4, 3, 3)
    image[0], image[1] = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([10.0, 20.0, 40.0])
    mask = torch.zeros(1, 4, 3, 3, dtype=torch.bool)
    mask[0, 1] = True
    original, image = image.clone(), image.masked_fill(mask, 1e6)
    assert torch.equal(fill_masked(image, mask), original)
    flat = fill_masked(image[..., 2], mask[..., 2])
    assert torch.equal(flat, original[..., 2])


def test_a_slice_that_is_wholly_masked_takes_the_mean_of_the_volume() -> None:
    image = torch.tensor([1.0, 2.0, 6.0]).expand(1, 4, 5, 3).clone()
    mask = torch.zeros(1, 4, 5, 3, dtype=torch.bool)
    mask[..., 1], mask[0, :2, :, 0] = True, True
    found = fill_masked(image, mask)
    assert (found[..., 0] == 1).all() and (found[..., 2] == 6).all()
    torch.testing.assert_close(found[..., 1], torch.full((1, 4, 5), (10 * 1 + 20 * 6) / 30))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("fill", ["mean", "harmonic", 0.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_what_is_masked_does_not_leak(value: float, fill: float | str, dtype: torch.dtype) -> None:
    image = torch.rand(2, 8, 6, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    mask = torch.zeros(1, 8, 6, 3, dtype=torch.bool)
    mask[0, 2:5, 1:3, :2] = True
    mask[..., 1] = True
    broken = image.masked_fill(mask, value)
    found = fill_masked(broken, mask, fill)
    assert found.dtype == dtype and torch.isfinite(found).all()
    assert torch.equal(found, fill_masked(image, mask, fill))
    assert torch.equal(found[~mask.expand_as(found)], image[~mask.expand_as(image)])


def test_the_mean_of_large_numbers_is_exact() -> None:
    image = torch.full((1, 1000, 1000), 4095.0)
    mask = torch.zeros(1, 1000, 1000, dtype=torch.bool)
    mask[0, 0, 0] = True
    assert fill_masked(image, mask)[0, 0, 0] == 4095


def test_errors_of_filling() -> None:
    image, mask = torch.rand(1, 4, 4), torch.zeros(1, 4, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"mask of shape \(1, 4, 4\) covers the whole image"):
        fill_masked(image, ~mask)
    with pytest.raises(ValueError, match=r"mask of shape \(1, 4, 5\), torch.bool, must be bool .* \(1, 4, 4\)"):
        fill_masked(image, torch.zeros(1, 4, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match="torch.uint8, must be bool"):
        fill_masked(image, mask.byte())
    with pytest.raises(ValueError, match="fill='median' is not supported; allowed: 'mean', 'harmonic'"):
        fill_masked(image, mask, "median")
    with pytest.raises(ValueError, match="fill=nan must be a finite number"):
        fill_masked(image, mask, math.nan)
    with pytest.raises(ValueError, match="image outside the mask holds 1 NaN or infinite values of 16"):
        fill_masked(image.masked_fill(torch.arange(16).reshape(1, 4, 4) == 5, math.nan), mask)
