"""Noise of X-ray detectors and transmission, as the task of denoising removes it."""

from __future__ import annotations

import numpy as np
import torch

from ..utils import check_finite, check_number

__all__ = ["gaussian_salt_pepper"]


def gaussian_salt_pepper(
    image: torch.Tensor,
    std: float,
    amount: float,
    random_state: np.random.RandomState,
    value_range: tuple[float, float] | None = None,
    clip: bool = True,
) -> torch.Tensor:
    """Add Gaussian noise, then set some pixels to the lowest or highest value ("pepper" and "salt", as likely).

    What is drawn is the same on every machine: NumPy keeps the streams of ``RandomState`` as they are. Only a logarithm
    in float64 may be rounded otherwise in its last bit, which float32 hardly ever shows.

    Args:
        image: any shape, finite.
        std: standard deviation of the Gaussian noise, as a part of the width of ``value_range``; at least 0.
        amount: share of the pixels that become salt or pepper, from 0 to 1.
        random_state: what is drawn from.
        value_range: lowest and highest value a pixel can have, in the units of the image; default: those it has.
        clip: cut what the noise carries beyond the range, as a detector does.

    Returns:
        The noisy image; of its floating point type, float32 for integers.

    Raises:
        ValueError: if an argument is out of range, or the image holds NaN or infinite values.

    Example:
        >>> noisy = gaussian_salt_pepper(torch.rand(1, 64, 64), 0.1, 0.05, np.random.RandomState(0))
        >>> bool(0 <= noisy.min() and noisy.max() <= 1)
        True
    """
    std = check_number("std", std, 0.0)
    amount = check_number("amount", amount, 0.0, 1.0)
    values = check_finite("image", image if image.is_floating_point() else image.float())
    low, high = (float(values.min()), float(values.max())) if value_range is None else value_range
    check_number("value_range", high, check_number("value_range", low))
    shape = tuple(values.shape)
    gaussian = torch.from_numpy(random_state.standard_normal(shape)).to(values)
    noisy = values + gaussian * (std * (high - low))
    if clip:
        noisy = noisy.clamp(low, high)
    place = random_state.random_sample(shape)
    noisy[torch.from_numpy(place < amount / 2).to(values.device)] = low
    noisy[torch.from_numpy(place >= 1 - amount / 2).to(values.device)] = high
    return noisy
