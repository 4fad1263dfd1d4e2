"""What the transforms share: channel-first images with metadata of their own, and randomness by key."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from copy import deepcopy
from typing import Any, Self

import numpy as np
import torch
from monai.config import NdarrayOrTensor
from monai.data import MetaTensor, get_track_meta
from monai.transforms import Randomizable
from monai.utils import convert_to_dst_type, convert_to_tensor

from ..utils import content_key, derive_seed

__all__ = [
    "DrawnByArray",
    "channel_first",
    "entry",
    "floating",
    "key_of",
    "like",
    "random_state",
    "slice_states",
    "with_record",
]

DEGRADATION_KEY = "degradation"


class DrawnByArray(Randomizable):
    """Dictionary form of a random transform, whose random state and draws are those of its array form.

    Attributes:
        drawn: the array form.
    """

    drawn: Any

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> Self:
        """Set the random state, of which this form has none but the array form's."""
        self.drawn.set_random_state(seed, state)
        self.R = self.drawn.R
        return self

    def randomize(self, data: Any = None) -> None:
        """Draw once for all keys."""
        self.drawn.randomize(data)
        self._do_transform = getattr(self.drawn, "_do_transform", True)


def channel_first(name: str, img: NdarrayOrTensor) -> torch.Tensor:
    if img.ndim not in (3, 4):
        raise ValueError(f"{name} of shape {tuple(img.shape)} must be (C, H, W) or (C, H, W, D).")
    return convert_to_tensor(img, track_meta=get_track_meta())


def floating(image: torch.Tensor) -> torch.Tensor:
    """The values without metadata; of their floating point type, float32 for integers."""
    values = convert_to_tensor(image, track_meta=False)
    return values if values.is_floating_point() else values.float()


def like(values: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """The values with metadata of their own, equal to the image's."""
    out = convert_to_dst_type(values, image, dtype=values.dtype)[0]
    if isinstance(out, MetaTensor):
        out.meta = deepcopy(out.meta)
    return out


def with_record(values: torch.Tensor, image: torch.Tensor, record: str) -> torch.Tensor:
    """Add a degradation to those in the metadata; always a string there, since a batch keeps only common keys."""
    out = like(values, image)
    if isinstance(out, MetaTensor):
        records = [out.meta.get(DEGRADATION_KEY, "none"), record]
        out.meta[DEGRADATION_KEY] = "; ".join(text for text in records if text != "none") or "none"
    return out


def entry(data: Mapping[Hashable, Any], name: str, key: Hashable) -> Any:
    """What the data holds under the key that the argument ``name`` gave.

    Raises:
        KeyError: if there is no such key; the message lists those there are.
    """
    if key not in data:
        raise KeyError(f"{name}={key!r} is not in the data, which has {sorted(map(str, data))}.")
    return data[key]


def key_of(data: Mapping[Hashable, Any]) -> str | None:
    """What identifies the image of a datalist's item: its ``key``, or else its ``subject``."""
    key = data.get("key", data.get("subject"))
    return None if key is None else str(key)


def slice_states(seed: int, task: str, image: torch.Tensor, key: str | None) -> list[np.random.RandomState]:
    """A random state for each slice of an image, by ``(seed, task, key, slice)`` and nothing else.

    A slice gets the same state alone, with ``slice_index`` in its metadata, as in its volume.

    Args:
        seed: whole number.
        task: what is drawn.
        image: (C, H, W), or (C, H, W, D), which has D slices.
        key: of the image; None takes ``key`` or ``subject`` of the metadata, or else the content.
    """
    meta = image.meta if isinstance(image, MetaTensor) else {}
    if key is None:
        known = meta.get("key", meta.get("subject"))
        key = content_key(torch.as_tensor(image)) if known is None else str(known)
    own = int(meta.get("slice_index", 0))
    places = range(image.shape[3]) if image.ndim == 4 else [own]
    return [random_state(derive_seed(seed, task, key, place)) for place in places]


def random_state(seed: int) -> np.random.RandomState:
    """A random state, whose streams NumPy keeps the same on every machine and in every version."""
    return np.random.RandomState([seed & 0xFFFFFFFF, seed >> 32])
