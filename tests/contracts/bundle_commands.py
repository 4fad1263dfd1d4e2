"""A bundle's commands on patients small enough for a test."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
BUNDLE = ROOT / "bundles" / "sr"
AFFINE = np.array([[0.5, 0, 0, -4], [0, -0.5, 0, 5], [0, 0, 3, -6], [0, 0, 0, 1.0]])
SMALL = {
    "network_size": "tiny",
    "max_iterations": 2,
    "batch_size": 2,
    "patch_size": 16,
    "num_workers": 0,
    "val_slices_per_volume": 2,
    "factor": 2.0,
    "device": "cpu",
}


def write_patients(folder: Path, count: int = 3, shape: tuple[int, ...] = (24, 20, 4)) -> Path:
    """Patient folders with one smooth random volume each."""
    for n in range(count):
        volume = np.random.default_rng(n).random(shape).cumsum(axis=0).cumsum(axis=1).astype(np.float32)
        (folder / f"patient{n}").mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(volume, AFFINE), folder / f"patient{n}" / "t2.nii.gz")
    return folder


def command(*words: str, **overrides: Any) -> list[str]:
    """The words of a bundle command with overrides."""
    pairs = [text for name, value in overrides.items() for text in (f"--{name.replace('__', '#')}", str(value))]
    return [sys.executable, "-m", "monai.bundle", "run", *words, *pairs]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "2"}


def read_metrics(output: Path) -> dict[str, Any]:
    return json.loads((output / "metrics.json").read_text())
