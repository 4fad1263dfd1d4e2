"""Items to prepare and to keep, and what it takes to compare them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, CopyItemsd, LoadImaged, Transform

from monai_cdiff.data import DicomSeriesReader, MappedCacheDataset, NiftiReader
from monai_cdiff.transforms import DownsampleUpsampled, ScaleIntensityPatientwised

Items = list[dict[str, Any]]


def preparation(factor: float = 2.0) -> Compose:
    """As the bundles prepare volumes."""
    load = LoadImaged("image", reader=[NiftiReader(), DicomSeriesReader()], ensure_channel_first=True)
    scale = ScaleIntensityPatientwised(["image", "condition"], ref_key="condition")
    return Compose([load, CopyItemsd("image", names="condition"), DownsampleUpsampled("condition", factor), scale])


def mapped(data: Any, transform: Any, cache_dir: Path | None, **kwargs: Any) -> MappedCacheDataset:
    return MappedCacheDataset(data, transform, cache_dir, progress=False, **kwargs)


def write_nifti(path: Path, seed: int = 0, shape: tuple[int, ...] = (24, 20, 5)) -> str:
    values = np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([0.5, 0.75, 3.0, 1.0])), path)
    return str(path)


def write_items(folder: Path, write_series: Callable[..., list[Path]]) -> Items:
    """One patient of DICOM files, one of a DICOM folder, one of NIfTI."""
    files = write_series(folder / "a", size=(24, 20, 4))
    write_series(folder / "b", size=(20, 24, 3), number=5)
    images = [list(map(str, files)), str(folder / "b"), write_nifti(folder / "c.nii.gz")]
    return [{"image": image, "subject": name} for image, name in zip(images, "abc")]


def entries(cache_dir: Path) -> set[str]:
    return {file.name for file in cache_dir.glob("*.pt")}


def same(one: Any, other: Any) -> bool:
    """Equal in type, values, metadata and, for arrays, in number format."""
    if isinstance(other, torch.Tensor):
        plain = [value.as_subclass(torch.Tensor) for value in (one, other)]
        equal = type(one) is type(other) and plain[0].dtype == plain[1].dtype and torch.equal(*plain)
        return equal and (not isinstance(other, MetaTensor) or same(vars(one), vars(other)))
    if isinstance(other, (np.ndarray, np.generic)):
        one_native, native = (array.astype(array.dtype.newbyteorder("=")) for array in (one, other))
        equal = one_native.dtype == native.dtype and one_native.tobytes() == native.tobytes()
        return type(one) is type(other) and equal
    if isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in other)
    if isinstance(other, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) or (one != one and other != other)


class Counted(Transform):
    """Counts in a file, which every process sees, and takes a while."""

    def __init__(self, log: str, seconds: float = 0.0) -> None:
        self.log, self.seconds = log, seconds

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        with open(self.log, "a", encoding="utf-8") as file:
            file.write("x")
        time.sleep(self.seconds)
        return data


class Returns(Transform):
    """Puts something into the item."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "extra": self.value}
