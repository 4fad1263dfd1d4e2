"""Volumes seen as a list of slices, each knowing the subject and the place it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from torch.utils.data import Dataset

from ..utils import check_integer

__all__ = ["SliceDataset", "spacing_range"]


class SliceDataset(Dataset):
    """Every slice along the last axis of every volume, as items for a network for 2-D images.

    Args:
        volumes: dictionaries with a ``subject`` and, under ``keys``, arrays (C, H, W, D) of equal depth; images
            (C, H, W) count as one slice. Prepared and held in memory, for example by MONAI's ``CacheDataset``.
        keys: which entries to slice.
        per_volume: take this many evenly spaced slices of each volume, without its first and last; None takes all.

    Returns of ``dataset[n]``:
        A dictionary with a ``MetaTensor`` (C, H, W) for each key, whose metadata hold ``subject`` and ``slice_index``.

    Example:
        >>> volume = {"image": torch.zeros(1, 8, 8, 5), "subject": "a"}
        >>> slices = SliceDataset([volume], keys=["image"])
        >>> len(slices), slices[3]["image"].meta["slice_index"]
        (5, 3)
    """

    def __init__(
        self,
        volumes: Sequence[Mapping[str, Any]],
        keys: Sequence[str] = ("image", "condition"),
        per_volume: int | None = None,
    ) -> None:
        self.volumes = volumes
        self.keys = tuple(keys)
        self.index: list[tuple[int, int]] = []
        for n in range(len(volumes)):
            image = volumes[n][self.keys[0]]
            depth = image.shape[3] if image.ndim == 4 else 1
            self.index += [(n, z) for z in _chosen(depth, per_volume)]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> dict[str, MetaTensor]:
        n, z = self.index[position]
        volume = self.volumes[n]
        meta = {"subject": volume["subject"], "slice_index": z}
        return {key: _slice(volume[key], z, meta) for key in self.keys}


def _chosen(depth: int, per_volume: int | None) -> list[int]:
    if per_volume is None or depth <= per_volume:
        return list(range(depth))
    check_integer("per_volume", per_volume, 1)
    return [int(z) for z in np.linspace(0, depth - 1, per_volume + 2).round()[1:-1]]


def _slice(image: torch.Tensor, z: int, meta: Mapping[str, Any]) -> MetaTensor:
    plain = image.as_tensor() if isinstance(image, MetaTensor) else torch.as_tensor(image)
    affine = getattr(image, "affine", None)
    return MetaTensor(plain[..., z] if plain.ndim == 4 else plain, affine=affine, meta=dict(meta))


def spacing_range(volumes: Sequence[Mapping[str, Any]], key: str = "image") -> list[list[float]]:
    """Smallest and largest voxel size along each axis, in mm: what a network was trained on.

    Returns:
        ``[[min, max], ...]``, one pair for each spatial axis.
    """
    sizes = np.array([volumes[n][key].pixdim.tolist() for n in range(len(volumes))])
    return [[round(float(low), 4), round(float(high), 4)] for low, high in zip(sizes.min(axis=0), sizes.max(axis=0))]
