"""Restorations of real slices in each way there is: ``python -m benchmarks.restorations`` prints the tables of
docs/restorations.md from ``benchmarks/results/restorations.json``; ``--measure PART`` measures again.

The network is the shipped one of ``bundles/sr``; numbers are on the bundle's scale, as in
``benchmarks.trained_network``. From the root of the repository::

    python -m benchmarks.restorations --measure dial slices uncertainty consistency seams cost --datalist SPLIT.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from monai.inferers import DiffusionInferer, SlidingWindowInferer
from monai.networks.schedulers import DDIMScheduler as MonaiDDIMScheduler

from benchmarks.tables import fill, markdown
from benchmarks.trained_network import RestorationTask
from monai_cdiff.inferers import (
    ConformalIntervals,
    MatchLowResolution,
    RestorationInferer,
    SliceSettings,
    TiledNetwork,
    residual_map,
)
from monai_cdiff.metrics import CoverageMetric, FlickerMetric, SeamMetric
from monai_cdiff.networks import Parameterization
from monai_cdiff.networks.nets import ConditionalUNet
from monai_cdiff.networks.schedulers import DDIMScheduler

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "restorations.md"
RESULTS = ROOT / "benchmarks" / "results" / "restorations.json"
CALLS = 5
Rows = dict[str, dict[str, Any]]


def inferer(task: RestorationTask, **kwargs: Any) -> RestorationInferer:
    """Five calls of DDIM on its default spacing, as sharp as the original."""
    scheduler = DDIMScheduler(prediction_type=task.parameterization.prediction_type)
    return RestorationInferer(scheduler, CALLS, task.parameterization, **kwargs)


class Tasks:
    """Makes the tasks of a command line."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.checkpoint, self.datalist = arguments.checkpoint, arguments.datalist
        self.alone, self.beside = arguments.alone, arguments.beside
        self.held_out, self.held_out_datalist = arguments.held_out, arguments.held_out_datalist

    def __call__(
        self, checkpoint: str | None = None, datalist: str | None = None, **kwargs: Any
    ) -> RestorationTask:
        return RestorationTask(checkpoint or self.checkpoint, datalist or self.datalist, **kwargs)


def measure_dial(task: Tasks) -> Rows:
    """From the smallest error to the most texture."""
    crops = task()
    keys = list(range(len(crops.condition)))
    ways = {
        "mean, 1 call": inferer(crops, output="mean"),
        "average of 8": inferer(crops, output="average", num_samples=8),
        "average of 2": inferer(crops, output="average", num_samples=2),
        "antithetic pair": inferer(crops, output="antithetic"),
        "sample": inferer(crops),
    }
    restored = {name: way(crops.condition, crops.network, keys=keys) for name, way in ways.items()}
    return {name: crops.score(image) for name, image in {"degraded input": crops.condition, **restored}.items()}


def measure_slices(task: Tasks) -> Rows:
    """A volume of 20 slices, and how it changes from slice to slice."""
    stack = task(count=20)
    condition, original = (image.permute(1, 2, 3, 0)[None] for image in (stack.condition, stack.original))
    flicker = FlickerMetric()
    settings = {
        "noise of each slice its own": {},
        "noise half shared": {"noise_correlation": 0.5},
        "noise shared": {"noise_correlation": 1.0},
        "average over three axes": {"axis": (-1, 0, 1)},
        "average over three axes, noise shared": {"axis": (-1, 0, 1), "noise_correlation": 1.0},
    }
    volumes = {"degraded input": condition}
    for name, kwargs in settings.items():
        volumes[name] = inferer(stack, slices=SliceSettings(**kwargs))(condition, stack.network, keys=["volume"])
    volumes["mean, 1 call"] = inferer(stack, output="mean")(condition, stack.network, keys=["volume"])
    for checkpoint in (task.alone, task.beside):  # two short trainings that differ in the neighbours only
        other = task(count=20, checkpoint=checkpoint)
        name = f"short training, neighbours={other.neighbours}"
        slices = SliceSettings(neighbours=other.neighbours)
        volumes[name] = inferer(other, slices=slices)(condition, other.network, keys=["volume"])
    return {
        name: {**stack.score(volume[0].permute(3, 0, 1, 2)), "flicker": round(float(flicker(volume, original)), 3)}
        for name, volume in volumes.items()
    }


