"""What holds for every image transform of the package. A family's test classes inherit from these.

    class TestSharpen(TransformContract):
        array_class = Sharpen
        dictionary_class = Sharpend
        arguments = {"amount": 2.0}

Add :class:`RandomContract` for a transform that draws and :class:`InvertibleContract` for one with an inverse.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch, set_track_meta
from monai.transforms import Compose, Invertd, MapTransform, Randomizable, RandomizableTransform, Transform

import monai_cdiff.transforms

DTYPES = [torch.uint8, torch.int16, torch.float16, torch.bfloat16, torch.float32, torch.float64]


def make_image(spatial_dims: int, seed: int = 0) -> MetaTensor:
    """Two channels of noise around a ramp, stored values of about 0 to 200, on an oblique grid with some metadata."""
    shape = (2, 24, 18, 5)[: spatial_dims + 1]
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 100
    ramp = torch.linspace(0, 100, shape[1]).reshape(-1, *[1] * (spatial_dims - 1))
    affine = torch.tensor(
        [[0.6, -0.4, 0.0, -30.0], [0.4, 0.6, 0.0, 12.0], [0.0, 0.0, 3.0, 5.0], [0.0, 0.0, 0.0, 1.0]],
        dtype=torch.float64,
    )
    meta = {"filename_or_obj": f"patient-{seed}.nii", "original_affine": affine.numpy().copy()}
    meta["pixdim"] = np.array([1.0, 0.52**0.5, 0.52**0.5, 3.0, 0, 0, 0, 0])
    return MetaTensor(noise + ramp, affine=affine, meta=meta)


def state_of(image: MetaTensor) -> dict[str, Any]:
    return copy.deepcopy({"values": image.as_tensor(), "meta": image.meta, "operations": image.applied_operations})


def assert_equal(actual: Any, expected: Any, **tolerances: Any) -> None:
    tolerances = tolerances or {"rtol": 0, "atol": 0}
    torch.testing.assert_close(torch.as_tensor(actual), torch.as_tensor(expected), **tolerances)


class TransformContract:
    """Holds for every transform of one image; set the class attributes."""

    array_class: type[Transform]
    dictionary_class: type[MapTransform]
    arguments: dict[str, Any] = {}
    changed_meta: tuple[str, ...] = ()  # entries of the metadata that the transform may change
    keeps_half: bool = True  # float16 and bfloat16 stay what they are, otherwise they become float32
    always_float32: bool = False

    def make(self, seed: int = 0, **overrides: Any) -> Any:
        return self._seeded(self.array_class(**{**self.arguments, **overrides}), seed)

    def make_dictionary(self, keys: Any = "image", seed: int = 0, **overrides: Any) -> Any:
        return self._seeded(self.dictionary_class(keys=keys, **{**self.arguments, **overrides}), seed)

    @staticmethod
    def _seeded(transform: Any, seed: int) -> Any:
        return transform.set_random_state(seed=seed) if isinstance(transform, Randomizable) else transform

    @pytest.mark.parametrize("spatial_dims", [2, 3])
    def test_same_seed_same_result(self, spatial_dims: int) -> None:
        results = [self.make(seed=5)(make_image(spatial_dims)) for _ in range(2)]
        assert_equal(results[0].as_tensor(), results[1].as_tensor())

    @pytest.mark.parametrize("spatial_dims", [2, 3])
    def test_input_is_untouched(self, spatial_dims: int) -> None:
        image = make_image(spatial_dims)
        before = state_of(image)
        result = self.make()(image)
        result += 1
        result.meta["filename_or_obj"] = "other"
        after = state_of(image)
        assert_equal(after["values"], before["values"])
        assert after["operations"] == before["operations"]
        assert after["meta"].keys() == before["meta"].keys()
        for key, value in before["meta"].items():
            assert np.array_equal(after["meta"][key], value), key

    @pytest.mark.parametrize("spatial_dims", [2, 3])
    def test_metadata_are_kept(self, spatial_dims: int) -> None:
        image = make_image(spatial_dims)
        result = self.make()(image)
        assert isinstance(result, MetaTensor)
        assert result.device == image.device
        for key in image.meta.keys() - set(self.changed_meta):
            assert np.array_equal(result.meta[key], image.meta[key]), key

    @pytest.mark.parametrize("spatial_dims", [2, 3])
    def test_array_tensor_and_metatensor_give_the_same(self, spatial_dims: int) -> None:
        image = make_image(spatial_dims)
        expected = self.make()(image).as_tensor()
        for other in (image.as_tensor(), image.numpy()):
            result = self.make()(other)
            assert isinstance(result, MetaTensor)
            assert_equal(result.as_tensor(), expected)

    def test_without_tracking_the_result_is_a_plain_tensor(self) -> None:
        image = make_image(2)
        expected = self.make()(image).as_tensor()
        set_track_meta(False)
        try:
            result = self.make()(image.as_tensor())
        finally:
            set_track_meta(True)
        assert type(result) is torch.Tensor
        assert_equal(result, expected)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_result_dtype(self, dtype: torch.dtype) -> None:
        image = make_image(3)
        kept = dtype == torch.float64 or (dtype.is_floating_point and self.keeps_half)
        kept = kept and not self.always_float32
        result = self.make()(image.to(dtype))
        assert result.dtype == (dtype if kept else torch.float32)
        precise = self.make()(image.to(dtype).float()).as_tensor()
        tolerance = torch.finfo(result.dtype).eps if result.dtype.itemsize == 2 else 1e-5
        assert_equal(result.as_tensor().float(), precise, rtol=tolerance, atol=100 * tolerance)

    def test_dictionary_equals_array(self) -> None:
        data = {"image": make_image(3), "other": make_image(3, seed=1)}
        result = self.make_dictionary()(data)
        assert_equal(result["image"].as_tensor(), self.make()(make_image(3)).as_tensor())
        assert result["other"] is data["other"]
        assert data["image"] is not result["image"]

    def test_missing_keys(self) -> None:
        with pytest.raises(KeyError, match="absent"):
            self.make_dictionary("absent")({"image": make_image(2)})
        data = {"image": make_image(2)}
        assert self.make_dictionary("absent", allow_missing_keys=True)(data)["image"] is data["image"]

    def test_aliases(self) -> None:
        name = self.array_class.__name__
        assert self.dictionary_class.__name__ == f"{name}d"
        for alias in (f"{name}d", f"{name}D", f"{name}Dict"):
            assert alias in monai_cdiff.transforms.__all__
            assert getattr(monai_cdiff.transforms, alias) is self.dictionary_class
        assert getattr(monai_cdiff.transforms, name) is self.array_class
        assert self.dictionary_class.backend == self.array_class.backend != []

    def test_result_survives_a_batch(self) -> None:
        items = [{"image": make_image(3, seed)} for seed in (0, 1)]
        loader = DataLoader(Dataset(items, Compose([self.make_dictionary()])), batch_size=2)
        assert len(loader) == 1
        transform = self.make_dictionary()
        for item, one in zip(items, decollate_batch(next(iter(loader))), strict=True):
            alone = transform(item)["image"]
            if not isinstance(transform, Randomizable):
                assert_equal(one["image"].as_tensor(), alone.as_tensor())
            assert one["image"].meta.keys() == alone.meta.keys()
            for key in [key for key, value in alone.meta.items() if isinstance(value, str) and key != "degradation"]:
                assert one["image"].meta[key] == alone.meta[key], key

    def test_pickled_gives_the_same(self) -> None:
        transform = pickle.loads(pickle.dumps(self.make()))
        assert_equal(transform(make_image(2)).as_tensor(), self.make()(make_image(2)).as_tensor())


class RandomContract(TransformContract):
    """Holds for every transform that draws; ``arguments`` must make two seeds differ."""

    def test_is_randomizable_by_monai(self) -> None:
        assert isinstance(self.make(), RandomizableTransform)
        assert isinstance(self.make_dictionary(), RandomizableTransform)

    def test_other_seed_other_result(self) -> None:
        results = [self.make(seed=seed)(make_image(2)).as_tensor() for seed in range(4)]
        assert not all(torch.equal(results[0], other) for other in results[1:])

    def test_everything_is_drawn_in_randomize(self) -> None:
        transform = self.make()
        transform.randomize(make_image(2))
        state = transform.R.get_state()[1].copy()
        results = [transform(make_image(2), randomize=False) for _ in range(2)]
        assert_equal(results[0].as_tensor(), results[1].as_tensor())
        assert np.array_equal(transform.R.get_state()[1], state)

    @pytest.mark.parametrize("spatial_dims", [2, 3])
    def test_probability_0_is_the_identity(self, spatial_dims: int) -> None:
        image = make_image(spatial_dims)
        assert_equal(self.make(prob=0.0)(image).as_tensor(), image.as_tensor())
        result = self.make_dictionary(prob=0.0)({"image": image})["image"]
        assert_equal(result.as_tensor(), image.as_tensor())

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_result_dtype_does_not_depend_on_the_draw(self, dtype: torch.dtype) -> None:
        image = make_image(2).to(dtype)
        assert self.make(prob=0.0)(image).dtype == self.make(prob=1.0)(image).dtype

    @pytest.mark.parametrize("form", ["make", "make_dictionary"])
    def test_probability_is_met(self, form: str) -> None:
        transform = getattr(self, form)(prob=0.3)
        done = 0
        for _ in range(400):
            transform.randomize(None)
            done += transform._do_transform
        assert 0.3 * 400 - 40 < done < 0.3 * 400 + 40  # more than four standard deviations

    def test_keys_share_what_is_drawn(self) -> None:
        transform = self.make_dictionary(("image", "copy"))
        for _ in range(4):
            result = transform({"image": make_image(2), "copy": make_image(2)})
            assert_equal(result["image"].as_tensor(), result["copy"].as_tensor())

    def test_sequences_of_array_and_dictionary_agree(self) -> None:
        array, dictionary = self.make(seed=3, prob=0.5), self.make_dictionary(seed=3, prob=0.5)
        for _ in range(6):
            expected = array(make_image(2)).as_tensor()
            assert_equal(dictionary({"image": make_image(2)})["image"].as_tensor(), expected)

    def test_prob_out_of_range_is_an_error(self) -> None:
        with pytest.raises(ValueError, match=r"prob=1.5 must be a finite number, at least 0 and at most 1"):
            self.make(prob=1.5)


class InvertibleContract(TransformContract):
    """Holds for every transform with an inverse; override ``round_trip_image`` if it only restores some images."""

    def round_trip_image(self, spatial_dims: int) -> MetaTensor:
        return make_image(spatial_dims)

    def assert_restored(self, restored: MetaTensor, image: MetaTensor) -> None:
        spread = float(image.max() - image.min())
        assert_equal(restored.as_tensor(), image.as_tensor(), rtol=0, atol=1e-6 * spread)

    def _check(self, restored: MetaTensor, image: MetaTensor) -> None:
        self.assert_restored(restored, image)
        assert restored.applied_operations == image.applied_operations
        assert restored.meta.keys() == image.meta.keys()
        for key, value in image.meta.items():
            assert np.array_equal(restored.meta[key], value) or np.allclose(restored.meta[key], value, atol=1e-9), key

    @pytest.mark.parametrize("spatial_dims", [2, 3])
    def test_round_trip(self, spatial_dims: int) -> None:
        image = self.round_trip_image(spatial_dims)
        transform, dictionary = self.make(), self.make_dictionary()
        forward = transform(image)
        assert len(forward.applied_operations) == 1
        self._check(transform.inverse(forward), image)
        self._check(dictionary.inverse(dictionary({"image": image}))["image"], image)

    def test_inverse_leaves_its_input_untouched(self) -> None:
        transform = self.make()
        forward = transform(self.round_trip_image(2))
        before = state_of(forward)
        transform.inverse(forward)
        after = state_of(forward)
        assert_equal(after["values"], before["values"])
        assert after["meta"].keys() == before["meta"].keys()
        assert after["operations"] == before["operations"]

    def test_compose_inverts_twice_the_transform(self) -> None:
        image = self.round_trip_image(3)
        chain = Compose([self.make_dictionary("image"), self.make_dictionary("other")])
        restored = chain.inverse(chain({"image": image, "other": self.round_trip_image(3)}))
        self._check(restored["image"], image)
        self._check(restored["other"], image)

    def test_invertd_brings_a_prediction_back(self) -> None:
        image = self.round_trip_image(3)
        chain = Compose([self.make_dictionary("image")])
        batch = next(iter(DataLoader(Dataset([{"image": image}] * 2, chain), batch_size=2)))
        for item in decollate_batch(batch):
            item["pred"] = MetaTensor(item["image"].as_tensor().clone())
            back = Invertd("pred", chain, orig_keys="image", nearest_interp=False)(item)
            self.assert_restored(back["pred"], image)
