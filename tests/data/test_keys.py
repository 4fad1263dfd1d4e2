"""The key of an image: its own among those of its subject, the same on every machine, in every batch."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import DataLoader

from monai_cdiff.data import ItemDataset, make_datalist
from monai_cdiff.inferers.keys import item_keys


def write(path: Path, shape: tuple[int, ...] = (3, 4, 5)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.uint8), np.eye(4)), path)


def keys_of(folder: Path, *names: str) -> dict[str, str | None]:
    for name in names:
        write(folder / name)
    items = [item for items in make_datalist(folder).values() for item in items]
    return {str(Path(item["image"]).relative_to(folder)): item.get("key") for item in items}


def test_only_where_a_subject_has_several_images(tmp_path: Path) -> None:
    keys = keys_of(tmp_path, "a/1.nii", "a/2.nii", "b/1.nii", "c.nii")
    assert keys["b/1.nii"] is None and keys["c.nii"] is None
    # blake2b of "1.nii" and of "2.nii", 4 bytes of it
    assert keys["a/1.nii"] == "a/6bea9e1f" and keys["a/2.nii"] == "a/b053f8bc"


def test_the_place_of_the_data_set_does_not_matter(tmp_path: Path) -> None:
    names = ("a/x/1.nii", "a/y/1.nii", "a/y/2.nii", "b/1.nii", "c/1.nii")
    first, second = keys_of(tmp_path / "here", *names), keys_of(tmp_path / "there" / "deep", *names)
    assert first == second and len({key for key in first.values() if key}) == 3


def test_images_of_one_name_in_two_folders(tmp_path: Path) -> None:
    keys = keys_of(tmp_path, "a/t1/image.nii", "a/t2/image.nii", "a/t2/other.nii", "b/1.nii", "c/1.nii")
    assert len({keys[f"a/{name}"] for name in ("t1/image.nii", "t2/image.nii", "t2/other.nii")}) == 3
    without = keys_of(tmp_path / "twin", "a/t2/image.nii", "a/t2/other.nii", "b/1.nii", "c/1.nii")
    assert without["a/t2/other.nii"] == keys["a/t2/other.nii"]  # its name is its own in both


def test_series_of_the_same_file_names(tmp_path: Path) -> None:
    files = [[str(tmp_path / study / f"IM{n}") for n in (2, 1)] for study in ("one", "two", "p", "q")]
    for name in (name for names in files for name in names):
        write(Path(f"{name}.nii"))
    lists = {"training": [{"image": [f"{name}.nii" for name in names], "subject": "s"} for names in files[:2]]}
    lists |= {"validation": [f"{files[2][0]}.nii"], "test": [f"{files[3][0]}.nii"]}
    (tmp_path / "list.json").write_text(json.dumps(lists))
    one, two = make_datalist(tmp_path / "list.json")["training"]
    assert one["key"] != two["key"] and one["key"].startswith("s/")


@pytest.mark.parametrize(("shape", "wanted", "found"), [((3, 4, 5), 2, 3), ((3, 4), 3, 2)])
def test_dimensions(tmp_path: Path, shape: tuple[int, ...], wanted: int, found: int) -> None:
    for name in "abc":
        write(tmp_path / f"{name}.nii", shape)
    assert make_datalist(tmp_path, dimensions=found) == make_datalist(tmp_path)
    message = f"[abc].nii: an image of {found} dimensions; this bundle takes images of {wanted}"
    with pytest.raises(ValueError, match=message):
        make_datalist(tmp_path, dimensions=wanted)


def test_a_batch_keeps_the_keys_of_all() -> None:
    """A volume without a key of its own beside one with: the noise of neither depends on the other."""
    volumes = [{"image": torch.zeros(1, 4, 4, 2), "subject": "a", "key": "a/1"}]
    volumes += [{"image": torch.zeros(1, 4, 4, 2), "subject": "b"}]
    slices = ItemDataset(volumes, keys=["image"])
    alone = [key for n in range(4) for key in item_keys(next(iter(DataLoader([slices[n]])))["image"])]
    (batch,) = DataLoader([slices[n] for n in range(4)], batch_size=4)
    assert item_keys(batch["image"]) == alone == ["a/1:0", "a/1:1", "b:0", "b:1"]
    whole = ItemDataset(volumes, keys=["image"], spatial_dims=3)
    (batch,) = DataLoader([whole[0], whole[1]], batch_size=2)
    assert item_keys(batch["image"]) == ["a/1", "b"]
