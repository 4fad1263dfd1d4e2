"""Methods trained for the same time on the same data and machine, then compared on the test set.

    python -m benchmarks.rivals sr --dataset_dir split.json --minutes 10 --seeds 0 1 2 --output_dir OUT
    python -m benchmarks.rivals denoise --dataset_dir kermany.json --minutes 10 --output_dir OUT \
        --train network_size=small patch_size=64 num_workers=0 --evaluate "--classifier bundles/classify --examples 3"

Each method is trained a little to learn its speed beside the same number of others, then for as many iterations as fill
the time; its rate falls along half a cosine that ends with them. A comparison that was interrupted goes on. In OUT:
``budget.json`` (what was asked for, speeds, iterations, and the seconds that each training took),
``trainings/METHOD.SEED`` and ``results``, as ``python -m monai_cdiff evaluate`` writes them.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from monai_cdiff.evaluation import known_methods, training_configs
from monai_cdiff.handlers import read_checkpoint
from monai_cdiff.utils import check_option, write_json

# Of the publication's tables, and what needs no training.
RIVALS = {
    "sr": ("regression", "pix2pix", "srgan"),
    "denoise": ("regression", "pix2pix", "upgan"),
    "inpaint": ("regression", "pix2pix", "hpunet", "upgan"),
}
UNTRAINED = {
    "sr": ("bilinear", "bicubic"),
    "denoise": ("noisy", "nlm", "tv"),
    "inpaint": ("mean_fill", "harmonic", "biharmonic"),
}
OURS = "ours"
# Iterations of the training that tells the speed, and those of them that do, after the first have warmed up.
SPEED_ITERATIONS, WARM_UP = 60, 20
NEVER = 10**9


class Trainings:
    """Trainings of one bundle that share data, settings, and the time each may take.

    Args:
        bundle: folder of the bundle.
        output_dir: where they are kept.
        dataset_dir: what they train on.
        settings: ids of ``train.json`` and their values, the same for all methods.
        jobs: how many run side by side, each on its share of the cores.
    """

    def __init__(
        self, bundle: Path, output_dir: Path, dataset_dir: str, settings: Mapping[str, str], jobs: int = 1
    ) -> None:
        self.bundle = bundle
        self.output_dir = output_dir
        self.dataset_dir = dataset_dir
        self.settings = dict(settings)
        self.jobs = jobs

    def model(self, method: str, seed: int) -> Path:
        """The weights of a training."""
        return self.folder(method, seed) / "checkpoints" / "model.pt"

    def folder(self, method: str, seed: int) -> Path:
        """The folder of a training."""
        return self.output_dir / "trainings" / f"{method}.{seed}"

    def command(self, method: str, seed: int, iterations: int, folder: Path) -> list[str]:
        """The training of a method, without the test that would follow it."""
        words = {
            "config_file": str(training_configs(self.bundle.resolve(), method)),
            "bundle_root": self.bundle.resolve(),
            "dataset_dir": self.dataset_dir,
            "cache_dir": self.output_dir.resolve() / "cache",
            "output_dir": folder,
            "seed": seed,
            "max_iterations": iterations,
            "val_interval": NEVER,
            "resume": str((folder / "checkpoints" / "checkpoint.pt").is_file()).lower(),
            "training": "['$@train#trainer.run()']",
            **self.settings,
        }
        options = [word for name, value in words.items() for word in (f"--{name}", str(value))]
        return [sys.executable, "-m", "monai.bundle", "run", "training", *options]

    def run(self, method: str, seed: int, iterations: int, folder: Path | None = None) -> float:
        """Train, or go on where an earlier call was interrupted; seconds of training.

        Raises:
            RuntimeError: if the training failed; its log is named.
        """
        folder = self.folder(method, seed) if folder is None else folder
        model, log = folder / "checkpoints" / "model.pt", folder.with_name(f"{folder.name}.log")
        if not model.is_file() or read_checkpoint(model)["iteration"] < iterations:
            folder.parent.mkdir(parents=True, exist_ok=True)
            threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // self.jobs))}
            with open(log, "ab") as stream:
                words = self.command(method, seed, iterations, folder)
                code = subprocess.run(words, stdout=stream, stderr=stream, env={**os.environ, **threads}).returncode
            if code:
                raise RuntimeError(f"{method}, seed {seed}: the training ended with {code}; see {log}.")
        return float(read_checkpoint(model)["train_seconds"])

    def speed(self, method: str) -> float:
        """Iterations a second, by the clock of a short training's log."""
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        folder = self.output_dir / "speeds" / method
        self.run(method, 0, SPEED_ITERATIONS, folder)
        events = EventAccumulator(str(max((folder / "tensorboard").iterdir())))
        events.Reload()
        logged = [event for event in events.Scalars("train_loss") if event.step >= WARM_UP]
        return (logged[-1].step - logged[0].step) / (logged[-1].wall_time - logged[0].wall_time)


