"""The command ``bundle``: what it lists, what it writes and leaves alone, and that the result runs anywhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import monai.bundle
import nibabel
import numpy as np
import pytest

import monai_cdiff
from monai_cdiff.cli import main
from monai_cdiff.cli.bundle import packaged_bundles

ROOT = Path(__file__).resolve().parent.parent.parent
TASKS = sorted(path.name for path in (ROOT / "bundles").iterdir() if (path / "configs").is_dir())
LINKS = ("train.json", "inference.json", "evaluate.json", "metadata.json", "logging.conf")


def tree(folder: Path) -> dict[str, Any]:
    """Every path below a folder: the target of a link, the bytes of a file, None for a folder."""
    return {
        str(path.relative_to(folder)): (
            os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        )
        for path in folder.rglob("*")
    }


def times(folder: Path) -> dict[Path, int]:
    return {path: path.lstat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def write_image(folder: Path) -> Path:
    values = np.random.default_rng(0).random((13, 11, 2)).cumsum(0).cumsum(1).astype(np.float32)
    nibabel.Nifti1Image(values, np.diag([0.5, 0.5, 3.0, 1.0])).to_filename(folder / "knee.nii.gz")
    return folder / "knee.nii.gz"


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    assert main(["bundle", "export", "sr", str(tmp_path / "mine")]) == 0
    return tmp_path / "mine"


def test_every_bundle_of_the_repository_is_packaged(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(packaged_bundles()) == TASKS and "sr" in TASKS
    assert main(["bundle", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for task, line in zip(TASKS, lines, strict=True):
        metadata = json.loads((ROOT / "bundles" / task / "configs" / "metadata.json").read_text())
        assert line.split() == [task, metadata["version"], *metadata["description"].split()]
        assert json.loads((ROOT / "bundles" / task / "configs" / "train.json").read_text())["task"] == task


@pytest.mark.parametrize("task", TASKS)
def test_an_export_is_the_bundle_of_the_repository(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "a folder"
    assert main(["bundle", "export", task, str(target)]) == 0
    own = {name: content for name, content in tree(ROOT / "bundles" / task).items() if not name.startswith("output")}
    assert tree(target) == own
    assert all(os.readlink(target / name) == f"configs/{name}" for name in LINKS)
    assert any((target / "models").glob("*.pt")) and (target / "LICENSE").is_file()
    first, second = capsys.readouterr().out.splitlines()
    assert f"{sum(content is not None for content in own.values())} files in {target}" in first
    assert second == f"cd '{target}' && python -m monai.bundle run training --config_file train.json"


def test_a_new_task_is_found_without_being_listed(tmp_path: Path) -> None:
    package = Path(monai_cdiff.__file__).parent
    shutil.copytree(package, tmp_path / "monai_cdiff", ignore=shutil.ignore_patterns("bundles", "__pycache__"))
    code = "import sys, monai_cdiff.cli as cli; cli.main(['bundle', 'list']); print('torch' in sys.modules)"

    def listed() -> str:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        words = [sys.executable, "-c", code]
        result = subprocess.run(words, cwd="/", env=environment, capture_output=True, text=True)
        return result.stdout + result.stderr

    assert "holds no bundles; install it again" in listed()
    for place, task in ((tmp_path / "bundles", "deblur"), (tmp_path / "monai_cdiff" / "bundles", "colour")):
        (place / task / "configs").mkdir(parents=True)
        metadata = {"version": "7", "description": "does\nit"}
        (place / task / "configs" / "metadata.json").write_text(json.dumps(metadata))
        (place / "no-bundle").mkdir()
        assert listed() == f"{task}  7  does it\nFalse\n"


@pytest.mark.parametrize("links", [True, False])
def test_the_bundle_runs_in_a_folder_of_another_name(
    links: bool, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = shutil.make_archive(str(tmp_path / "archive"), "gztar" if links else "zip", exported)
    moved = tmp_path / "elsewhere" / "renamed"
    shutil.unpack_archive(archive, moved)
    shutil.rmtree(exported)
    assert all((moved / name).is_symlink() == links for name in LINKS)
    before = tree(moved)
    image = write_image(tmp_path)
    monkeypatch.chdir(moved)
    words: dict[str, Any] = {"output_dir": str(tmp_path / "out"), "device": "cpu", "num_inference_steps": 1}
    monai.bundle.run(run_id="run", config_file="inference.json", input_dir=str(image), **words)
    assert nibabel.load(tmp_path / "out" / "knee_sr.nii.gz").shape == (52, 44, 2)
    assert tree(moved) == before


def test_the_bundle_runs_from_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bundle", "export", "sr", "bundles/sr"]) == 0
    words: dict[str, Any] = {"output_dir": "out", "device": "cpu", "num_inference_steps": 1}
    file = "bundles/sr/inference.json"
    monai.bundle.run(run_id="run", config_file=file, input_dir=str(write_image(tmp_path)), **words)
    assert (tmp_path / "out" / "knee_sr.nii.gz").is_file()


def test_a_file_system_without_links_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    assert main(["bundle", "export", "sr", str(tmp_path / "plain")]) == 0
    for name in LINKS:
        assert not (tmp_path / "plain" / name).is_symlink()
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "plain" / "configs" / name).read_bytes()


def test_overwrite_replaces_the_bundles_own_files_only(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fresh = tree(exported)
    (exported / "output").mkdir()
    users = {"output/checkpoint.pt": b"mine", "configs/mine.json": b"{}", "notes.txt": b"mine", ".env": b"mine"}
    for name, content in users.items():
        (exported / name).write_bytes(content)
    (exported / "configs" / "paper.json").write_text("edited")
    (exported / "docs" / "README.md").unlink()
    (exported / "train.json").unlink()
    (exported / "train.json").write_text("configs/train.json")  # what some tools make of a link
    changed = tree(exported)
    assert main(["bundle", "export", "sr", str(exported)]) == 2
    assert "is not empty; --overwrite replaces the bundle's own files" in capsys.readouterr().err
    assert tree(exported) == changed
    assert main(["bundle", "export", "sr", str(exported), "--overwrite"]) == 0
    assert tree(exported) == {**fresh, "output": None, **users}


def test_an_empty_folder_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bundle", "export", "sr", "."]) == 0 and (tmp_path / "train.json").is_symlink()


def test_what_is_refused_before_a_file_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    for name in ("linked", "folder", "other", "blocked"):
        (tmp_path / name).mkdir()
    (tmp_path / "linked" / "models").symlink_to(tmp_path / "other")
    (tmp_path / "folder" / "train.json").mkdir()
    (tmp_path / "blocked" / "docs").touch()
    before = tree(tmp_path)
    for words, sentence in [
        (["srr", "new"], "TASK='srr' is no bundle; the packaged bundles are "),
        (["SR", "new"], "Did you mean sr?"),
        (["../sr", "new"], "TASK='../sr' is no bundle"),
        (["sr", "file"], "file is no folder; give a folder"),
        (["sr", "file/new"], "file is no folder; give a folder"),
        (["sr", "gone"], "gone is no folder; give a folder"),
        (["sr", "linked"], "models is not a folder of DIR's own"),
        (["sr", "blocked"], "docs is not a folder of DIR's own"),
        (["sr", "folder"], "train.json is a folder where the bundle has a file"),
    ]:
        assert main(["bundle", "export", words[0], str(tmp_path / words[1]), "--overwrite"]) == 2, words
        shown = capsys.readouterr().err
        assert sentence in shown and shown.count("\n") == 1, words
        assert tree(tmp_path) == before
    assert main(["bundle", "export", "sr", " "]) == 2 and "DIR is empty" in capsys.readouterr().err


@pytest.mark.parametrize("below", ["", "models"])
def test_the_packaged_bundle_itself_is_no_target(below: str, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = packaged_bundles()["sr"]
    before = times(bundle)
    assert main(["bundle", "export", "sr", str(bundle / below), "--overwrite"]) == 2
    assert "lies in the packaged bundle itself" in capsys.readouterr().err and times(bundle) == before


@pytest.mark.parametrize("words", [["--bundle", "sr"], []], ids=["by name", "by default"])
def test_restore_reads_the_packaged_bundle_where_it_is(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = times(packaged_bundles()["sr"])
    (tmp_path / "sr").mkdir()  # an output of that name is no bundle
    image = str(write_image(tmp_path))
    assert main(["restore", image, "sr", *words, "--device", "cpu", "--steps", "1"]) == 0
    assert nibabel.load(tmp_path / "sr" / "knee_sr.nii.gz").shape == (52, 44, 2)
    assert times(packaged_bundles()["sr"]) == before


def test_restore_prefers_a_folder_to_a_packaged_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    image = str(write_image(tmp_path))
    for folder, words in (("sr", ["--bundle", "sr"]), ("bundles/sr", [])):
        (tmp_path / folder / "configs").mkdir(parents=True)
        assert main(["restore", image, "out", *words]) == 2
        expected = tmp_path / folder / "configs" / "inference.json"
        assert f"{expected} does not exist; give the folder of a bundle" in capsys.readouterr().err


def test_restore_with_a_bundle_that_there_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["restore", str(write_image(tmp_path)), str(tmp_path), "--bundle", "srr"]) == 2
    shown = capsys.readouterr().err
    assert "--bundle srr: " in shown and "the packaged bundles are " in shown and "Did you mean sr?" in shown
