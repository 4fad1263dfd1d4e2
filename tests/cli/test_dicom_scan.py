"""The command ``dicom scan``: what there is, what is wrong with it, and no identities."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monai_cdiff.cli import main


@pytest.fixture
def study(tmp_path: Path, write_series: Callable[..., list[Path]]) -> Path:
    def name(_: int, dataset: Any) -> None:
        dataset.PatientName = "Muster^Erika"

    write_series(tmp_path / "whole", number=4, patient="secret-7", change=name)
    hole = write_series(tmp_path / "hole", number=12, patient="secret-7", description="t2_tse_sag", change=name)
    hole[1].unlink()
    return tmp_path


def test_row03_scan_lists_series_and_what_is_wrong(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (study / "whole" / "notes.txt").write_text("no image")
    assert main(["dicom", "scan", str(study)]) == 0
    head, whole, hole, _, *below = capsys.readouterr().out.splitlines()
    assert head.split()[:5] == ["number", "UID", "study", "modality", "description"]
    for word in ("4", "MR", "t2_tse_tra", "axial", "7 x 5 x 4", "0.5 x 0.75 x 3", "ok"):
        assert word in whole
    assert "t2_tse_sag" in hole and hole.endswith("refused")
    assert whole.index("MR") == hole.index("MR") == head.index("modality")
    assert any(line.startswith("12 ...") for line in below) and any("notes.txt" in line for line in below)
    assert not any(line.startswith("4 ") for line in below)


@pytest.mark.parametrize("words", [[], ["--json"]], ids=["table", "json"])
def test_scan_shows_no_identities(study: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(["dicom", "scan", str(study), *words])
    shown = capsys.readouterr().out
    assert "secret" not in shown and "Erika" not in shown


def test_scan_as_json(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dicom", "scan", str(study), "--json"]) == 0
    whole, hole = json.loads(capsys.readouterr().out)["series"]
    assert whole["number"] == 4 and whole["problems"] == [] and len(whole["files"]) == 4
    assert hole["number"] == 12 and len(hole["problems"]) == 1


def test_scan_of_one_file_and_of_a_dicomdir(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = next((study / "whole").iterdir())
    assert main(["dicom", "scan", str(file)]) == 0 and "7 x 5 x 1" in capsys.readouterr().out
    (study / "DICOMDIR").write_bytes(b"")
    assert main(["dicom", "scan", str(study / "DICOMDIR")]) == 0 and "t2_tse_sag" in capsys.readouterr().out


def test_scan_where_nothing_can_be_read(tmp_path: Path, study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["dicom", "scan", str(tmp_path / "empty")]) == 1 and "no DICOM images" in capsys.readouterr().out
    assert main(["dicom", "scan", str(study / "hole")]) == 1
    assert main(["dicom", "scan", str(tmp_path / "gone")]) == 2 and "does not exist" in capsys.readouterr().err


def test_what_is_passed_over_stands_below_the_table(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = sorted((study / "whole").iterdir())[0]
    (study / "copy.dcm").write_bytes(file.read_bytes())
    assert main(["dicom", "scan", str(study)]) == 0
    shown = capsys.readouterr()
    assert "copies of slices are passed over" in shown.out and shown.err == ""
    assert main(["dicom", "scan", ""]) == 2 and "DIR='' does not exist" in capsys.readouterr().err


def test_studies_stand_together(
    tmp_path: Path, write_series: Callable[..., list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    for number, end in ((1, 1), (2, 2), (3, 1)):
        write_series(tmp_path / str(number), number=number, study=f"1.2.3.4.5.6.7.{end}")
    assert main(["dicom", "scan", str(tmp_path)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [(row[0], row[2][-1]) for row in rows] == [("1", "1"), ("3", "1"), ("2", "2")]


def test_row15_what_can_only_be_read_says_why(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dicom", "scan", str(shared_data / "hard_dicom" / "dicom2nifti" / "hyperfine")]) == 0
    out = capsys.readouterr().out
    assert "read only" in out and "can be written: series of CT, MR" in out
