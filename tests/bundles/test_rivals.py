"""The networks that the paper compares with: trained by overlays of the denoising bundle, scored as regressions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from contracts.bundle_commands import read_metrics, small, write_xrays
from monai_cdiff.handlers import read_checkpoint

RIVALS = {
    "pix2pix": ("Pix2PixGenerator", {"discriminator_layers": 1}),
    "srgan": ("SRGANGenerator", {"discriminator_channels": [4, 8]}),
    "upgan": ("UPGAN", {"discriminator_layers": 1}),
    "hpunet": ("HierarchicalProbabilisticUNet", {}),
}


@pytest.mark.parametrize("rival", RIVALS)
def test_a_rival_is_trained_resumed_and_scored(rival: str, tmp_path: Path, run: Callable[..., Any]) -> None:
    network, own = RIVALS[rival]
    data, output = write_xrays(tmp_path / "data"), tmp_path / "out"
    overrides = {**small("denoise"), **own, "dataset_dir": str(data), "output_dir": str(output)}
    run("training", "denoise/train", f"denoise/{rival}", **overrides)
    metrics, checkpoint = read_metrics(output), output / "checkpoints" / "model.pt"
    assert metrics["iterations"] == 2 and metrics["psnr"] > 0 and metrics["num_inference_steps"] == 1
    assert read_checkpoint(checkpoint)["settings"]["network"] == network

    run("training", "denoise/train", f"denoise/{rival}", **{**overrides, "max_iterations": 3, "resume": True})
    state = torch.load(output / "checkpoints" / "checkpoint.pt", weights_only=True)
    assert state["iteration"] == 3 and ("discriminator" in state) == ("discriminator_optimizer" in state)
    assert ("discriminator" in state) == (rival != "hpunet")
    if rival != "hpunet":  # averaged by a decay of 0: the very weights
        assert all(torch.equal(value, state["ema_network"][name]) for name, value in state["network"].items())

    words = {"checkpoint": str(checkpoint), "dataset_dir": str(data), "device": "cpu"}
    run("run", "denoise/evaluate", "denoise/evaluate_regression", output_dir=str(tmp_path / "score"), **words)
    assert read_metrics(tmp_path / "score")["psnr"] == pytest.approx(read_metrics(output)["psnr"], abs=0.05)
