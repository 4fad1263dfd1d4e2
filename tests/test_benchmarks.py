"""The benchmarks run, what they claim holds, and the page in the docs shows what they print."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch

from contracts.bundle_commands import small, write_inputs
from monai_cdiff.networks.schedulers import UniPCMultistepScheduler

ROOT = Path(__file__).parents[1]

# Wasserstein-1 error of the best sampler of MONAI or diffusers by calls, two components; benchmarks/results/exact.json
BEST_PEER = {4: 0.1832, 8: 0.0337, 10: 0.0659, 16: 0.00818, 20: 0.00603, 32: 0.00158, 50: 0.00068, 100: 0.00035}


def load(name: str) -> ModuleType:
    """A file of the benchmarks on its own, so that it meets the installed package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def exact_model() -> ModuleType:
    return load("exact_model")


@pytest.fixture(scope="module")
def rivals() -> ModuleType:
    return load("rivals")


@pytest.mark.parametrize("calls", BEST_PEER)
def test_the_default_sampler_errs_half_as_much_as_the_best_peer(calls: int, exact_model: ModuleType) -> None:
    scheduler = UniPCMultistepScheduler(prediction_type="v_prediction", clip_sample=False)
    scheduler.set_timesteps(calls)

    def sample(network, start: torch.Tensor) -> torch.Tensor:  # type: ignore[no-untyped-def]
        for t in scheduler.timesteps:
            start, _ = scheduler.step(network(start, t), t, start)
        return start

    mixture = exact_model.MIXTURES["two components (the anchor)"]
    assert exact_model.sampling_error(sample, mixture, count=10_000) < BEST_PEER[calls] / 2


def test_the_best_peers_are_those_of_the_results() -> None:
    rows = json.loads((ROOT / "benchmarks/results/exact.json").read_text())["results"]["two components (the anchor)"]
    peers = [row for name, row in rows.items() if name.startswith(("MONAI", "diffusers"))]
    for calls, error in BEST_PEER.items():
        assert min(row[str(calls)] for row in peers) == pytest.approx(error, rel=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [("samplers", 8), ("restorations", 7), ("dicom", 1)])
def test_a_page_shows_the_tables_that_its_command_prints(name: str, count: int) -> None:
    command = [sys.executable, "-m", f"benchmarks.{name}"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    page = (ROOT / "docs" / f"{name}.md").read_text()
    tables = [part for part in printed.strip().split("\n\n") if part.startswith("|")]
    assert len(tables) == count
    for table in tables:
        assert table in page


@pytest.mark.slow
def test_rivals_are_trained_for_the_same_time_and_compared(tmp_path: Path) -> None:
    data = write_inputs("denoise", tmp_path / "data")
    own = ("max_iterations", "val_interval")
    tiny = [f"{name}={value}" for name, value in small("denoise").items() if name not in own]
    command = [sys.executable, "-m", "benchmarks.rivals", "denoise", "--dataset_dir", str(data), "--minutes", "0.02"]
    command += ["--output_dir", str(tmp_path / "out"), "--rivals", "regression", "--seeds", "0", "1", "--jobs", "2"]
    command += ["--train", *tiny, "--evaluate", "--examples 0"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    budget = json.loads((tmp_path / "out" / "budget.json").read_text())["methods"]
    results = json.loads((tmp_path / "out" / "results" / "results.json").read_text())
    trained = {method["name"]: method["iterations"] for method in results["methods"] if method["iterations"]}
    names = ["regression.0", "regression.1", "mean.0", "mean.1", "sample.0"]
    assert list(trained) == names and trained["mean.1"] == budget["ours"]["iterations"]
    assert trained["regression.0"] == budget["regression"]["iterations"]
    assert set(budget["ours"]["seconds"]) == {"0", "1"} and results["reference"] == "mean.0"
    tables = (tmp_path / "out" / "results" / "tables.md").read_text()
    assert "mean over trainings" in tables and "| ours, training 1 |" in tables


def test_rivals_of_another_budget_need_a_folder_of_their_own(tmp_path: Path, rivals: ModuleType) -> None:
    def begin(minutes: float, **settings: str) -> None:
        trainings = rivals.Trainings(ROOT / "bundles" / "denoise", tmp_path, "list.json", settings)
        (tmp_path / "budget.json").write_text(json.dumps(rivals.read_budget(trainings, minutes)))

    begin(10.0, patch_size="64")
    begin(10.0, patch_size="64")
    with pytest.raises(ValueError, match=r"made with minutes=10.0, not 60.0; name another OUT"):
        begin(60.0, patch_size="64")
    with pytest.raises(ValueError, match=r"made with settings=.*64.*, not .*32"):
        begin(10.0, patch_size="32")


def test_a_rival_that_fails_stops_those_that_have_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rivals: ModuleType
) -> None:
    begun: list[tuple[str, int]] = []

    def run(self: object, method: str, seed: int, iterations: int) -> float:
        begun.append((method, seed))
        time.sleep(0.1)
        raise RuntimeError(f"{method}, seed {seed}: the training ended with 1")

    monkeypatch.setattr(rivals.Trainings, "run", run)
    monkeypatch.setattr(rivals.Trainings, "speed", lambda self, method: 1.0)
    trainings = rivals.Trainings(ROOT / "bundles" / "denoise", tmp_path, "list.json", {})
    with pytest.raises(RuntimeError, match="ours, seed 0: the training ended with 1"):
        rivals.train_all(trainings, ["ours", "regression"], list(range(50)), 1.0)
    assert len(begun) < 10
