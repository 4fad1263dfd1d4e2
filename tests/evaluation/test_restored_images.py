"""Restorations in files: found again, restored anew where they are missing or damaged."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from monai_cdiff.evaluation import Case, RestoredImages

IMAGE = np.random.default_rng(0).random((6, 5)).astype(np.float32)


def case(name: str) -> Case:
    return Case(0, "a", 0, None, name, IMAGE, IMAGE, None, None, name)


def store(folder: Path, **description: object) -> RestoredImages:
    return RestoredImages(folder, "mean", description)


def half(cases: object) -> list[np.ndarray]:
    return [IMAGE / 2] * 2


def test_nothing_is_restored_twice(tmp_path: Path) -> None:
    cases = [case("x"), case("y")]
    assert store(tmp_path).complete(cases, half) == 2
    again = store(tmp_path)
    assert again.complete(cases, half) == 0
    assert np.array_equal(again.load(cases[1]), IMAGE / 2) and again.seconds(cases[1]) >= 0
    assert store(tmp_path, seed=1).complete(cases, half) == 2


@pytest.mark.parametrize("left", [0, 40, 150])
def test_a_damaged_file_is_restored_anew(left: int, tmp_path: Path) -> None:
    cases = [case("x"), case("y")]
    store(tmp_path).complete(cases, half)
    file = store(tmp_path).path(cases[0])
    file.write_bytes(file.read_bytes()[:left])
    assert store(tmp_path).complete(cases, half) == 2
    assert np.array_equal(store(tmp_path).load(cases[0]), IMAGE / 2)


def test_damaged_seconds_are_not_known(tmp_path: Path) -> None:
    store(tmp_path).complete([case("x"), case("y")], half)
    (tmp_path / store(tmp_path).folder.name / "seconds.json").write_text('{"x": 1')
    again = store(tmp_path)
    assert math.isnan(again.seconds(case("x"))) and again.complete([case("x"), case("y")], half) == 0
    (again.folder / "x.npy").unlink()
    assert again.complete([case("x"), case("y")], half) == 2
    assert set(json.loads((again.folder / "seconds.json").read_text())) == {"x", "y"}


def test_what_cannot_be_a_restoration(tmp_path: Path) -> None:
    for wrong, sentence in ((IMAGE[1:], "has 5 x 5 pixels, the original has 6 x 5"), (IMAGE * np.inf, "not finite")):
        with pytest.raises(ValueError, match=sentence):
            store(tmp_path).complete([case("x")], lambda cases, image=wrong: [image])
    assert not list(tmp_path.rglob("*.npy"))
