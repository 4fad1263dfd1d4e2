"""Originals on coarser grids, from which a network for super-resolution learns more voxel sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from contracts.transform_contract import TransformContract, assert_equal, make_image
from monai_cdiff.operators import downsample
from monai_cdiff.transforms import DownsampleInPlane, DownsampleInPlaned


class TestDownsampleInPlane(TransformContract):
    array_class = DownsampleInPlane
    dictionary_class = DownsampleInPlaned
    arguments = {"factor": 1.25}
    changed_meta = ("affine",)

    def test_values_are_those_of_the_operator(self) -> None:
        found = DownsampleInPlane(1.5)(make_image(3))
        assert_equal(found, downsample(make_image(3).as_tensor()[None], 1.5)[0])

    @pytest.mark.parametrize("factor", [1.25, 2, 2.7])
    def test_outer_corners_stay_where_they_are(self, factor: float) -> None:
        image = make_image(3)
        found = DownsampleInPlane(factor)(image)
        assert found.shape[1:3] == (round(24 / factor), round(18 / factor)) and found.shape[3] == 5
        for corner in np.ndindex(2, 2, 2):
            places = [[c * n - 0.5 for c, n in zip(corner, one.shape[1:])] for one in (image, found)]
            before, after = (one.affine.numpy() @ [*place, 1] for one, place in zip((image, found), places))
            np.testing.assert_allclose(after, before, atol=1e-6)

    def test_1_leaves_the_image_as_it_is(self) -> None:
        image = make_image(3)
        found = DownsampleInPlane(1)(image)
        assert_equal(found.as_tensor(), image.as_tensor())
        assert_equal(found.affine, image.affine)

    def test_each_item_has_its_own(self) -> None:
        coarsen = DownsampleInPlaned("image", "coarsening")
        assert coarsen({"image": make_image(2), "coarsening": 2.0})["image"].shape == (2, 12, 9)
        with pytest.raises(KeyError, match="factor='coarsening' is not in the data"):
            coarsen({"image": make_image(2)})
        with pytest.raises(ValueError, match="factor=0.5 must be"):
            coarsen({"image": make_image(2), "coarsening": 0.5})

    @pytest.mark.parametrize("factor", [0.99, 0, float("nan"), "x", None])
    def test_wrong_factors(self, factor: Any) -> None:
        with pytest.raises(ValueError, match=f"factor={factor!r} must be"):
            DownsampleInPlane(factor)

    def test_wrong_number_of_axes(self) -> None:
        with pytest.raises(ValueError, match=r"img of shape \(8, 8\) must be"):
            self.make()(torch.zeros(8, 8))
