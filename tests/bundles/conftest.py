"""Fixtures of the bundle tests."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from contracts.bundle_commands import (
    JUDGES,
    ROOT,
    bundle,
    command,
    environment,
    small,
    write_inputs,
    write_judged,
)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a bundle command in this process, from the repository root; "denoise/train" is a configuration of another."""
    import monai.bundle

    def run_here(run_id: str, *configs: str, **overrides: Any) -> Any:
        monkeypatch.chdir(ROOT)
        named = [name.rpartition("/") for name in configs]
        files = [str(bundle(task or "sr") / "configs" / f"{name}.json") for task, _, name in named]
        renamed = {name.replace("__", "#"): value for name, value in overrides.items()}
        return monai.bundle.run(run_id=run_id, config_file=files, **renamed)

    return run_here


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """By task: images, or the datalist of a judge, and the output folder of a training on them by the command."""

    @cache
    def train(task: str) -> tuple[Path, Path]:
        write = write_judged if task in JUDGES else write_inputs
        data, output = write(task, tmp_path_factory.mktemp(f"{task}-data")), tmp_path_factory.mktemp(task)
        file = f"bundles/{task}/train.json"
        words = command("training", "--config_file", file, dataset_dir=data, output_dir=output, **small(task))
        result = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True)
        (output / "log.txt").write_text(result.stdout + result.stderr)
        assert result.returncode == 0, result.stdout + result.stderr
        return data, output

    return train


@pytest.fixture(scope="session")
def patients(small_bundle: Callable[[str], tuple[Path, Path]]) -> Path:
    return small_bundle("sr")[0]


@pytest.fixture(scope="session")
def trained(small_bundle: Callable[[str], tuple[Path, Path]]) -> Path:
    return small_bundle("sr")[1]
