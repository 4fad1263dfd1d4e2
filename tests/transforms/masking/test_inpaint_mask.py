"""Masks as transforms: by key for test images, drawn for training images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Randomizable

import monai_cdiff.transforms
from contracts.keyed_contract import KeyedContract
from contracts.transform_contract import TransformContract, assert_equal, make_image
from monai_cdiff.operators import draw_mask
from monai_cdiff.transforms import InpaintMask, InpaintMaskd, RandInpaintMask, RandInpaintMaskd

ERRORS = [
    ({"area": (0.3, 0.2)}, "area=0.2 must be a finite number, at least 0.3 and at most 0.9"),
    ({"shapes": "circle"}, "shapes='circle' is not supported; allowed: 'box', 'stroke'"),
    ({"max_pieces": 1.5}, "max_pieces=1.5 must be a whole number, at least 1"),
]


class TestInpaintMask(KeyedContract, TransformContract):
    array_class = InpaintMask
    dictionary_class = InpaintMaskd
    arguments = {"area": (0.1, 0.3)}
    always_float32 = True
    result_key = "mask"

    def make_dictionary(self, keys: Any = "image", seed: int = 0, **overrides: Any) -> Any:
        result = "image" if self.contract else "mask"
        return super().make_dictionary(keys, seed, **{"mask_key": result, **overrides})

    @pytest.fixture(autouse=True)
    def _result(self, request: pytest.FixtureRequest) -> None:
        """What TransformContract asks of the image holds for the mask, which takes its place there."""
        self.contract = request.node.originalname in vars(TransformContract)

    def test_golden_masks(self) -> None:
        """Made by seed 3 and key "patient-1"; see tests/operators/test_masks.py."""
        mask = InpaintMask((0.2, 0.3), seed=3)(torch.zeros(1, 8, 8, 2), key="patient-1")
        rows = [[int("".join(str(int(v)) for v in row), 2) for row in mask[0, ..., z]] for z in range(2)]
        assert rows == [
            [0b0, 0b0, 0b00001000, 0b00011100, 0b00001000, 0b00100000, 0b01110010, 0b00100111],
            [0b0, 0b00001000, 0b00011100, 0b00111000, 0b01100000, 0b11000000, 0b11000000, 0b01000000],
        ]

    @pytest.mark.parametrize("spatial_dims", [2, 3])
    def test_one_channel_of_zeros_and_ones(self, spatial_dims: int) -> None:
        mask = self.make()(make_image(spatial_dims))
        assert mask.shape == (1, *make_image(spatial_dims).shape[1:])
        assert set(mask.unique().tolist()) == {0, 1} and mask.is_contiguous()
        slices = mask.reshape(24 * 18, -1).mean(0)
        assert 0.1 <= float(slices.min()) and float(slices.max()) <= 0.3

    def test_an_image_that_is_too_small(self) -> None:
        for form in (self.make(), RandInpaintMask()):
            with pytest.raises(ValueError, match="size=7 must be a whole number, at least 8"):
                form(torch.zeros(1, 7, 9))
            with pytest.raises(ValueError, match=r"img of shape \(8, 8\) must be"):
                form(torch.zeros(8, 8))

    @pytest.mark.parametrize(("arguments", "message"), [*ERRORS, ({"seed": 1.5}, "seed=1.5 must be a whole number")])
    def test_arguments_out_of_range(self, arguments: dict, message: str) -> None:
        for make in (InpaintMask, lambda **kwargs: InpaintMaskd("image", **kwargs)):
            with pytest.raises(ValueError, match=message):
                make(**arguments)


class TestRandInpaintMask:
    def test_is_the_operator_of_what_was_drawn(self) -> None:
        transform = RandInpaintMask((0.1, 0.2), ["box"], 2).set_random_state(seed=0)
        for _ in range(3):
            mask = transform(make_image(2))
            state = np.random.RandomState([transform._seed, 0])
            assert_equal(mask[0].bool(), draw_mask((24, 18), state, (0.1, 0.2), ["box"], 2))

    def test_seed_decides_and_each_call_draws(self) -> None:
        transforms = [RandInpaintMask().set_random_state(seed=seed) for seed in (0, 0, 1)]
        masks = [[transform(make_image(2)).as_tensor() for _ in range(3)] for transform in transforms]
        assert all(torch.equal(a, b) for a, b in zip(masks[0], masks[1]))
        assert not any(torch.equal(a, b) for a, b in zip(masks[0], masks[2]))
        assert not torch.equal(masks[0][0], masks[0][1]) and not torch.equal(masks[0][1], masks[0][2])

    def test_all_slices_share_the_mask(self) -> None:
        mask = RandInpaintMask().set_random_state(seed=0)(make_image(3))
        assert mask.shape == (1, 24, 18, 5) and mask.dtype == torch.float32
        assert (mask == mask[..., :1]).all() and 0 < mask.mean() < 1
        mask[0, 0, 0, 0] = 7
        assert mask[0, 0, 0, 1] != 7

    def test_metadata_of_the_image(self) -> None:
        image = make_image(3)
        mask = RandInpaintMask()(image)
        assert isinstance(mask, MetaTensor) and torch.equal(mask.affine, image.affine)
        mask.meta["filename_or_obj"] = "other"
        assert image.meta["filename_or_obj"] == "patient-0.nii"

    def test_dictionary_equals_array(self) -> None:
        array, dictionary = RandInpaintMask(), RandInpaintMaskd("image", mask_key="hole")
        assert isinstance(array, Randomizable) and isinstance(dictionary, Randomizable)
        for transform in (array, dictionary):
            transform.set_random_state(seed=4)
        for _ in range(4):
            data = {"image": make_image(2)}
            result = dictionary(data)
            assert_equal(result["hole"].as_tensor(), array(make_image(2)).as_tensor())
            assert result["image"] is data["image"]

    def test_compose_seeds_it(self) -> None:
        chains = [Compose([RandInpaintMaskd("image")]).set_random_state(seed=seed) for seed in (1, 1, 2)]
        masks = [chain({"image": make_image(2)})["mask"] for chain in chains]
        assert torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])

    def test_everything_is_drawn_in_randomize(self) -> None:
        transform = RandInpaintMask().set_random_state(seed=0)
        transform.randomize()
        assert_equal(*[transform(make_image(2), randomize=False).as_tensor() for _ in range(2)])

    def test_missing_keys(self) -> None:
        with pytest.raises(KeyError, match="absent"):
            RandInpaintMaskd("absent")({"image": make_image(2)})
        assert "mask" not in RandInpaintMaskd("absent", allow_missing_keys=True)({"image": make_image(2)})

    def test_aliases(self) -> None:
        for alias in ("RandInpaintMaskd", "RandInpaintMaskD", "RandInpaintMaskDict"):
            assert getattr(monai_cdiff.transforms, alias) is RandInpaintMaskd

    @pytest.mark.parametrize(("arguments", "message"), ERRORS)
    def test_arguments_out_of_range(self, arguments: dict, message: str) -> None:
        for make in (RandInpaintMask, lambda **kwargs: RandInpaintMaskd("image", **kwargs)):
            with pytest.raises(ValueError, match=message):
                make(**arguments)