def measure_uncertainty(task: Tasks) -> Rows:
    """Intervals fitted on half the slices of the validation patient, and how many voxels of the others they hold."""
    found = _posteriors(task)
    parts = {
        "slices it was fitted on": found["validation"][:, ::2],
        "other slices of the patient": found["validation"][:, 1::2],
        "a patient of another scanner": found["test"],
    }
    return _held(parts)


def measure_patients(task: Tasks) -> Rows:
    """Intervals fitted on some patients, and how many voxels of other patients of the same scanner they hold.

    The network is that of a short training on the training list of ``--held_out_datalist``.
    """
    found = _posteriors(task, checkpoint=task.held_out, datalist=task.held_out_datalist)
    return _held({"patients it was fitted on": found["validation"], "other patients of the scanner": found["test"]})


def _posteriors(task: Tasks, **kwargs: Any) -> dict[str, torch.Tensor]:
    """Mean, standard deviation and original of the crops of both lists."""
    found = {}
    for split in ("validation", "test"):
        crops = task(split=split, **kwargs)
        keys = list(range(len(crops.condition)))
        mean, std = inferer(crops).posterior(crops.condition, crops.network, num_samples=8, keys=keys)
        found[split] = torch.stack([mean, std, crops.original])
    return found


def _held(parts: dict[str, torch.Tensor]) -> Rows:
    """Fit on the first part, count on all of them."""
    intervals, rows = ConformalIntervals(), {}
    intervals.update(*next(iter(parts.values())))
    for coverage in (0.8, 0.9, 0.95):
        intervals.fit(coverage)
        row = {"scale": round(intervals.scale, 3)}
        for name, (mean, std, original) in parts.items():
            row[f"held, {name}"] = round(float(CoverageMetric()(intervals.interval(mean, std), original).mean()), 4)
        rows[f"asked {coverage:g}"] = row
    return rows


def measure_seams(task: Tasks) -> Rows:
    """A whole slice, by a network that sees tiles, and by tiles that are restored one by one."""
    whole = task(count=1, size=320)
    restore, seam = inferer(whole), SeamMetric(96, 0)
    tiled = TiledNetwork(whole.network, 96, overlap=0.25)
    window: Any = SlidingWindowInferer(96, sw_batch_size=4, overlap=0, mode="constant")
    images = {
        "whole": restore(whole.condition, whole.network, keys=[0]),
        "fused in every step": restore(whole.condition, tiled, keys=[0]),
        "finished tiles side by side": window(whole.condition, lambda tiles: restore(tiles, whole.network)),
    }
    return {
        name: {**whole.score(image), "seam": round(float(seam(image, whole.original)), 3)}
        for name, image in images.items()
    }


def measure_consistency(task: Tasks) -> Rows:
    """Whole slices that agree with what was measured, or not."""
    whole = task(count=3, size=320)
    match = MatchLowResolution(whole.factor, whole.domain)
    images = {"degraded input": whole.condition}
    for name, kwargs in {"sample": {}, "sample, consistent": {"consistency": match}}.items():
        images[name] = inferer(whole, **kwargs)(whole.condition, whole.network, keys=[0, 1, 2])
    low = residual_map(torch.zeros_like(whole.condition), whole.condition, whole.factor, whole.domain, upsampled=False)
    rows = {}
    for name, image in images.items():
        left = residual_map(image, whole.condition, whole.factor, whole.domain, upsampled=False)
        difference = f"{float(left.norm() / low.norm()):.1e}"
        rows[name] = {**whole.score(image), "relative difference to the input": difference}
    return rows


