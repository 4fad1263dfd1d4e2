"""Noise of X-ray images: Gaussian and salt-and-pepper together, fixed by a key or drawn for each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.config import NdarrayOrTensor
from monai.transforms import RandomizableTransform, Transform
from monai.utils import TransformBackends

from monai_cdiff.operators import gaussian_salt_pepper
from monai_cdiff.utils import check_finite, check_flag, check_integer, check_number

from ..images import channel_first, floating, random_state, slice_states, with_record

__all__ = ["GaussianSaltPepperNoise", "RandGaussianSaltPepperNoise"]


class GaussianSaltPepperNoise(Transform):
    """The same noise for the same key, on any machine and with any number of workers: for test images.

    Each slice of a volume has noise of its own, the same that the slice would get alone, but for its strength: without
    ``value_range`` this follows from the range of values of the whole volume.

    Args:
        std: standard deviation of the Gaussian noise, as a part of the range of values; at least 0.
        amount: share of the pixels that become salt (highest value) or pepper (lowest), from 0 to 1.
        seed: whole number; another one gives other noise.
        value_range: lowest and highest value a pixel can have, in the units of the image; default: those it has.
        clip: cut what the noise carries beyond the range.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> noisy = [GaussianSaltPepperNoise(0.1, 0.05)(torch.eye(8)[None], key="patient-1") for _ in range(2)]
        >>> bool((noisy[0] == noisy[1]).all())
        True
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self,
        std: float = 0.1,
        amount: float = 0.05,
        seed: int = 0,
        value_range: Sequence[float] | None = None,
        clip: bool = True,
    ) -> None:
        self.std = check_number("std", std, 0.0)
        self.amount = check_number("amount", amount, 0.0, 1.0)
        self.seed = check_integer("seed", seed, 0)
        self.value_range = check_value_range(value_range)
        self.clip = check_flag("clip", clip)

    def __call__(self, img: NdarrayOrTensor, key: str | None = None) -> torch.Tensor:
        """Add the noise of a key to one image.

        Args:
            img: shape (C, H, W) or (C, H, W, D).
            key: of the image; default: ``key`` or ``subject`` of the metadata, or else the content.

        Returns:
            The noisy image, same shape; of its floating point type, float32 for integers.

        Raises:
            ValueError: if the image has another number of axes, or holds NaN or infinite values.
        """
        image = channel_first("img", img)
        states = slice_states(self.seed, "noise", image, key)
        values = check_finite("img", floating(image))
        limits = self.value_range or (float(values.min()), float(values.max()))
        slices = values.unbind(3) if values.ndim == 4 else [values]
        noisy = [
            gaussian_salt_pepper(one, self.std, self.amount, state, limits, self.clip)
            for one, state in zip(slices, states)
        ]
        record = f"noise std={self.std:.6g} amount={self.amount:.6g} seed={self.seed}"
        return with_record(torch.stack(noisy, 3) if values.ndim == 4 else noisy[0], image, record)


class RandGaussianSaltPepperNoise(RandomizableTransform):
    """Noise of a strength drawn for each image: for training images.

    Args:
        std_range: lowest and highest standard deviation, as a part of the range of values; drawn uniformly.
        amount_range: lowest and highest share of salt and pepper; drawn uniformly.
        prob: probability that an image gets noise at all, from 0 to 1.
        value_range: as for :class:`GaussianSaltPepperNoise`.
        clip: as for :class:`GaussianSaltPepperNoise`.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> RandGaussianSaltPepperNoise().set_random_state(seed=0)(torch.rand(1, 8, 8)).shape
        torch.Size([1, 8, 8])
    """

    backend = GaussianSaltPepperNoise.backend

    def __init__(
        self,
        std_range: Sequence[float] = (0.02, 0.2),
        amount_range: Sequence[float] = (0.0, 0.1),
        prob: float = 1.0,
        value_range: Sequence[float] | None = None,
        clip: bool = True,
    ) -> None:
        RandomizableTransform.__init__(self, check_number("prob", prob, 0.0, 1.0))
        self.std_range = _check_range("std_range", std_range, float("inf"))
        self.amount_range = _check_range("amount_range", amount_range, 1.0)
        self.value_range = check_value_range(value_range)
        self.clip = check_flag("clip", clip)
        self._drawn = (self.std_range[0], self.amount_range[0], 0)

    def randomize(self, data: Any = None) -> None:
        """Draw whether to add noise, its strength and the seed of its pixels."""
        super().randomize(data)
        std, amount = (float(self.R.uniform(*bounds)) for bounds in (self.std_range, self.amount_range))
        self._drawn = (std, amount, int(self.R.randint(2**31)))

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> torch.Tensor:
        """Add noise to one image.

        Args:
            img: shape (C, H, W) or (C, H, W, D).
            randomize: draw anew; otherwise what was drawn last is used again.

        Returns:
            The noisy image, same shape; of its floating point type, float32 for integers.

        Raises:
            ValueError: if the image has another number of axes, or holds NaN or infinite values.
        """
        image = channel_first("img", img)
        if randomize:
            self.randomize()
        values = check_finite("img", floating(image))
        if not self._do_transform:
            return with_record(values, image, "none")
        std, amount, seed = self._drawn
        noisy = gaussian_salt_pepper(values, std, amount, random_state(seed), self.value_range, self.clip)
        return with_record(noisy, image, f"noise std={std:.6g} amount={amount:.6g}")


def check_value_range(value_range: Sequence[float] | None) -> tuple[float, float] | None:
    """The lowest and the highest value of a pixel, checked."""
    if value_range is None:
        return None
    low, high = _check_range("value_range", value_range, float("inf"), float("-inf"))
    if low == high:
        raise ValueError(f"value_range={value_range!r} must be the lowest and the highest value, not the same twice.")
    return low, high


def _check_range(name: str, bounds: Sequence[float], most: float, least: float = 0.0) -> tuple[float, float]:
    if not isinstance(bounds, Sequence) or isinstance(bounds, str) or len(bounds) != 2:
        raise ValueError(f"{name}={bounds!r} must be two numbers, the lowest and the highest.")
    low = check_number(name, bounds[0], least, most)
    return low, check_number(name, bounds[1], low, most)
