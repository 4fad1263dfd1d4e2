"""``report``: what an evaluation left, written anew; so are the tables that the documentation shows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from contracts.bundle_commands import ROOT
from contracts.evaluation_results import example_images, results, write_results
from monai_cdiff.cli import main

COMMITTED = sorted(path.parent for path in (ROOT / "docs" / "results").glob("*/results.json"))


def test_all_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_results(tmp_path, results(examples=[example_images(tmp_path)]))
    assert main(["report", str(folder)]) == 0
    written = {path.name for path in folder.rglob("*") if path.suffix != ".npy"}
    assert written >= {"tables.md", "tables.csv", "report.html", "example_01.png"}
    assert str(folder / "report.html") in capsys.readouterr().out


def test_a_wrong_folder_leaves_the_right_one_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_results(tmp_path / "good", results())
    assert main(["report", "--tables", str(folder), str(tmp_path / "none")]) == 2
    assert "none/results.json does not exist" in capsys.readouterr().err and not (folder / "tables.md").exists()


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_the_tables_of_the_documentation_are_those_of_its_results(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "results.json", tmp_path)
    assert main(["report", "--tables", str(tmp_path)]) == 0
    for name in ("tables.md", "tables.csv"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name
