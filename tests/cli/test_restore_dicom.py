"""The command ``restore`` on DICOM: a derived series in the same study, in the same place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from monai_cdiff.cli import main
from monai_cdiff.data import read_series, scan_series

ROOT = Path(__file__).resolve().parent.parent.parent
Writer = Callable[..., list[Path]]


def restore(source: Path, output: Path, *words: str) -> int:
    bundle = str(ROOT / "bundles" / "sr")
    return main(["restore", str(source), str(output), "--bundle", bundle, "--device", "cpu", "--steps", "1", *words])


@pytest.mark.slow
def test_row18_a_series_of_a_study_comes_back_finer_in_the_same_place(tmp_path: Path, write_series: Writer) -> None:
    write_series(tmp_path / "study" / "loc", size=(9, 8, 2), description="localizer", number=1)
    write_series(tmp_path / "study" / "t2", size=(12, 10, 3), number=7)
    assert restore(tmp_path / "study", tmp_path / "out", "--series", "7") == 0
    (info,) = scan_series(tmp_path / "out")
    (folder,) = {Path(file).parent for file in info.files}
    assert folder.parent == tmp_path / "out" / "t2" and folder.name.startswith("series-7-")
    low, affine, _ = read_series(tmp_path / "study" / "t2")
    fine, finer, record = read_series(folder)
    assert fine.shape == (48, 40, 3) and record.number != 7
    np.testing.assert_allclose(finer @ [-0.5, -0.5, 0, 1], affine @ [-0.5, -0.5, 0, 1], atol=1e-4)
    np.testing.assert_allclose(finer[:3, :3] * [4, 4, 1], affine[:3, :3], atol=1e-5)
    coarse = fine.reshape(12, 4, 10, 4, 3).mean(axis=(1, 3))
    assert np.corrcoef(coarse.ravel(), low.ravel())[0, 1] > 0.99


@pytest.mark.slow
def test_row17_uncertainty_is_a_second_series_of_the_study(tmp_path: Path, write_series: Writer) -> None:
    import pydicom

    write_series(tmp_path / "t2", size=(12, 10, 3), number=7)
    assert restore(tmp_path / "t2", tmp_path / "out", "--uncertainty", "--samples", "2") == 0
    first, second = scan_series(tmp_path / "out")
    assert first.study_uid == second.study_uid == "1.2.3" and first.number != second.number
    headers = [pydicom.dcmread(info.files[0], stop_before_pixels=True) for info in (first, second)]
    assert all(header.ImageType[:2] == ["DERIVED", "SECONDARY"] for header in headers)
    assert "standard deviation" in headers[1].DerivationDescription and len(headers[0].SourceImageSequence) > 0


@pytest.mark.slow
def test_row18_nifti_in_with_a_template_gives_dicom(tmp_path: Path, write_series: Writer) -> None:
    write_series(tmp_path / "t2", size=(12, 10, 3))
    volume, affine, _ = read_series(tmp_path / "t2")
    nibabel.Nifti1Image(volume, affine).to_filename(tmp_path / "t2.nii.gz")
    assert restore(tmp_path / "t2.nii.gz", tmp_path / "out", "--template", str(tmp_path / "t2")) == 0
    fine, finer, _ = read_series(tmp_path / "out" / "t2_sr")
    assert fine.shape == (48, 40, 3)
    np.testing.assert_allclose(finer @ [-0.5, -0.5, 0, 1], affine @ [-0.5, -0.5, 0, 1], atol=1e-4)


def test_row18_a_template_of_another_place_is_refused_first(
    tmp_path: Path, write_series: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path / "t2", size=(12, 10, 3))
    volume, affine, _ = read_series(tmp_path / "t2")
    affine[:3, 3] += 500
    nibabel.Nifti1Image(volume, affine).to_filename(tmp_path / "far.nii.gz")
    assert restore(tmp_path / "far.nii.gz", tmp_path / "out", "--template", str(tmp_path / "t2")) == 2
    shown = capsys.readouterr().err
    assert "far.nii.gz lies elsewhere" in shown and "restoring" not in shown


@pytest.mark.slow
def test_row17_the_header_says_how_many_samples_there_were(tmp_path: Path, write_series: Writer) -> None:
    import pydicom

    write_series(tmp_path / "t2", size=(12, 10, 1))
    for name, words, told in [
        ("one", [], "output=sample; num_samples=1; "),
        ("two", ["--uncertainty", "--samples", "2"], "output=mean of samples; num_samples=2; "),
    ]:
        assert restore(tmp_path / "t2", tmp_path / name, *words) == 0
        file = next(tmp_path.glob(f"{name}/*_sr/0001.dcm"))
        assert told in pydicom.dcmread(file).ContributingEquipmentSequence[-1].ContributionDescription


def test_row22_what_cannot_be_read_or_written_is_refused_first(
    tmp_path: Path, write_series: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    hole = write_series(tmp_path / "hole", size=(12, 10, 4))
    hole[1].unlink()

    def secondary(_: int, dataset: Any) -> None:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"

    write_series(tmp_path / "capture", size=(12, 10, 2), change=secondary)
    write_series(tmp_path / "whole", size=(12, 10, 2))
    for name, words, sentence in [
        ("hole", [], "between 30.00 and 36.00 mm"),
        ("capture", [], "Secondary Capture"),
        ("whole", ["--series", "t1*"], "no series matches"),
        ("whole", ["--template", str(tmp_path / "whole")], "a template is for NIfTI"),
    ]:
        assert restore(tmp_path / name, tmp_path / "out", *words) == 2, name
        shown = capsys.readouterr().err
        assert shown.startswith("error: ") and "restoring" not in shown, shown
        assert sentence in shown, shown
    assert not (tmp_path / "out").exists()
