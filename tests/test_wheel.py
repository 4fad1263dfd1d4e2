"""A wheel on its own: what it holds, and what somebody can do who has nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from monai.transforms import LoadImage

from contracts.bundle_commands import JUDGES, SMALL, command, small, write_inputs, write_judged

ROOT = Path(__file__).resolve().parent.parent
TASKS = sorted(path.name for path in (ROOT / "bundles").iterdir() if (path / "configs").is_dir())
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")
OURS = (sys.executable, "-m", "monai_cdiff")
BUILD = ("--no-deps", "--no-build-isolation")


def run(*words: str | Path, cwd: Path, **environment: str) -> str:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [str(word) for word in words], cwd=cwd, env={**variables, **environment}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy to build in, with the output of a training and hidden files that must stay out."""
    folder = tmp_path_factory.mktemp("build") / "source"
    leave = shutil.ignore_patterns(".git", ".venv", "venv", "build", "dist", "*.egg-info", "__pycache__", "output")
    shutil.copytree(ROOT, folder, symlinks=True, ignore=leave)
    (folder / "bundles" / "sr" / "output" / "checkpoints").mkdir(parents=True)
    for name in ("output/checkpoints/model.pt", "output/metrics.json", "models/.hidden.pt"):
        (folder / "bundles" / "sr" / name).write_bytes(b"not the package's")
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    run(*PIP, "wheel", ".", *BUILD, "-w", source.parent, cwd=source)
    [file] = source.parent.glob("*.whl")
    return file


@pytest.mark.slow
def test_the_wheel_holds_each_bundle_once(wheel: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{wheel.name}: {wheel.stat().st_size / 2**20:.2f} MiB")
    with zipfile.ZipFile(wheel) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    assert {name.split("/")[0].split("-")[0] for name in contents} == {"monai_cdiff"}
    wanted = {
        f"monai_cdiff/{path.relative_to(ROOT)}": path.read_bytes()
        for task in TASKS
        for path in (ROOT / "bundles" / task).rglob("*")
        if path.is_file() and "output" not in path.relative_to(ROOT).parts
    }
    assert {name: content for name, content in contents.items() if "/bundles/" in name} == wanted
    page = "monai_cdiff/evaluation/reader_study.html"
    assert contents[page] == (ROOT / page).read_bytes()
    weights = Counter(content for name, content in contents.items() if name.endswith(".pt"))
    assert weights and max(weights.values()) == 1


def alone_and_exported(task: str, wheel: Path, tmp_path: Path) -> tuple[Path, list[Path], Path, dict[str, str]]:
    """Where the wheel is installed, what it wrote there, a bundle that was exported and moved, how to run it alone."""
    target, moved = tmp_path / "packages", tmp_path / "far" / "renamed"
    run(*PIP, "install", "--no-deps", "--target", target, wheel, cwd=tmp_path)
    alone = {"PYTHONPATH": str(target), "PYTHONDONTWRITEBYTECODE": "1"}
    place = run(sys.executable, "-c", "import monai_cdiff; print(monai_cdiff.__file__)", cwd=tmp_path, **alone)
    assert Path(place.strip()).is_relative_to(target)
    listed = run(*OURS, "bundle", "list", cwd=tmp_path, **alone)
    assert [line.split()[0] for line in listed.splitlines()] == TASKS
    before = sorted(target.rglob("*"))
    run(*OURS, "bundle", "export", task, "exported", cwd=tmp_path, **alone)
    shutil.unpack_archive(shutil.make_archive(str(tmp_path / "b"), "zip", tmp_path / "exported"), moved)
    shutil.rmtree(tmp_path / "exported")
    return target, before, moved, alone


@pytest.mark.slow
@pytest.mark.parametrize("task", JUDGES)
def test_the_wheel_alone_gives_a_judge_that_runs_anywhere(task: str, wheel: Path, tmp_path: Path) -> None:
    target, before, moved, alone = alone_and_exported(task, wheel, tmp_path)
    data = write_judged(task, tmp_path / "data")
    words = {"input_dir": tmp_path / "data" / "images", "output_dir": tmp_path / "out", "device": "cpu"}
    run(*command("--config_file", "inference.json", **words), cwd=moved, **alone)
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(written) == {"classify": 1, "segment": 3}[task]
    assert not (moved / "output").exists()
    run(*command("training", "--config_file", "train.json", dataset_dir=data, **small(task)), cwd=moved, **alone)
    assert (moved / "output" / "metrics.json").is_file() and (moved / "output" / "checkpoints" / "best.pt").is_file()
    assert sorted(target.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.parametrize("task", [task for task in TASKS if task not in JUDGES])
def test_the_wheel_alone_gives_a_bundle_that_runs_anywhere(task: str, wheel: Path, tmp_path: Path) -> None:
    target, before, moved, alone = alone_and_exported(task, wheel, tmp_path)
    patients = write_inputs(task, tmp_path / "patients")
    image = min(path for path in patients.rglob("*") if path.is_file())
    mask = tmp_path / "patients-masks" / image.relative_to(patients)

    words = {"input_dir": image, "output_dir": tmp_path / "out", "device": "cpu"}
    masked = {"mask": mask} if "mask" in json.loads((moved / "inference.json").read_text()) else {}
    run(*command("--config_file", "inference.json", **words, **masked), cwd=moved, **alone)
    by_name = ["restore", image, "named", "--bundle", task, "--device", "cpu"]
    run(*OURS, *by_name, *(["--mask", mask] if masked else []), cwd=tmp_path, **alone)
    for folder in ("out", "named"):
        [restored] = (tmp_path / folder).glob(f"{image.name.split('.')[0]}_{task}.*")
        assert np.isfinite(LoadImage(image_only=True)(restored)).all()
    assert not (moved / "output").exists()
    small = {name: value for name, value in SMALL.items() if name in json.loads((moved / "train.json").read_text())}
    run(*command("training", "--config_file", "train.json", dataset_dir=patients, **small), cwd=moved, **alone)
    assert (moved / "output" / "metrics.json").is_file() and (moved / "output" / "checkpoints" / "model.pt").is_file()
    assert sorted(target.rglob("*")) == before


@pytest.mark.slow
def test_a_source_archive_builds_the_same_wheel(source: Path, wheel: Path) -> None:
    code = "import sys, setuptools.build_meta as build; build.build_sdist(sys.argv[1])"
    run(sys.executable, "-c", code, source.parent / "sdist", cwd=source)
    [archive] = (source.parent / "sdist").glob("*.tar.gz")
    run(*PIP, "wheel", archive, *BUILD, "-w", source.parent / "again", cwd=source.parent)
    [again] = (source.parent / "again").glob("*.whl")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert set(one.namelist()) == set(other.namelist())
