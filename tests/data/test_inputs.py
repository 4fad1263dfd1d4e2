"""What there is to restore, and what the results are called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from monai_cdiff.data import DicomError, list_inputs, output_stem

CORONAL = (1, 0, 0, 0, 0, -1)


def nifti(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(np.zeros((4, 4, 2), np.float32), np.eye(4)).to_filename(path)
    return path


@pytest.fixture
def study(tmp_path: Path, write_series: Callable[..., list[Path]]) -> Path:
    write_series(tmp_path / "s1", size=(7, 5, 2), description="localizer", number=1)
    write_series(tmp_path / "deep" / "s2", size=(7, 5, 3), description="t2_tse_tra", number=2)
    write_series(tmp_path / "deep" / "s3", size=(7, 5, 2), description="t2_tse_cor", number=3, orientation=CORONAL)
    return tmp_path


@pytest.mark.parametrize(
    ("series", "plane", "folder"),
    [("t2*", "axial", "s2"), ("T2*", "coronal", "s3"), (2, None, "s2"), ("3", None, "s3"), ("*cor", None, "s3")],
)
def test_row03_a_whole_study_by_pattern_number_and_plane(study: Path, series: Any, plane: Any, folder: str) -> None:
    (item,) = list_inputs(study, series, plane)
    assert {Path(file).parent.name for file in item["image"]} == {folder}


def test_row03_a_series_by_its_uid(study: Path) -> None:
    import pydicom

    file = next((study / "s1").iterdir())
    (item,) = list_inputs(study, pydicom.dcmread(file).SeriesInstanceUID)
    assert str(file) in item["image"]


@pytest.mark.parametrize(("series", "what"), [(None, "several series match"), ("t1*", "no series matches")])
def test_row03_an_unclear_choice_lists_the_candidates(study: Path, series: Any, what: str) -> None:
    with pytest.raises(DicomError, match=what) as caught:
        list_inputs(study, series)
    for word in ("1: 'localizer', MR", "2: 't2_tse_tra'", "axial, 7x5x3, 1.2.826", "--series 5"):
        assert word in str(caught.value)


def test_studies_without_a_match_are_passed_over(
    tmp_path: Path, write_series: Callable[..., list[Path]], caplog: pytest.LogCaptureFixture
) -> None:
    write_series(tmp_path / "a", description="t2", study="1.2.3")
    write_series(tmp_path / "b", description="t1", study="1.2.4")
    write_series(tmp_path / "c", description="t2", study="1.2.5", patient="patient-2")
    items = list_inputs(tmp_path, "t2")
    assert [Path(item["image"][0]).parent.name for item in items] == ["a", "c"]
    assert "1 studies have no matching series" in caplog.text


def test_row11_each_file_of_an_x_ray_series_is_an_item(
    tmp_path: Path, write_series: Callable[..., list[Path]]
) -> None:
    def x_ray(k: int, dataset: Any) -> None:
        dataset.Modality = "CR"
        del dataset.ImagePositionPatient, dataset.ImageOrientationPatient

    files = write_series(tmp_path / "chest", size=(7, 5, 2), change=x_ray)
    items = list_inputs(tmp_path)
    assert sorted(item["image"][0] for item in items) == sorted(map(str, files))
    assert list_inputs(files[0]) == [item for item in items if item["image"] == [str(files[0])]]


def test_nifti_files_and_folders_of_them(tmp_path: Path) -> None:
    first, second = nifti(tmp_path / "a.nii.gz"), nifti(tmp_path / "p" / "b.nii")
    (tmp_path / "notes.txt").write_text("no image")
    assert list_inputs(first) == [{"image": str(first), "subject": "a"}]
    assert [item["image"] for item in list_inputs(tmp_path)] == [str(first), str(second)]


def test_what_is_no_input_is_refused(tmp_path: Path, write_series: Callable[..., list[Path]]) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    for path, kind, word in [
        ("", ValueError, "--input_dir PATH"),
        (tmp_path / "gone", FileNotFoundError, "does not exist"),
        (tmp_path, ValueError, "holds no images"),
        (tmp_path / "notes.txt", ValueError, "neither NIfTI nor DICOM"),
    ]:
        with pytest.raises(kind, match=word):
            list_inputs(path)
    write_series(tmp_path / "both", size=(7, 5, 2))
    nifti(tmp_path / "both" / "a.nii.gz")
    with pytest.raises(ValueError, match="holds both NIfTI and DICOM"):
        list_inputs(tmp_path)


def test_row22_names_are_short_and_tell_x_rays_apart() -> None:
    assert output_stem("/data/a.b.nii.gz") == "a.b"
    series = output_stem("/data/1.dcm", "1.2.3", 5)
    assert series == output_stem("/data/2.dcm", "1.2.3", 5) != output_stem("/data/1.dcm", "1.2.4", 5)
    assert output_stem("/d/1.dcm", "1.2.3", 5, flat=True) != output_stem("/d/2.dcm", "1.2.3", 5, flat=True)


def picture(path: Path, mode: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (5, 4), 7).save(path)
    return path


def test_pictures_are_items_whatever_the_case_of_their_ending(tmp_path: Path) -> None:
    names = ["a.PNG", "b.jpg", "c.JPEG", "d.bmp", "p/e.tif", "p/f.Tiff"]
    paths = [str(picture(tmp_path / name)) for name in names]
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "._a.png").write_bytes(b"what a Mac leaves on a disc")
    items = list_inputs(tmp_path)
    assert items == [{"image": path, "subject": Path(path).stem} for path in paths]
    assert list_inputs(paths[2]) == items[2:3]


@pytest.mark.parametrize("other", ["NIfTI", "DICOM"])
def test_pictures_beside_other_images_are_refused(
    other: str, tmp_path: Path, write_series: Callable[..., list[Path]]
) -> None:
    picture(tmp_path / "x" / "a.png")
    if other == "NIfTI":
        nifti(tmp_path / "x" / "b.nii")
    else:
        write_series(tmp_path / "x", size=(7, 5, 2))
    with pytest.raises(ValueError, match=f"x: holds both {other} and PNG, JPEG, BMP or TIFF; give the file"):
        list_inputs(tmp_path)
    picture(tmp_path / "x" / "a.png").rename(tmp_path / "a.png")
    assert len(list_inputs(tmp_path)) == 2  # in a folder of its own


def test_pictures_of_the_viewer_on_a_disc_are_no_images(
    tmp_path: Path, write_series: Callable[..., list[Path]]
) -> None:
    (tmp_path / "DICOMDIR").write_bytes(b"")
    write_series(tmp_path / "images", size=(7, 5, 2))
    for name in ("autorun.bmp", "images/icon.jpg", "viewer/splash.png"):
        picture(tmp_path / name, "RGB")
    for path in (tmp_path, tmp_path / "DICOMDIR"):
        (item,) = list_inputs(path)
        assert len(item["image"]) == 2
