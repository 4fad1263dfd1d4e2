"""The mask of each image, found by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from monai.transforms import Compose, LoadImaged
from PIL import Image

from contracts.dicom_sources import OBLIQUE, write_projection, write_stack
from monai_cdiff.data import (
    DicomSeriesReader,
    NiftiReader,
    RasterReader,
    list_inputs,
    with_masks,
)
from monai_cdiff.transforms import AlignMaskd

READERS = [NiftiReader(), DicomSeriesReader(), RasterReader()]
LOAD = Compose(
    [LoadImaged(["image", "mask"], reader=READERS, ensure_channel_first=True), AlignMaskd("mask", ref_key="image")]
)


def nifti(path: Path, shape: tuple[int, ...] = (4, 3, 2), affine: np.ndarray | None = None) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = (np.arange(np.prod(shape)).reshape(shape) % 2).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)
    return str(path)


def png(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.eye(6, 8, dtype=np.uint8) * 255).save(path)
    return str(path)


def masks_of(images: Path, mask: Path, root: Path | str | None = None) -> list[Any]:
    return [item["mask"] for item in with_masks(list_inputs(images), mask, images if root is None else root)]


class TestOneMask:
    def test_a_file_for_a_file(self, tmp_path: Path) -> None:
        image, mask = nifti(tmp_path / "in" / "a.nii.gz"), nifti(tmp_path / "hole.nii")
        (item,) = with_masks([{"image": image, "subject": "a", "key": "k"}], mask, tmp_path)
        assert item == {"image": image, "subject": "a", "key": "k", "mask": mask}
        assert masks_of(tmp_path / "in", tmp_path / "hole.nii") == [mask]

    @pytest.mark.parametrize("mask", ["holes/a.jpg", "holes"])
    def test_a_jpeg_is_refused(self, mask: str, tmp_path: Path) -> None:
        nifti(tmp_path / "in" / "a.nii.gz")
        png(tmp_path / "holes" / "a.png")
        (tmp_path / "holes" / "a.png").rename(tmp_path / "holes" / "a.jpg")
        with pytest.raises(ValueError, match="a.jpg': a JPEG is not exact, so it would cover more than was drawn"):
            masks_of(tmp_path / "in", tmp_path / mask)

    def test_a_home_folder_and_a_relative_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        image, mask = nifti(tmp_path / "in" / "a.nii.gz"), nifti(tmp_path / "hole.nii")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        for given in ("~/hole.nii", "hole.nii"):
            assert with_masks([{"image": image}], given)[0]["mask"] == mask

    def test_a_file_for_many(self, tmp_path: Path) -> None:
        for name in "ab":
            nifti(tmp_path / "in" / f"{name}.nii")
        with pytest.raises(ValueError, match="is one mask for 2 images; give a folder of masks of the same names"):
            masks_of(tmp_path / "in", Path(nifti(tmp_path / "hole.nii")))

    @pytest.mark.parametrize("mask", [None, "", "absent"])
    def test_no_mask(self, tmp_path: Path, mask: str | None) -> None:
        with pytest.raises((ValueError, FileNotFoundError), match="--mask PATH|mask='.*absent' does not exist"):
            with_masks([{"image": "a.nii"}], mask and tmp_path / mask)

    def test_a_series_for_a_series(self, tmp_path: Path) -> None:
        _, _, source = write_stack(tmp_path / "in" / "t2")
        _, _, mask = write_stack(tmp_path / "holes")
        assert masks_of(tmp_path / "in", tmp_path / "holes") == [sorted(mask.files)]
        assert len(source.files) == 5

    def test_a_dicom_file_for_an_x_ray(self, tmp_path: Path) -> None:
        write_projection(tmp_path / "in")
        _, _, mask = write_projection(tmp_path / "hole")
        assert masks_of(tmp_path / "in", Path(mask.files[0])) == [list(mask.files)]


class TestFolderOfMasks:
    def test_by_the_name_of_the_file(self, tmp_path: Path) -> None:
        for name in ("a.b.nii.gz", "c.nii", "deep/er/d.nii"):
            nifti(tmp_path / "in" / name)
        expected = [nifti(tmp_path / "holes" / name) for name in ("a.b.nii", "c.nii.gz", "deep/er/d.nii")]
        assert masks_of(tmp_path / "in", tmp_path / "holes") == expected
        (tmp_path / "holes" / "notes.txt").write_text("c")
        (tmp_path / "holes" / "c.json").write_text("{}")
        assert masks_of(tmp_path / "in", tmp_path / "holes") == expected

    def test_the_same_folder_goes_before_the_top(self, tmp_path: Path) -> None:
        nifti(tmp_path / "in" / "p1" / "t2.nii"), nifti(tmp_path / "in" / "p2" / "t2.nii")
        top, inside = nifti(tmp_path / "holes" / "t2.nii"), nifti(tmp_path / "holes" / "p2" / "t2.nii")
        assert masks_of(tmp_path / "in", tmp_path / "holes") == [top, inside]
        assert masks_of(tmp_path / "in", tmp_path / "holes", "") == [top, top]

    def test_a_missing_one_is_named(self, tmp_path: Path) -> None:
        image = nifti(tmp_path / "in" / "p" / "a.nii")
        (tmp_path / "holes").mkdir()
        with pytest.raises(FileNotFoundError, match=f"mask: no mask named 'a' for {image} in {tmp_path}/holes/p"):
            masks_of(tmp_path / "in", tmp_path / "holes")

    def test_two_that_could_be_meant(self, tmp_path: Path) -> None:
        nifti(tmp_path / "in" / "a.nii")
        nifti(tmp_path / "holes" / "a.nii"), png(tmp_path / "holes" / "a.png")
        with pytest.raises(ValueError, match=f"{tmp_path}/holes holds several masks named 'a': a.nii, a.png"):
            masks_of(tmp_path / "in", tmp_path / "holes")

    @pytest.mark.parametrize("name", ["t2.nii.gz", "t2/mask.nii.gz"])
    def test_nifti_for_a_dicom_series(self, tmp_path: Path, name: str) -> None:
        values, affine, _ = write_stack(tmp_path / "in" / "p" / "t2", orientation=OBLIQUE, descending=True)
        turned = affine.copy()  # stored with its first axis the other way
        turned[:3, 3] += affine[:3, 0] * 7
        turned[:3, 0] *= -1
        nifti(tmp_path / "holes" / "p" / name, (8, 6, 5), turned)
        (item,) = with_masks(list_inputs(tmp_path / "in"), tmp_path / "holes", tmp_path / "in")
        found = LOAD(item)
        expected = (np.arange(240).reshape(8, 6, 5) % 2)[::-1]
        assert np.array_equal(found["image"][0], values) and np.array_equal(found["mask"][0], expected)

    def test_a_series_for_a_series_of_the_same_folder_name(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            write_stack(tmp_path / "in" / name, StudyInstanceUID=f"1.2.{len(name)}{ord(name[0])}")
        expected = [sorted(write_stack(tmp_path / "holes" / name)[2].files) for name in ("one", "two")]
        assert masks_of(tmp_path / "in", tmp_path / "holes") == expected

    def test_a_patient_with_a_single_slice(self, tmp_path: Path) -> None:
        write_stack(tmp_path / "in" / "p1", StudyInstanceUID="1.2.1")
        write_stack(tmp_path / "in" / "p2", size=(8, 6, 1), StudyInstanceUID="1.2.2")
        expected = [png(tmp_path / "holes" / "p1.png"), png(tmp_path / "holes" / "p2.png")]
        assert masks_of(tmp_path / "in", tmp_path / "holes") == expected
        items = with_masks(list_inputs(tmp_path / "in"), tmp_path / "holes", tmp_path / "in")
        found = LOAD(items[1])
        assert found["image"].shape == found["mask"].shape == (1, 8, 6, 1)
        assert np.array_equal(found["mask"][0, ..., 0], np.eye(8, 6) * 255)
        by_file = png(tmp_path / "holes" / "p2" / "00.png")
        assert masks_of(tmp_path / "in", tmp_path / "holes")[1] == by_file

    def test_x_rays_go_by_the_names_of_their_files(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            write_projection(tmp_path / name)
            (tmp_path / "in").mkdir(exist_ok=True), (tmp_path / "holes").mkdir(exist_ok=True)
            (tmp_path / name / "image.dcm").rename(tmp_path / "in" / f"{name}.dcm")
            write_projection(tmp_path / f"hole-{name}")
            (tmp_path / f"hole-{name}" / "image.dcm").rename(tmp_path / "holes" / f"{name}.dcm")
        holes = [[str(tmp_path / "holes" / f"{name}.dcm")] for name in ("a", "b")]
        assert masks_of(tmp_path / "in", tmp_path / "holes") == holes
        assert masks_of(tmp_path / "in" / "b.dcm", tmp_path / "holes", tmp_path / "in") == holes[1:]
        (tmp_path / "holes" / "b.dcm").unlink()
        png(tmp_path / "holes" / "in.png")
        with pytest.raises(FileNotFoundError, match=r"no mask named 'b' for .*b.dcm in"):
            masks_of(tmp_path / "in", tmp_path / "holes")

    def test_names_that_are_tried_are_all_told(self, tmp_path: Path) -> None:
        write_projection(tmp_path / "in" / "p1")
        nifti(tmp_path / "holes" / "other.nii")
        with pytest.raises(FileNotFoundError, match="mask: no mask named 'image' or 'p1' for"):
            masks_of(tmp_path / "in", tmp_path / "holes")
