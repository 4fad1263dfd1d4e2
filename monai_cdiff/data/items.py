"""Volumes seen as the items a network takes: slices or whole volumes, each knowing the subject it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from torch.utils.data import Dataset

from ..utils import check_integer, check_number, with_neighbours

__all__ = ["ItemDataset", "spacing_range", "with_factors", "with_labels"]


class ItemDataset(Dataset):
    """The items of a network for 2-D images (slices along the last axis) or 3-D images (whole volumes).

    ``dataset[n]`` is a dictionary with a ``MetaTensor`` (C, H, W) or (C, H, W, D) for each key; its metadata hold
    ``subject``, for a slice ``slice_index``, and ``key``, that of the volume or else its subject: what the noise of a
    restoration is drawn from.

    Args:
        volumes: dictionaries with a ``subject`` and, under ``keys``, arrays (C, H, W, D) of equal depth; an image
            (C, H, W) counts as one slice. Prepared and held in memory, for example by MONAI's ``CacheDataset``.
        keys: which entries an item has.
        spatial_dims: 2 for slices, 3 for volumes.
        per_volume: take this many evenly spaced slices of each volume, without its first and last; None takes all.
        min_size: least number of pixels along H and W, where what follows needs some; the window of SSIM needs 11.
        neighbours: slices on either side that ``neighbours_of`` gets as further channels, as
            ``SliceSettings(neighbours=...)`` gives them to the network in a restoration.
        neighbours_of: the key that gets them.

    Raises:
        ValueError: for numbers outside what is allowed, or an image that is too small.

    Example:
        >>> volume = {"image": torch.zeros(1, 8, 8, 5), "subject": "a"}
        >>> slices = ItemDataset([volume], keys=["image"])
        >>> len(slices), slices[3]["image"].meta["slice_index"]
        (5, 3)
    """

    def __init__(
        self,
        volumes: Sequence[Mapping[str, Any]],
        keys: Sequence[str] = ("image", "condition"),
        spatial_dims: int = 2,
        per_volume: int | None = None,
        min_size: int = 1,
        neighbours: int = 0,
        neighbours_of: str = "condition",
    ) -> None:
        check_integer("spatial_dims", spatial_dims, 2, 3)
        if per_volume is not None:
            check_integer("per_volume", per_volume, 1)
        self.neighbours = check_integer("neighbours", neighbours, 0)
        self.neighbours_of = neighbours_of
        if self.neighbours and spatial_dims == 3:
            raise ValueError(f"neighbours={neighbours} needs spatial_dims=2; a volume has no neighbours.")
        if self.neighbours and neighbours_of not in keys:
            raise ValueError(f"neighbours_of={neighbours_of!r} is not among keys={tuple(keys)}.")
        self.volumes = volumes
        self.keys = tuple(keys)
        self.index: list[tuple[int, int | None]] = []
        for n in range(len(volumes)):
            image = volumes[n][self.keys[0]]
            if min(image.shape[1:3]) < min_size:
                raise ValueError(
                    f"the image of {volumes[n]['subject']!r} has {image.shape[1]} x {image.shape[2]} pixels; at least "
                    f"{min_size} x {min_size} are needed."
                )
            sliced = spatial_dims == 2 and image.ndim == 4
            self.index += [(n, z) for z in _chosen(image.shape[3], per_volume)] if sliced else [(n, None)]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> dict[str, MetaTensor]:
        n, z = self.index[position]
        volume = self.volumes[n]
        # all items have a key, since a batch keeps only metadata that all of them have
        known = "subject" in volume
        meta = {"subject": volume["subject"], "key": volume.get("key", volume["subject"])} if known else {}
        meta |= {} if z is None else {"slice_index": z}
        counts = {key: self.neighbours if key == self.neighbours_of else 0 for key in self.keys}
        return {key: _item(volume[key], z, meta, counts[key]) for key in self.keys}

    def batches(self, size: int, rank: int = 0, world_size: int = 1) -> list[list[int]]:
        """Positions in batches of at most ``size`` items of one volume, and so of one shape, for a ``batch_sampler``.

        Args:
            size: most items in a batch.
            rank: number of this process; it gets every ``world_size``-th batch.
            world_size: number of processes; batches are small enough for each to get one.

        Raises:
            ValueError: if there are fewer items than processes.
        """
        check_integer("world_size", world_size, 1, len(self.index))
        size = min(check_integer("size", size, 1), len(self.index) // world_size)
        groups = [list(group) for _, group in groupby(range(len(self.index)), key=lambda n: self.index[n][0])]
        chunks = [group[i : i + size] for group in groups for i in range(0, len(group), size)]
        return chunks[rank::world_size]


def _chosen(depth: int, per_volume: int | None) -> list[int]:
    if per_volume is None or depth <= per_volume:
        return list(range(depth))
    return [int(z) for z in np.linspace(0, depth - 1, per_volume + 2).round()[1:-1]]


def _item(image: torch.Tensor, z: int | None, meta: Mapping[str, Any], neighbours: int) -> MetaTensor:
    plain = image.as_tensor() if isinstance(image, MetaTensor) else torch.as_tensor(image)
    affine = getattr(image, "affine", None)
    if z is not None:  # the slices go among the channels
        plain = torch.cat([plain[..., place] for place in with_neighbours(z, neighbours, plain.shape[-1])])
    elif neighbours:  # an image is one slice
        plain = plain.repeat(1 + 2 * neighbours, 1, 1)
    return MetaTensor(plain, affine=affine, meta=dict(meta))


def spacing_range(volumes: Sequence[Mapping[str, Any]], key: str = "image") -> list[list[float]]:
    """Smallest and largest voxel size along each axis, in mm: what a network was trained on.

    Returns:
        ``[[min, max], ...]``, one pair for each spatial axis; nothing where all are pictures, which have no such size.
    """
    images = [volumes[n][key] for n in range(len(volumes))]
    sizes = np.array([image.pixdim.tolist() for image in images if "raster_bits" not in image.meta])
    if not len(sizes):
        return []
    return [[round(float(low), 4), round(float(high), 4)] for low, high in zip(sizes.min(axis=0), sizes.max(axis=0))]


def with_factors(items: Sequence[Mapping[str, Any]], factors: Sequence[float]) -> list[dict[str, Any]]:
    """Each item once for each factor, which it holds under ``factor``: training data of a network for many factors.

    Args:
        items: of a datalist.
        factors: numbers more than 1.

    Raises:
        ValueError: if there is no factor, or one is out of range.

    Example:
        >>> with_factors([{"image": "a.nii.gz", "subject": "a"}], [2, 4])[1]
        {'image': 'a.nii.gz', 'subject': 'a', 'factor': 4.0}
    """
    if not isinstance(factors, Sequence) or isinstance(factors, str) or len(factors) == 0:
        raise ValueError(f"factors={factors!r} must be a list of at least one number more than 1.")
    known = [float(check_number("factors", factor, 1.0, open_low=True)) for factor in factors]
    return [{**item, "factor": factor} for item in items for factor in known]


def with_labels(items: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Each item with the number of its ``class`` under ``label``: what a classifier learns.

    Args:
        items: of a datalist.
        classes: names, in the order of the numbers.

    Raises:
        ValueError: if an item's class is not among them; the message names its image.

    Example:
        >>> with_labels([{"image": "a.png", "class": "viral"}], ["normal", "viral"])[0]["label"]
        1
    """
    known = list(classes)
    for item in items:
        if item.get("class") not in known:
            raise ValueError(f"{item['image']}: class={item.get('class')!r}; allowed: {', '.join(map(repr, known))}.")
    return [{**item, "label": known.index(item["class"])} for item in items]
