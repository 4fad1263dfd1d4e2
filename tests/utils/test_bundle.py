"""The glue of the bundles: where they lie, and what an error ends with."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from monai_cdiff.utils import check_overrides, find_bundle_root, join_processes, show_root_cause


def make_bundle(folder: Path, task: str) -> None:
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "train.json").write_text(json.dumps({"task": task}))


def test_bundle_root_from_both_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_bundle(tmp_path / "bundles" / "sr", "sr")
    for place in (tmp_path, tmp_path / "bundles" / "sr"):
        monkeypatch.chdir(place)
        assert find_bundle_root("sr") == str(tmp_path / "bundles" / "sr")


def test_bundle_root_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_bundle(tmp_path, "denoise")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="bundle_root: neither .* holds the bundle 'sr'; run from"):
        find_bundle_root("sr")


@pytest.mark.parametrize("word", ["--tsk", "--tsk=sr", "--tsk#a", "--tsk::a"])
def test_an_override_that_nothing_knows(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_bundle(tmp_path, "sr")
    program = "/somewhere/monai/bundle/__main__.py"
    monkeypatch.setattr(sys, "argv", [program, "run", "--config_file", "x.json", "--task", "sr", "--task#a", "1"])
    check_overrides(tmp_path)
    monkeypatch.setattr(sys, "argv", [program, "run", word, "sr"])
    with pytest.raises(ValueError, match=f"{word} is no override of this bundle.* Did you mean --task?"):
        check_overrides(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pytest", word])
    check_overrides(tmp_path)


def test_processes_need_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(RuntimeError, match="start it by torchrun"):
        join_processes("cpu")


def test_an_error_ends_with_its_root_cause(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    show_root_cause()
    try:
        try:
            raise ValueError("factor=1")
        except ValueError as error:
            raise RuntimeError("wrapped") from error
    except RuntimeError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    assert capsys.readouterr().err.rstrip().endswith("The error was: ValueError: factor=1")
