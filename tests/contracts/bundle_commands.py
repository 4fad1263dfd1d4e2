"""A bundle's commands on patients small enough for a test."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent.parent
BUNDLE = ROOT / "bundles" / "sr"
TASKS = ("sr", "denoise", "inpaint")
JUDGES = ("classify", "segment")
CLASSES = ("normal", "bacterial", "viral")
SPLITS = ("training", "validation", "test")
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

SMALL_JUDGE = {"max_iterations": 2, "batch_size": 2, "num_workers": 0, "image_size": 32, "patch_size": [16, 16, 16]}


def write_patients(folder: Path, count: int = 3, shape: tuple[int, ...] = (24, 20, 4)) -> Path:
    """Patient folders with one smooth random volume each."""
    for n in range(count):
        volume = np.random.default_rng(n).random(shape).cumsum(axis=0).cumsum(axis=1).astype(np.float32)
        (folder / f"patient{n}").mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(volume, AFFINE), folder / f"patient{n}" / "t2.nii.gz")
    return folder


def bundle(task: str) -> Path:
    """The folder of the bundle of a task."""
    return ROOT / "bundles" / task


def config(task: str, name: str) -> dict[str, Any]:
    """A configuration of the bundle of a task."""
    return json.loads((bundle(task) / "configs" / f"{name}.json").read_text())


def small(task: str) -> dict[str, Any]:
    """The overrides of a training for a test, less those that the bundle does not have."""
    known = {**SMALL, **SMALL_JUDGE} if task in JUDGES else SMALL
    return {name: value for name, value in known.items() if name in config(task, "train")}


def write_inputs(task: str, folder: Path) -> Path:
    """Images of the kind that a task takes; for inpainting with their masks beside the folder."""
    if task in ("denoise", "classify"):
        return write_xrays(folder)
    write_patients(folder)
    if task == "inpaint":
        for image in folder.rglob("*.nii.gz"):
            mask = np.zeros(nibabel.load(image).shape, dtype=np.uint8)
            mask[5:11, 6:15, 1:] = 1
            file = folder.parent / f"{folder.name}-masks" / image.relative_to(folder)
            file.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(mask, AFFINE), file)
    return folder


def write_xrays(folder: Path, count: int = 3, size: tuple[int, int] = (24, 20)) -> Path:
    """Patient folders with two smooth random pictures each."""
    for n in range(count):
        (folder / f"patient{n}").mkdir(parents=True)
        for k in range(2):
            values = np.random.default_rng(10 * n + k).random(size).cumsum(axis=0).cumsum(axis=1)
            grey = (values / values.max() * 255).astype(np.uint8)
            Image.fromarray(grey).save(folder / f"patient{n}" / f"view{k}.png")
    return folder


def write_judged(task: str, folder: Path) -> Path:
    """A datalist of three patients with what a judge learns: the class of pictures, or the label of volumes."""
    items: list[dict[str, str]] = []
    if task == "classify":
        for n, image in enumerate(sorted(write_xrays(folder / "images", size=(40, 36)).rglob("*.png"))):
            item = {"image": str(image.relative_to(folder)), "class": CLASSES[n % 3]}
            items.append({**item, "subject": image.parent.name})
    else:
        for image in sorted(write_patients(folder / "images", shape=(18, 14, 12)).rglob("*.nii.gz")):
            values = nibabel.load(image).get_fdata()
            label = np.digitize(values, np.quantile(values, [0.5, 0.75])).astype(np.uint8)
            file = folder / "labels" / image.relative_to(folder / "images")
            file.parent.mkdir(parents=True)
            nibabel.save(nibabel.Nifti1Image(label, AFFINE), file)
            paths = {"image": str(image.relative_to(folder)), "label": str(file.relative_to(folder))}
            items.append({**paths, "subject": image.parent.name})
    splits = {split: [i for i in items if i["subject"] == f"patient{n}"] for n, split in enumerate(SPLITS)}
    (folder / "list.json").write_text(json.dumps(splits))
    return folder / "list.json"


def command(*words: str, **overrides: Any) -> list[str]:
    """The words of a bundle command with overrides."""
    pairs = [text for name, value in overrides.items() for text in (f"--{name.replace('__', '#')}", str(value))]
    return [sys.executable, "-m", "monai.bundle", "run", *words, *pairs]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "2"}


def read_metrics(output: Path) -> dict[str, Any]:
    return json.loads((output / "metrics.json").read_text())
