"""Dictionary forms of the noise; for noise on a copy, put MONAI's ``CopyItemsd`` before them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform, RandomizableTransform

from ..images import DrawnByArray, key_of
from .array import GaussianSaltPepperNoise, RandGaussianSaltPepperNoise

__all__ = [
    "GaussianSaltPepperNoiseD",
    "GaussianSaltPepperNoiseDict",
    "GaussianSaltPepperNoised",
    "RandGaussianSaltPepperNoiseD",
    "RandGaussianSaltPepperNoiseDict",
    "RandGaussianSaltPepperNoised",
]


class GaussianSaltPepperNoised(MapTransform):
    """Dictionary form of :class:`GaussianSaltPepperNoise`, by the item's ``key`` or else its ``subject``.

    Args:
        keys: keys of the images, each of shape (C, H, W) or (C, H, W, D).
        std: standard deviation of the Gaussian noise, as a part of the range of values.
        amount: share of the pixels that become salt or pepper.
        seed: whole number; another one gives other noise.
        value_range: lowest and highest value a pixel can have; default: those of the image.
        clip: cut what the noise carries beyond the range.
        allow_missing_keys: pass over keys that the data does not have.

    Raises:
        ValueError: as :class:`GaussianSaltPepperNoise`.

    Example:
        >>> import torch
        >>> add_noise = GaussianSaltPepperNoised("condition", std=0.1, amount=0.05)
        >>> add_noise({"condition": torch.rand(1, 8, 8), "subject": "patient-1"})["condition"].shape
        torch.Size([1, 8, 8])
    """

    backend = GaussianSaltPepperNoise.backend

    def __init__(
        self,
        keys: KeysCollection,
        std: float = 0.1,
        amount: float = 0.05,
        seed: int = 0,
        value_range: Sequence[float] | None = None,
        clip: bool = True,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.add_noise = GaussianSaltPepperNoise(std, amount, seed, value_range, clip)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, Any]:
        """Return the data with noise in the images at ``keys``."""
        d: dict[Hashable, Any] = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.add_noise(d[key], key_of(d))
        return d


class RandGaussianSaltPepperNoised(DrawnByArray, RandomizableTransform, MapTransform):
    """Dictionary form of :class:`RandGaussianSaltPepperNoise`; all keys share what is drawn.

    Args:
        keys: keys of the images, each of shape (C, H, W) or (C, H, W, D).
        std_range: lowest and highest standard deviation, as a part of the range of values.
        amount_range: lowest and highest share of salt and pepper.
        prob: probability that the images get noise at all, from 0 to 1.
        value_range: lowest and highest value a pixel can have; default: those of the image.
        clip: cut what the noise carries beyond the range.
        allow_missing_keys: pass over keys that the data does not have.

    Raises:
        ValueError: as :class:`RandGaussianSaltPepperNoise`.

    Example:
        >>> import torch
        >>> add_noise = RandGaussianSaltPepperNoised("condition").set_random_state(seed=0)
        >>> add_noise({"condition": torch.rand(1, 8, 8)})["condition"].shape
        torch.Size([1, 8, 8])
    """

    backend = RandGaussianSaltPepperNoise.backend

    def __init__(
        self,
        keys: KeysCollection,
        std_range: Sequence[float] = (0.02, 0.2),
        amount_range: Sequence[float] = (0.0, 0.1),
        prob: float = 1.0,
        value_range: Sequence[float] | None = None,
        clip: bool = True,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.drawn = RandGaussianSaltPepperNoise(std_range, amount_range, prob, value_range, clip)
        RandomizableTransform.__init__(self, self.drawn.prob)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, Any]:
        """Return the data with noise in the images at ``keys``."""
        d: dict[Hashable, Any] = dict(data)
        self.randomize()
        for key in self.key_iterator(d):
            d[key] = self.drawn(d[key], randomize=False)
        return d


GaussianSaltPepperNoiseD = GaussianSaltPepperNoiseDict = GaussianSaltPepperNoised
RandGaussianSaltPepperNoiseD = RandGaussianSaltPepperNoiseDict = RandGaussianSaltPepperNoised
