"""The glue of the bundles: where they lie, and what an error ends with."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from monai_cdiff.utils import find_bundle_root, join_processes, show_root_cause


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
