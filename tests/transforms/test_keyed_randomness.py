"""Keyed noise and masks in a process of their own: the same bits."""

from __future__ import annotations

import subprocess
import sys

import torch

from monai_cdiff.transforms import GaussianSaltPepperNoise, InpaintMask

DRAW = """
import hashlib, torch
from monai_cdiff.transforms import GaussianSaltPepperNoise, InpaintMask
image = torch.arange(24 * 20 * 3.0).reshape(1, 24, 20, 3)
draws = [make(seed=5)(image, "patient-7").as_tensor() for make in (GaussianSaltPepperNoise, InpaintMask)]
print([hashlib.sha256(draw.contiguous().numpy().tobytes()).hexdigest() for draw in draws])
"""


def test_another_process_draws_the_same() -> None:
    image = torch.arange(24 * 20 * 3.0).reshape(1, 24, 20, 3)
    for make in (GaussianSaltPepperNoise, InpaintMask):
        make(seed=1)(image, "other")
    here: list[str] = []
    exec(DRAW.replace("print(", "found.extend("), {"found": here})
    elsewhere = f"import torch; torch.set_num_threads(2); torch.manual_seed(3){DRAW}"
    done = subprocess.run([sys.executable, "-c", elsewhere], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(here)
