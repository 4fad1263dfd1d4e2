"""What must survive: a kill in the middle of an epoch, Ctrl-C, and a second process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from contracts.bundle_commands import ROOT, SMALL, command, environment, read_metrics
from monai_cdiff.handlers import read_checkpoint

pytestmark = pytest.mark.slow

TRAIN = ("training", "--config_file", "bundles/sr/train.json")
LONG = {**SMALL, "max_iterations": 60, "checkpoint_interval": 7, "val_interval": 25, "num_workers": 1}


def start(output: Path, patients: Path, **overrides: Any) -> subprocess.Popen:
    words = command(*TRAIN, dataset_dir=patients, output_dir=output, **{**LONG, **overrides})
    log = open(output.with_suffix(".log"), "ab")
    return subprocess.Popen(words, cwd=ROOT, env=environment(), stdout=log, stderr=log, start_new_session=True)


def wait_for_checkpoint(output: Path, process: subprocess.Popen, iteration: int) -> int:
    """Wait until a checkpoint of this iteration or a later one is on disk; return its iteration."""
    file = output / "checkpoints" / "checkpoint.pt"
    for _ in range(1200):
        if file.exists() and (found := read_checkpoint(file)["iteration"]) >= iteration:
            return found
        assert process.poll() is None, output.with_suffix(".log").read_text()
        time.sleep(0.05)
    raise TimeoutError(f"no checkpoint of iteration {iteration} in {output}")


def finish(output: Path, process: subprocess.Popen) -> None:
    assert process.wait(timeout=300) == 0, output.with_suffix(".log").read_text()


def test_killed_in_the_middle_of_an_epoch_and_resumed_bit_for_bit(tmp_path: Path, patients: Path) -> None:
    finish(tmp_path / "whole", start(tmp_path / "whole", patients))
    process = start(tmp_path / "killed", patients)
    wait_for_checkpoint(tmp_path / "killed", process, 14)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    stopped = read_checkpoint(tmp_path / "killed" / "checkpoints" / "checkpoint.pt")["iteration"]
    assert stopped < 60 and stopped % 4, "an epoch has 4 iterations; the checkpoint must lie inside one"
    finish(tmp_path / "killed", start(tmp_path / "killed", patients, resume="true"))
    whole, resumed = (
        read_checkpoint(tmp_path / name / "checkpoints" / "checkpoint.pt") for name in ("whole", "killed")
    )
    assert resumed["iteration"] == whole["iteration"] == 60
    for part in ("network", "ema", "ema_network"):
        assert all(torch.equal(whole[part][key], resumed[part][key]) for key in whole[part]), part
    for one, two in zip(whole["optimizer"]["state"].values(), resumed["optimizer"]["state"].values()):
        assert all(torch.equal(one[key], two[key]) for key in one)


def test_interrupt_leaves_a_checkpoint_of_the_last_iteration(tmp_path: Path, patients: Path) -> None:
    output = tmp_path / "interrupted"
    process = start(output, patients, max_iterations=100_000, val_interval=100_000)
    before = wait_for_checkpoint(output, process, 7)
    os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C in a terminal does: to the loader's workers too
    assert process.wait(timeout=60) == 130, output.with_suffix(".log").read_text()
    content = read_checkpoint(output / "checkpoints" / "checkpoint.pt")
    assert content["iteration"] >= before and not (output / "metrics.json").exists()
    finish(output, start(output, patients, resume="true", max_iterations=content["iteration"] + 2))
    assert read_checkpoint(output / "checkpoints" / "checkpoint.pt")["iteration"] == content["iteration"] + 2


def losses(folder: Path) -> np.ndarray:
    events = EventAccumulator(str(folder)).Reload()
    tags = events.Tags()["scalars"]
    return np.array([scalar.value for scalar in events.Scalars(next(tag for tag in tags if "loss" in tag))])


def test_two_processes_train_as_one(tmp_path: Path, patients: Path) -> None:
    overrides = {**SMALL, "max_iterations": 20, "batch_size": 4, "amp": "false", "train__handlers__4__iteration_log": 1}
    one = command(*TRAIN, dataset_dir=patients, output_dir=tmp_path / "one", **overrides)
    subprocess.run(one, cwd=ROOT, env=environment(), check=True, capture_output=True)
    configs = "['bundles/sr/configs/train.json','bundles/sr/configs/multi_gpu_train.json']"
    overrides |= {"train__handlers__4___disabled_": False}
    overrides |= {"train__handlers__4__log_dir": "$@output_dir + '/rank%d' % @rank"}
    two = command("training", "--config_file", configs, dataset_dir=patients, output_dir=tmp_path / "two", **overrides)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *two[1:]]
    single = {**environment(), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(launch, cwd=ROOT, env=single, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    expected = losses(next((tmp_path / "one" / "tensorboard").iterdir()))
    found = (losses(tmp_path / "two" / "rank0") + losses(tmp_path / "two" / "rank1")) / 2
    assert len(expected) == len(found) == 20 and expected.std() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    for name in ("psnr", "ssim", "n_images"):
        reports = [read_metrics(tmp_path / run) for run in ("one", "two")]
        assert reports[1][name] == pytest.approx(reports[0][name], abs=2e-3)