def read_budget(trainings: Trainings, minutes: float) -> dict[str, Any]:
    """What was asked for and what is known of it, from an earlier call if there was one.

    Raises:
        ValueError: if an earlier call in the same folder asked for something else.
    """
    asked = {"minutes": minutes, "bundle": str(trainings.bundle), "dataset_dir": trainings.dataset_dir}
    asked |= {"settings": trainings.settings, "jobs": trainings.jobs}
    path = trainings.output_dir / "budget.json"
    budget: dict[str, Any] = {**asked, "methods": {}}
    if path.is_file():
        budget = json.loads(path.read_text(encoding="utf-8"))
    for name, value in asked.items():
        if budget.get(name) != value:
            raise ValueError(f"{path} was made with {name}={budget.get(name)!r}, not {value!r}; name another OUT.")
    return budget


def train_all(trainings: Trainings, methods: Sequence[str], seeds: Sequence[int], minutes: float) -> None:
    """Train every method with every seed, and keep what each had; a failure stops those that have not begun."""
    budget = read_budget(trainings, minutes)
    path = trainings.output_dir / "budget.json"
    with ThreadPoolExecutor(trainings.jobs) as pool:
        try:
            new = [method for method in methods if method not in budget["methods"]]
            for method, speed in zip(new, pool.map(trainings.speed, new)):
                iterations = max(1, int(60 * minutes * speed))
                budget["methods"][method] = {"iterations_per_second": round(speed, 3), "iterations": iterations}
                print(f"{method}: {iterations} iterations", flush=True)
            write_json(budget, path)
            pairs = [(method, seed) for seed in seeds for method in methods]
            jobs = [pool.submit(trainings.run, *pair, budget["methods"][pair[0]]["iterations"]) for pair in pairs]
            for (method, seed), job in zip(pairs, jobs):
                seconds = round(job.result(), 1)
                budget["methods"][method].setdefault("seconds", {})[str(seed)] = seconds
                write_json(budget, path)
                print(f"{method}, seed {seed}: {seconds:.0f} s", flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def compare(
    trainings: Trainings, task: str, rivals: Sequence[str], seeds: Sequence[int], outputs: Sequence[str], more: str
) -> int:
    """Score the trainings beside the methods without one; the exit status of ``evaluate``.

    Of our outputs the first, which is the reference, is scored for every seed, the others for the first seed.
    """
    words = list(UNTRAINED[task])
    words += [f"{name}.{seed}={trainings.model(name, seed)}" for name in rivals for seed in seeds]
    words += [f"{outputs[0]}.{seed}={trainings.model(OURS, seed)}" for seed in seeds]
    words += [f"{name}.{seeds[0]}={trainings.model(OURS, seeds[0])}" for name in outputs[1:]]
    options = {
        "bundle": trainings.bundle,
        "dataset_dir": trainings.dataset_dir,
        "checkpoint": trainings.model(OURS, seeds[0]),
        "output_dir": trainings.output_dir / "results",
        "reference": f"{outputs[0]}.{seeds[0]}",
    }
    command = [sys.executable, "-m", "monai_cdiff", "evaluate"]
    command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return subprocess.run([*command, *shlex.split(more), "--methods", *words]).returncode


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and compare; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=RIVALS)
    parser.add_argument("--dataset_dir", required=True)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, help="default: bundles/TASK")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, for each method and seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    known = sorted({name for names in RIVALS.values() for name in names})
    parser.add_argument("--rivals", nargs="*", choices=known, help="beside ours (default: those of the paper's table)")
    parser.add_argument("--outputs", nargs="+", default=["mean", "sample"], help="of ours; the first for every seed")
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side")
    parser.add_argument("--train", nargs="*", default=[], metavar="ID=VALUE", help="ids of train.json, for all methods")
    parser.add_argument("--evaluate", default="", metavar="WORDS", help="further words of evaluate, as one argument")
    args = parser.parse_args(arguments)
    rivals = RIVALS[args.task] if args.rivals is None else args.rivals
    for word in args.train:
        if "=" not in word:
            parser.error(f"--train {word!r} is not ID=VALUE")
    for name in args.outputs:
        check_option("outputs", name, [name for name in known_methods(args.task) if name not in UNTRAINED[args.task]])
    settings = dict(word.split("=", 1) for word in args.train)
    bundle = args.bundle or Path("bundles", args.task)
    trainings = Trainings(bundle, args.output_dir, args.dataset_dir, settings, args.jobs)
    train_all(trainings, [OURS, *rivals], args.seeds, args.minutes)
    return compare(trainings, args.task, rivals, args.seeds, args.outputs, args.evaluate)


if __name__ == "__main__":
    sys.exit(main())
