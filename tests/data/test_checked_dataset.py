"""Every image is looked at before the first is used, and what was prepared is not prepared again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.transforms import Compose, LoadImaged

from monai_cdiff.data import CheckedDataset, NiftiReader
from monai_cdiff.transforms import AlignMaskd

LOAD = Compose(
    [
        LoadImaged(["image", "mask"], reader=NiftiReader(), ensure_channel_first=True),
        AlignMaskd("mask", ref_key="image"),
    ]
)
MIB = 2**20


def nifti(path: Path, shape: tuple[int, ...] = (4, 3, 2)) -> str:
    values = (np.arange(np.prod(shape)).reshape(shape) % 2).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    return str(path)


class Count:
    """A transform that gives an image of as many MiB as the item says, and counts its calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(item["image"])
        return {**item, "pixels": torch.full((item["mib"] * MIB // 4,), float(len(item["image"])))}


def test_a_real_image_is_the_same_with_and_without_the_check(tmp_path: Path) -> None:
    items = [{"image": nifti(tmp_path / f"{name}.nii"), "mask": nifti(tmp_path / "m.nii")} for name in "ab"]
    dataset, plain = CheckedDataset(items, LOAD), CheckedDataset(items, LOAD)
    dataset.check()
    for one, other in zip(DataLoader(dataset, batch_size=2), DataLoader(plain, batch_size=2)):
        assert torch.equal(one["image"], other["image"]) and torch.equal(one["mask"], other["mask"])
        assert one["image"].meta["filename_or_obj"] == [item["image"] for item in items]
    assert items[0] == {"image": str(tmp_path / "a.nii"), "mask": str(tmp_path / "m.nii")}


def test_what_fits_into_memory_is_prepared_once() -> None:
    count = Count()
    items = [{"image": name, "mib": mib} for name, mib in [("a", 2), ("bb", 3), ("ccc", 1), ("dddd", 1)]]
    dataset = CheckedDataset(items, count, memory_mib=4)
    dataset.check()
    assert count.calls == ["a", "bb", "ccc", "dddd"]
    assert [float(dataset[n]["pixels"][0]) for n in range(4)] == [1, 2, 3, 4]
    assert count.calls[4:] == ["bb"]
    assert float(dataset[0]["pixels"][0]) == 1 and count.calls[5:] == ["a"]  # handed out once


def test_no_memory_keeps_nothing() -> None:
    count = Count()
    dataset = CheckedDataset([{"image": "a", "mib": 1}], count, memory_mib=0)
    dataset.check()
    assert dataset[0]["image"] == "a" and count.calls == ["a", "a"]
    with pytest.raises(ValueError, match="memory_mib=-1 must be a whole number, at least 0"):
        CheckedDataset([], count, memory_mib=-1)


def test_the_first_that_cannot_be_prepared_is_named(tmp_path: Path) -> None:
    items = [{"image": nifti(tmp_path / f"{name}.nii"), "mask": nifti(tmp_path / "m.nii")} for name in "ab"]
    items[1]["mask"] = nifti(tmp_path / "small.nii", (2, 2, 2))
    with pytest.raises(ValueError, match=f"{tmp_path}/b.nii: mask of 2 x 2 x 2 does not fit the image") as caught:
        CheckedDataset(items, LOAD).check()
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_message_that_names_the_file_is_left() -> None:
    def refuse(item: Any) -> None:
        raise OSError("a.nii is damaged")

    with pytest.raises(ValueError, match="^a.nii is damaged$"):
        CheckedDataset([{"image": ["a.nii"]}], refuse).check()
