"""The networks that the paper compares with: trained by overlays of the bundles, scored as regressions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contracts.bundle_commands import TASKS, bundle, config, read_metrics, small, write_inputs
from monai_cdiff.cli import main
from monai_cdiff.evaluation import BundleEvaluation
from monai_cdiff.handlers import read_checkpoint

RIVALS = {
    "pix2pix": ("Pix2PixGenerator", {"discriminator_layers": 1}),
    "srgan": ("SRGANGenerator", {"discriminator_channels": [4, 8]}),
    "upgan": ("UPGAN", {"discriminator_layers": 1}),
    "hpunet": ("HierarchicalProbabilisticUNet", {}),
}


@pytest.mark.parametrize("rival", RIVALS)
def test_the_overlay_of_a_rival_is_that_of_every_task(rival: str) -> None:
    assert config("sr", rival) == config("denoise", rival) == config("inpaint", rival)


def test_a_constraint_in_the_place_of_a_weight_is_resumed(tmp_path: Path, run: Callable[..., Any]) -> None:
    data = write_inputs("denoise", tmp_path / "data")
    configs = [f"denoise/{name}" for name in ("train", "regression", "hpunet")]
    overrides = {**small("denoise"), "dataset_dir": str(data), "output_dir": str(tmp_path / "out"), "kappa": 0.01}
    weights = []
    for iterations, resume in ((2, False), (3, True)):
        run("training", *configs, **{**overrides, "max_iterations": iterations, "resume": resume})
        state = torch.load(tmp_path / "out" / "checkpoints" / "checkpoint.pt", weights_only=True)
        weights.append(float(state["loss_function"]["multiplier"]))
    assert 1 < weights[0] < weights[1]  # it begins at 1, and an untrained network is far from the constraint


def test_a_comparison_draws_from_a_rival_with_noise(tmp_path: Path, run: Callable[..., Any]) -> None:
    data, output = write_inputs("denoise", tmp_path / "data"), tmp_path / "out"
    configs = [f"denoise/{name}" for name in ("train", "regression", "hpunet")]
    run("training", *configs, **small("denoise"), dataset_dir=str(data), output_dir=str(output))
    chosen = {"checkpoint": str(output / "checkpoints" / "model.pt"), "dataset_dir": str(data), "device": "cpu"}
    mean, drawn = (
        BundleEvaluation(bundle("denoise"), {**chosen, "cache_dir": str(tmp_path / "cache"), **sampled}).restore([0, 1])
        for sampled in ({}, {"sampled": True})
    )
    assert all(a.shape == b.shape and not np.array_equal(a, b) for a, b in zip(mean, drawn))
    diffusion = {**chosen, "checkpoint": str(bundle("denoise") / "models" / "model.pt"), "sampled": True}
    with pytest.raises(ValueError, match="sampled=True: .*evaluate.json has no id 'sampled'"):
        BundleEvaluation(bundle("denoise"), diffusion)


# the overlays of all tasks are equal (above), so one task is enough for every day
EACH_TASK = [task if task == "denoise" else pytest.param(task, marks=pytest.mark.slow) for task in TASKS]


@pytest.mark.parametrize("task", EACH_TASK)
@pytest.mark.parametrize("rival", RIVALS)
def test_a_rival_is_trained_resumed_and_scored(task: str, rival: str, tmp_path: Path, run: Callable[..., Any]) -> None:
    network, own = RIVALS[rival]
    data, output = write_inputs(task, tmp_path / "data"), tmp_path / "out"
    overrides = {**small(task), **own, "dataset_dir": str(data), "output_dir": str(output)}
    configs = [f"{task}/{name}" for name in ("train", "regression", rival)]
    run("training", *configs, **overrides)
    metrics, checkpoint = read_metrics(output), output / "checkpoints" / "model.pt"
    assert metrics["iterations"] == 2 and metrics["psnr"] > 0 and metrics["num_inference_steps"] == 1
    assert read_checkpoint(checkpoint)["settings"]["network"] == network

    run("training", *configs, **{**overrides, "max_iterations": 3, "resume": True})
    state = torch.load(output / "checkpoints" / "checkpoint.pt", weights_only=True)
    assert state["iteration"] == 3 and ("discriminator" in state) == ("discriminator_optimizer" in state)
    assert ("discriminator" in state) == (rival != "hpunet")
    if rival != "hpunet":
        both = [state[name] for name in ("lr_scheduler", "discriminator_lr_scheduler")]
        assert [schedule["last_epoch"] for schedule in both] == [3, 3] and both[0]["_last_lr"] == both[1]["_last_lr"]
        best = read_checkpoint(output / "checkpoints" / "best.pt")
        assert best["iteration"] in (2, 3) and best["score"] > 0
        # the average has a decay of 0: the very weights
        assert all(torch.equal(value, state["ema_network"][name]) for name, value in state["network"].items())

    words = {"checkpoint": str(checkpoint), "dataset_dir": str(data), "device": "cpu"}
    score = [f"{task}/evaluate", f"{task}/evaluate_regression"]
    run("run", *score, output_dir=str(tmp_path / "score"), **words)
    scored = read_metrics(tmp_path / "score")
    assert scored["psnr"] == pytest.approx(read_metrics(output)["psnr"], abs=0.05) and scored["sampled"] is False
    if rival in ("pix2pix", "hpunet"):
        run("run", *score, output_dir=str(tmp_path / "drawn"), sampled=True, **words)
        drawn = read_metrics(tmp_path / "drawn")
        assert drawn["sampled"] is True and drawn["psnr"] != scored["psnr"]

    mask = ["--mask", str(data.parent / f"{data.name}-masks")] if task == "inpaint" else []
    words = ["--bundle", str(bundle(task)), "--checkpoint", str(checkpoint), "--device", "cpu", *mask]
    assert main(["restore", str(data), str(tmp_path / "restored"), *words]) == 0
    assert len(list((tmp_path / "restored").rglob(f"*_{task}.*"))) == sum(path.is_file() for path in data.rglob("*"))
