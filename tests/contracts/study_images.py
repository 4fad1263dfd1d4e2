"""Folders of real and generated images for reader studies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

__all__ = ["write_folders"]


def write_folders(folder: Path, count: int, shape: tuple[int, int] = (48, 60)) -> tuple[Path, Path]:
    """Write noisy pictures and smoothed ones of the same names, as super-resolution would name them."""
    real, generated = folder / "real", folder / "generated"
    for made in (real, generated):
        made.mkdir(parents=True)
    for number in range(count):
        values = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
        picture = Image.fromarray(values)
        picture.save(real / f"case{number}.png")
        picture.filter(ImageFilter.GaussianBlur(2)).save(generated / f"case{number}_sr.png")
    return real, generated
