"""Masks on the grid of their image, whatever way their axes run, and others refused."""

from __future__ import annotations

import math
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage

from monai_cdiff.transforms import AlignMask, AlignMaskd

SIZE = (7, 6, 5)


def turn(angles: tuple[float, float, float]) -> np.ndarray:
    a, b, c = np.deg2rad(angles)
    x = np.array([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    y = np.array([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
    z = np.array([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    return z @ y @ x


def grid(angles: tuple[float, float, float] = (20, -35, 10)) -> np.ndarray:
    """An oblique affine with voxels of 0.6 x 0.7 x 3 mm."""
    affine = np.eye(4)
    affine[:3, :3] = turn(angles) @ np.diag([0.6, 0.7, 3.0])
    affine[:3, 3] = (-31.5, 12.25, 80.0)
    return affine


def image_of(affine: np.ndarray) -> MetaTensor:
    return MetaTensor(torch.zeros(2, *SIZE), affine=torch.tensor(affine), meta={"filename_or_obj": "image.dcm"})


def stored_along(axes: tuple[int, ...], flips: tuple[bool, ...], affine: np.ndarray, mask: np.ndarray) -> MetaTensor:
    """The mask stored along other axes, with the affine that this means: voxel by voxel at the same place."""
    index = np.stack(np.meshgrid(*map(np.arange, mask.shape), indexing="ij"), -1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    turned, places = mask.transpose(axes), world.transpose(*axes, 3)
    for axis, flip in enumerate(flips):
        if flip:
            turned, places = np.flip(turned, axis), np.flip(places, axis)
    own = np.eye(4)
    own[:3, 3] = places[0, 0, 0]
    own[:3, :3] = np.stack([places[1, 0, 0], places[0, 1, 0], places[0, 0, 1]], 1) - own[:3, 3:]
    return MetaTensor(torch.tensor(turned.copy())[None], affine=torch.tensor(own))


def random_mask() -> np.ndarray:
    return (np.random.RandomState(0).random_sample(SIZE) < 0.3).astype(np.uint8) * 255


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_every_way_to_store_a_mask(axes: tuple[int, ...]) -> None:
    mask, affine = random_mask(), grid()
    for flips in product([False, True], repeat=3):
        found = AlignMask()(stored_along(axes, flips, affine, mask), image_of(affine))
        assert found.dtype == torch.float32 and torch.equal(torch.as_tensor(found)[0], torch.tensor(mask).float())
        assert torch.equal(found.affine, torch.tensor(affine)) and found.meta["filename_or_obj"] == "image.dcm"


@pytest.mark.parametrize("angles", [(0, 0, 0), (44, 0, 0), (0, 46, 0), (30, 30, 30), (170, -100, 80)])
def test_oblique_grids(angles: tuple[float, float, float]) -> None:
    mask, affine = random_mask(), grid(angles)
    stored = stored_along((2, 0, 1), (True, False, True), affine, mask)
    stored.affine = stored.affine.float().double()  # as NIfTI rounds it
    assert torch.equal(torch.as_tensor(AlignMask()(stored, image_of(affine)))[0], torch.tensor(mask).float())


def moved(**changes: np.ndarray | float) -> MetaTensor:
    affine = grid()
    if "scale" in changes:
        affine[:3, :3] = affine[:3, :3] * changes["scale"]
    if "shift" in changes:
        affine[:3, 3] += affine[:3, :3] @ np.asarray(changes["shift"])
    if "shear" in changes:
        affine[:3, 0] += affine[:3, 2] * changes["shear"]
    if "turn" in changes:
        affine[:3, :3] = turn((0, 0, float(changes["turn"]))) @ affine[:3, :3]
    return MetaTensor(torch.ones(1, *SIZE), affine=torch.tensor(affine))


@pytest.mark.parametrize(
    "changes",
    [
        {"shift": (0, 0, 1.0)},
        {"shift": (0.2, 0, 0)},
        {"shift": (0, -0.15, 0)},
        {"scale": np.array([2.0, 1.0, 1.0])},
        {"scale": np.array([1.0, 1.0, 2.0])},
        {"scale": np.array([3.0, 3.0, 3.0])},
        {"scale": np.array([1.0, 1.05, 1.0])},
        {"scale": np.array([0.5, 1.0, 1.0])},
        {"shear": 0.03},
        {"turn": 5.0},
        {"turn": 40.0},
    ],
)
def test_masks_of_another_grid(changes: dict) -> None:
    with pytest.raises(ValueError, match="mask and image do not lie on one grid"):
        AlignMask()(moved(**changes), image_of(grid()))


@pytest.mark.parametrize("changes", [{"shift": (0.05, 0, 0)}, {"scale": np.array([1.005, 1.0, 1.0])}])
def test_less_than_a_tenth_of_a_voxel_is_the_same_grid(changes: dict) -> None:
    assert AlignMask()(moved(**changes), image_of(grid())).shape == (1, *SIZE)


def test_the_message_tells_where_the_mask_lies() -> None:
    with pytest.raises(ValueError, match=r"up to 2 apart; the first voxel of the mask is at \[0.0, 0.0, 2.0\]"):
        AlignMask()(moved(shift=(0, 0, 2.0)), image_of(grid()))
    between = MetaTensor(torch.ones(1, *SIZE), affine=torch.tensor(np.diag([1.0, 1, 1, 1])))
    between.affine[:3, 1] = torch.tensor([1.0, 0.1, 0.0], dtype=torch.float64)
    image = MetaTensor(torch.ones(1, *SIZE), affine=torch.eye(4, dtype=torch.float64))
    with pytest.raises(ValueError, match="an axis of the mask lies between two of the image"):
        AlignMask()(between, image)


@pytest.mark.parametrize("which", ["mask", "image"])
@pytest.mark.parametrize("value", [0.0, math.nan])
def test_an_affine_without_an_inverse(which: str, value: float) -> None:
    mask, image = moved(), image_of(grid())
    (mask if which == "mask" else image).affine[:3, 1] = value
    with pytest.raises(ValueError, match=f"the affine of the {which}, .* is no invertible matrix"):
        AlignMask()(mask, image)


def test_a_mask_of_another_size() -> None:
    cropped = MetaTensor(torch.ones(1, 7, 6, 4), affine=torch.tensor(grid()))
    message = "mask of 7 x 6 x 4 does not fit the image of 7 x 6 x 5 with 2 channels; it must have one channel"
    with pytest.raises(ValueError, match=message):
        AlignMask()(cropped, image_of(grid()))
    with pytest.raises(ValueError, match="mask of 7 x 6 x 5 with 2 channels does not fit"):
        AlignMask()(MetaTensor(torch.ones(2, *SIZE), affine=torch.tensor(grid())), image_of(grid()))
    with pytest.raises(ValueError, match="mask of 6 x 7 does not fit the image of 7 x 6"):
        AlignMask()(torch.ones(1, 6, 7), torch.zeros(1, 7, 6))
    with pytest.raises(ValueError, match="mask of 7 x 6 x 2 does not fit the image of 7 x 6;"):
        AlignMask()(torch.ones(1, 7, 6, 2), torch.zeros(1, 7, 6))
    with pytest.raises(ValueError, match="mask of 7 x 6 does not fit the image of 7 x 6 x 2;"):
        AlignMask()(torch.ones(1, 7, 6), torch.zeros(1, 7, 6, 2))
    with pytest.raises(ValueError, match=r"img of shape \(7, 6\) must be"):
        AlignMask()(torch.ones(7, 6), torch.zeros(1, 7, 6))
    with pytest.raises(ValueError, match="mask holds 7 NaN or infinite values of 42"):
        AlignMask()(torch.zeros(1, 7, 6).index_fill(2, torch.tensor([0]), math.inf), torch.zeros(1, 7, 6))


def test_pictures_go_by_their_size() -> None:
    mask = MetaTensor(torch.eye(6)[None], affine=torch.tensor(grid()))
    image = MetaTensor(torch.zeros(1, 6, 6), affine=torch.eye(4))
    assert torch.equal(torch.as_tensor(AlignMask()(mask, image)), torch.eye(6)[None])
    assert torch.equal(torch.as_tensor(AlignMask()(mask[..., None], image)), torch.eye(6)[None])
    thin = MetaTensor(torch.zeros(1, 6, 6, 1), affine=torch.tensor(grid()))
    assert torch.equal(torch.as_tensor(AlignMask()(torch.eye(6)[None], thin)), torch.eye(6)[None, ..., None])


def test_arrays_have_no_place() -> None:
    mask = random_mask()
    assert torch.equal(torch.as_tensor(AlignMask()(mask[None], torch.zeros(1, *SIZE)))[0], torch.tensor(mask).float())


def test_the_inputs_stay() -> None:
    mask, image = stored_along((1, 0, 2), (True, True, False), grid(), random_mask()), image_of(grid())
    before, affine = torch.as_tensor(mask).clone(), mask.affine.clone()
    found = AlignMask()(mask, image)
    found += 1
    found.meta["filename_or_obj"] = "other"
    assert torch.equal(torch.as_tensor(mask), before) and torch.equal(mask.affine, affine)
    assert image.meta["filename_or_obj"] == "image.dcm" and (image == 0).all()


def test_dictionary() -> None:
    data = {"hole": stored_along((0, 1, 2), (True, False, False), grid(), random_mask()), "image": image_of(grid())}
    found = AlignMaskd("hole", ref_key="image")(data)
    assert torch.equal(torch.as_tensor(found["hole"])[0], torch.tensor(random_mask()).float())
    assert found["image"] is data["image"]
    with pytest.raises(KeyError, match="ref_key='picture' is not in the data, which has"):
        AlignMaskd("hole", ref_key="picture")(data)
    with pytest.raises(KeyError, match="mask"):
        AlignMaskd("mask", ref_key="image")(data)
    assert AlignMaskd("mask", ref_key="image", allow_missing_keys=True)(data)["hole"] is data["hole"]


def test_real_affines(shared_data: Path) -> None:
    load = LoadImage("NibabelReader", image_only=True, ensure_channel_first=True)
    image = load(shared_data / "msd_hippocampus" / "images" / "hippocampus_015.nii.gz")
    mask = (image[0] > image.mean()).numpy().astype(np.uint8)
    stored = stored_along((1, 2, 0), (False, True, True), image.affine.numpy().astype(float), mask)
    assert torch.equal(torch.as_tensor(AlignMask()(stored, image))[0], torch.tensor(mask).float())


def test_an_empty_mask_is_said(caplog: pytest.LogCaptureFixture) -> None:
    image = torch.zeros(1, 4, 3)
    AlignMask()(torch.ones(1, 4, 3), image)
    assert not caplog.records
    AlignMask()(torch.zeros(1, 4, 3), image)
    assert "image: the mask is 0 everywhere, so nothing is filled and the image comes out as it was." in caplog.text
