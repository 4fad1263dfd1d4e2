"""The first command of the README as it stands, for each task: from nothing to scores on the sample data."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from PIL import Image

from contracts.bundle_commands import ROOT, command, environment, read_metrics


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize(
    ("task", "iterations", "gain"), [("sr", 500, 2.5), ("denoise", 300, 5.0), ("inpaint", 300, 2.0)]
)
def test_sample_run_clearly_beats_its_baseline(task: str, iterations: int, gain: float, tmp_path: Path) -> None:
    words = command("training", "--config_file", f"bundles/{task}/train.json", output_dir=tmp_path, device="cpu")
    result = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True)
    log = result.stdout + result.stderr
    assert result.returncode == 0 and "ERROR" not in log, log
    metrics = read_metrics(tmp_path)
    print({name: metrics[name] for name in ("psnr", "ssim", "baseline", "iterations", "train_seconds")})
    assert metrics["psnr"] >= metrics["baseline"]["psnr"] + gain
    assert metrics["ssim"] > metrics["baseline"]["ssim"] and abs(metrics["brightness_shift"]) < 0.01
    assert "one averaged brain" in log and f"--max_iterations {iterations}" in log and "--network_size small" in log
    with Image.open(tmp_path / "comparison.png") as picture:
        assert picture.width > 4 * 150
