"""Results of an evaluation, as the folder of one holds them, with small images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["example_images", "results", "row", "write_results"]

METHODS = {"noisy": "trivial", "filter": "classical", "regression": "regression", "mean": "diffusion"}


def row(method: str, setting: str = "", task: str = "denoise", **values: Any) -> dict[str, Any]:
    """One row, of 8 images of 4 subjects."""
    return {"task": task, "method": method, "setting": setting, "n": 8, "n_subjects": 4, **values}


def results(rows: list[dict[str, Any]] | None = None, **changed: Any) -> dict[str, Any]:
    """Results of two metrics; ``changed`` takes the place of what there is."""
    methods = [
        {"name": name, "kind": kind, "title": f"the {name}", "checkpoint_sha256": None, "settings": {}, "iterations": 3}
        for name, kind in METHODS.items()
    ]
    usual = [
        row("original", psnr=None, psnr_reason="equal to itself", lpips=None, lpips_reason="no weights"),
        row("noisy", psnr=16.0812, lpips=None, lpips_reason="no weights", psnr_difference=-15.9, psnr_p=0.00002),
        row("filter", psnr=29.5, psnr_interval=[29.1, 29.93], lpips=None, lpips_reason="no weights"),
        row("mean", psnr=32.08123456789, psnr_interval=[31.9, 32.3], lpips=None, lpips_reason="no weights"),
    ]
    made = {
        "date": "2026-01-02T03:04:05+00:00",
        "command": "python -m monai_cdiff evaluate --seed 0",
        "environment": {"monai_cdiff": "0.1.0", "torch": "2.11", "device": "cpu"},
        "task": "denoise",
        "bundle": {"name": "Denoising", "version": "0.2.0"},
        "test_set": {
            **{"split": "test", "n_images": 8, "n_subjects": 4, "sha256": "ab"},
            "settings": {"noise": {"std": 0.1}},
        },
        "seed": 0,
        "metrics": [
            {"name": "psnr", "title": "PSNR", "unit": "dB", "better": "higher", "note": "peak 1"},
            {"name": "lpips", "title": "LPIPS", "unit": "", "better": "lower", "note": ""},
        ],
        "methods": methods,
        "reference": "mean",
        "rows": usual if rows is None else rows,
        "examples": [],
        "warnings": ["few images"],
    }
    return {**made, **changed}


def example_images(folder: Path, mask: bool = False, shape: tuple[int, int] = (48, 40)) -> dict[str, Any]:
    """Write the images of an example: waves, with less and less noise; the entry that names them."""
    x, y = np.meshgrid(*map(np.arange, shape), indexing="ij")
    original = 0.5 + 0.4 * np.sin(x / 3) * np.cos(y / 4)
    noise = np.random.default_rng(0).normal(0, 0.2, shape)
    covered = ((x - 20) ** 2 + (y - 12) ** 2 < 30).astype(np.float64)
    images = {
        "original": original,
        "condition": original + noise,
        "filter": original + noise / 3,
        "mean": original + noise / 9,
        **({"mask": covered} if mask else {}),
    }
    (folder / "images").mkdir(parents=True, exist_ok=True)
    names = {name: f"images/{name}.npy" for name in images}
    for name, image in images.items():
        np.save(folder / names[name], image.astype(np.float32))
    restored = {name: names.pop(name) for name in ("mean", "filter")}
    return {"setting": "", "name": "waves", **names, "restored": restored}


def write_results(folder: Path, content: dict[str, Any]) -> Path:
    """Write ``results.json``; its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(content), encoding="utf-8")
    return folder