def measure_cost(task: Tasks) -> Rows:
    """Seconds beside the network calls alone, and memory of a large volume."""
    network = task(count=1).network
    volume = torch.rand(1, 1, 128, 128, 20) * 2 - 1
    items = volume[0].permute(3, 0, 1, 2)
    parameterization = Parameterization("v_prediction", "residual", residual_scale=3.0)
    restore = RestorationInferer(DDIMScheduler(prediction_type="v_prediction"), 2, parameterization)
    noise = torch.randn_like(items)
    ways: dict[str, Callable[[], Any]] = {
        "network calls alone": lambda: _bare_calls(network, items, noise),
        "RestorationInferer": lambda: restore(volume, network, keys=["volume"]),
        "MONAI DiffusionInferer": lambda: _monai(network, items, noise),
        "diffusers, own loop": lambda: _diffusers(network, items, noise),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(5):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    bare = statistics.median(seconds["network calls alone"])
    rows: Rows = {
        f"20 slices of 128x128, 2 calls: {name}": {"ratio": round(statistics.median(times) / bare, 3)}
        for name, times in seconds.items()
    }
    memory = subprocess.run([sys.executable, "-c", _MEMORY], cwd=ROOT, check=True, capture_output=True, text=True)
    rows["512x512x200 (0.21 GB), tiny network, batches of 4"] = {"GB above the inputs": float(memory.stdout)}
    return rows


def _bare_calls(network: ConditionalUNet, items: torch.Tensor, noise: torch.Tensor) -> None:
    with torch.no_grad():
        for start in (0, 16):
            for timestep in (1999, 500):
                network(torch.cat([noise, items], dim=1)[start : start + 16], timestep)


def _monai(network: ConditionalUNet, items: torch.Tensor, noise: torch.Tensor) -> None:
    scheduler = MonaiDDIMScheduler(2000, prediction_type="v_prediction", clip_sample=False)
    scheduler.set_timesteps(2)
    for start in (0, 16):
        chosen = slice(start, start + 16)
        kwargs: dict[str, Any] = {"conditioning": items[chosen], "mode": "concat", "verbose": False}
        DiffusionInferer(scheduler).sample(noise[chosen], network, scheduler, **kwargs)


def _diffusers(network: ConditionalUNet, items: torch.Tensor, noise: torch.Tensor) -> None:
    import diffusers

    scheduler = diffusers.DDIMScheduler(2000, beta_end=0.02, prediction_type="v_prediction", clip_sample=False)
    scheduler.set_timesteps(2)
    with torch.no_grad():
        for start in (0, 16):
            sample, condition = noise[start : start + 16], items[start : start + 16]
            for timestep in scheduler.timesteps:
                output = network(torch.cat([sample, condition], dim=1), timestep)
                sample = scheduler.step(output, timestep, sample).prev_sample


_MEMORY = """
import resource, torch
from monai_cdiff.inferers import RestorationInferer
from monai_cdiff.networks.nets import ConditionalUNet
from monai_cdiff.networks.schedulers import DDIMScheduler
network = ConditionalUNet(2, 2, 1, size="tiny")
volume = torch.rand(1, 1, 512, 512, 200)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
RestorationInferer(DDIMScheduler(), 1, batch_size=4)(volume, network, keys=["volume"])
print(round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20, 2))
"""

MEASURES = {
    "dial": measure_dial,
    "slices": measure_slices,
    "uncertainty": measure_uncertainty,
    "patients": measure_patients,
    "consistency": measure_consistency,
    "seams": measure_seams,
    "cost": measure_cost,
}


def main() -> None:
    """Measure what is asked for, then print all tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.restorations", description=__doc__.split("\n")[0])
    parser.add_argument("--measure", nargs="+", choices=list(MEASURES), default=[], help="parts to measure again")
    parser.add_argument("--checkpoint", default=str(ROOT / "bundles/sr/models/model.pt"))
    parser.add_argument("--datalist", help="datalist JSON with one validation and one test patient")
    parser.add_argument("--alone", help="for 'slices': checkpoint of a short training")
    parser.add_argument("--beside", help="for 'slices': the same with --neighbours 1")
    parser.add_argument("--held_out", help="for 'patients': checkpoint of a training on --held_out_datalist")
    parser.add_argument("--held_out_datalist", help="for 'patients': datalist JSON with patients of one scanner")
    parser.add_argument("--page", action="store_true", help="write the tables into docs/")
    arguments = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    warnings.filterwarnings("ignore", module="monai")
    for part in arguments.measure:
        rows = MEASURES[part](Tasks(arguments))
        results[part] = rows
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    tables = [table(part, results[part]) for part in MEASURES if part in results]
    print("\n\n".join(tables))
    if arguments.page:
        PAGE.write_text(fill(PAGE.read_text(), tables))


def table(part: str, rows: Rows) -> str:
    """The rows of a part in Markdown."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    cells = [[label, *(row.get(name, "") for name in names)] for label, row in rows.items()]
    return f"{part}\n\n{markdown(['', *names], cells)}"


if __name__ == "__main__":
    main()
