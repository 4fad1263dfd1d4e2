"""Fixtures of the bundle tests."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.bundle_commands import ROOT, SMALL, bundle, command, environment, write_patients


@pytest.fixture(scope="session")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_patients(tmp_path_factory.mktemp("patients"))


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
def trained(patients: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a training by the literal command, on a folder of patients."""
    output = tmp_path_factory.mktemp("trained")
    words = command(
        "training", "--config_file", "bundles/sr/train.json", dataset_dir=patients, output_dir=output, **SMALL
    )
    result = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True)
    (output / "log.txt").write_text(result.stdout + result.stderr)
    assert result.returncode == 0, result.stdout + result.stderr
    return output
