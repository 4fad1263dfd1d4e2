"""Fixtures of the evaluation tests: images of each task, and networks that were never trained."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from contracts.bundle_commands import write_inputs
from contracts.untrained_bundles import write_untrained


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path, Path]]:
    """By task: a folder of images, weights of a diffusion, and those of a regression."""

    @cache
    def make(task: str) -> tuple[Path, Path, Path]:
        folder = tmp_path_factory.mktemp(f"{task}-untrained")
        weights = write_untrained(task, folder / "model.pt")
        regression = write_untrained(task, folder / "regression.pt", method="regression")
        return write_inputs(task, folder / "images"), weights, regression

    return make
