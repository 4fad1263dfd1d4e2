"""Time and memory of the training loader with each way of keeping prepared images, beside the training step.

    python -m benchmarks.loading                # the tables of the results that are kept
    python -m benchmarks.loading --measure      # measure anew, some minutes, and keep the results

Each way runs in a process of its own, in which the loader (no workers) and now and then a training step take turns. The
fastest iteration counts, since others may use the machine, and the fastest step of all ways, which is the same for all;
the medians are kept beside them, with the load of the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.tables import markdown

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "loading.json"
DICOM = ROOT.parent / "shared" / "data" / "prostate3t_dicom"
JPEGS = ROOT.parent / "shared" / "data" / "kermany_chest_xray_224"
JPEG_COUNT = 600
BATCH, PATCH = 8, 96
ITERATIONS = 60
STEP_EVERY = 6
# Each iteration decodes eight volumes anew.
SLOW_ITERATIONS = 3
MEMORY_COPIES = (1, 8)

KEYS = ("image", "condition")

WAYS = {
    "decode": "`Dataset`: decode each time",
    "persistent": "MONAI `PersistentDataset`",
    "cache": "MONAI `CacheDataset`",
    "empty": "`MappedCacheDataset`, folder empty",
    "disk": "`MappedCacheDataset`, found, files on disk only",
    "warm": "`MappedCacheDataset`, found, files in the page cache",
}
OURS = ("empty", "disk", "warm")


def list_items(kind: str, folder: Path, copies: int = 1) -> list[dict[str, str]]:
    """Patients of DICOM files or single JPEGs; copies count as other patients."""
    from monai_cdiff.data import make_datalist

    if kind == "dicom":
        found = [item for items in make_datalist(folder).values() for item in items]
    else:
        files = sorted(folder.rglob("*.jp*g"))
        found = [{"image": str(file), "subject": file.stem} for file in files[:: len(files) // JPEG_COUNT][:JPEG_COUNT]]
    return [{**item, "subject": f"{item['subject']} {n}"} for n in range(copies) for item in found]


def preparation(kind: str) -> Callable:
    """What is done once for each image, as the super-resolution bundle does it."""
    from monai.data import PILReader
    from monai.transforms import Compose, CopyItemsd, LoadImaged

    from monai_cdiff.data import DicomSeriesReader
    from monai_cdiff.transforms import DownsampleUpsampled, ScaleIntensityPatientwised

    reader = DicomSeriesReader() if kind == "dicom" else PILReader(converter=lambda image: image.convert("L"))
    return Compose(
        [
            LoadImaged("image", reader=reader, ensure_channel_first=True),
            CopyItemsd("image", names="condition"),
            DownsampleUpsampled("condition", factor=4.0),
            ScaleIntensityPatientwised(["image", "condition"], ref_key="condition"),
        ]
    )


def make_volumes(way: str, items: Sequence[Any], transform: Callable, cache_dir: Path) -> Any:
    """The prepared images, kept one way."""
    from monai.data import CacheDataset, Dataset, PersistentDataset

    from monai_cdiff.data import MappedCacheDataset

    if way == "decode":
        return Dataset(items, transform)
    if way == "persistent":
        return PersistentDataset(items, transform, cache_dir, track_meta=True, weights_only=False)
    if way == "cache":
        return CacheDataset(items, transform, num_workers=2, progress=False)
    return MappedCacheDataset(items, transform, cache_dir, num_workers=2, progress=False)


def training_batches(volumes: Any) -> Iterator[Any]:
    """The loader of the super-resolution bundle, without workers."""
    from monai.data import DataLoader
    from monai.transforms import Compose, EnsureTyped, RandFlipd, RandSpatialCropd, SpatialPadd

    from monai_cdiff.data import ItemDataset, IterationSampler, KeyedDataset

    augment = [
        SpatialPadd(KEYS, [PATCH] * 2, mode="edge"),
        RandSpatialCropd(KEYS, [PATCH] * 2, random_size=False),
        RandFlipd(KEYS, prob=0.5, spatial_axis=0),
        EnsureTyped(KEYS, dtype=torch.float32, track_meta=False),
    ]
    dataset = KeyedDataset(ItemDataset(volumes), Compose(augment), seed=0)
    return iter(DataLoader(dataset, batch_sampler=IterationSampler(BATCH, 10**6)))


def make_step() -> Callable[[Any], None]:
    """One training step of the small network on the CPU, in bfloat16 where the bundle would."""
    from monai_cdiff.engines import ConditionalDiffusionPrepareBatch
    from monai_cdiff.inferers import ConditionalDiffusionInferer
    from monai_cdiff.networks import Parameterization
    from monai_cdiff.networks.nets import ConditionalUNet
    from monai_cdiff.networks.schedulers import DDPMScheduler
    from monai_cdiff.utils import amp_by_default, autocast

    parameterization = Parameterization(prediction_type="v_prediction", target="residual", residual_scale=3.0)
    scheduler = DDPMScheduler(num_train_timesteps=2000, prediction_type="v_prediction")
    prepare = ConditionalDiffusionPrepareBatch(scheduler, parameterization)
    inferer = ConditionalDiffusionInferer(scheduler, parameterization=parameterization)
    network = ConditionalUNet(spatial_dims=2, in_channels=2, out_channels=1, size="small")
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)

    def step(batch: Any) -> None:
        image, target, args, kwargs = prepare(batch, "cpu")
        optimizer.zero_grad(set_to_none=True)
        with autocast("cpu", amp_by_default("cpu")):
            prediction = inferer(image, network, *args, **kwargs)
        torch.nn.functional.mse_loss(prediction.float(), target).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    return step


def forget_files(folder: Path) -> None:
    """Ask the system to keep none of these files in memory."""
    for file in folder.iterdir():
        number = os.open(file, os.O_RDONLY)
        os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(number)


def own_mib() -> float:
    """Memory that belongs to this process alone, without the files it has mapped."""
    return int(Path("/proc/self/status").read_text().partition("RssAnon:")[2].split()[0]) / 1024


def measure_time(way: str, kind: str, folder: Path, cache_dir: Path, iterations: int) -> dict[str, float]:
    """Seconds until the images are ready, and those of the loader and of the step."""
    items, transform, step = list_items(kind, folder), preparation(kind), make_step()
    start = time.perf_counter()
    volumes = make_volumes(way, items, transform, cache_dir)
    ready = time.perf_counter() - start
    batches = training_batches(volumes)
    step(next(batches))  # what is made once
    loads, steps = [], []
    for n in range(iterations):
        start = time.perf_counter()
        batch = next(batches)
        loaded = time.perf_counter()
        loads.append(loaded - start)
        if n % STEP_EVERY == 0:
            step(batch)
            steps.append(time.perf_counter() - loaded)
    return {
        "ready_s": round(ready, 3),
        "load_s": round(min(loads), 5),
        "load_median_s": round(statistics.median(loads), 5),
        "step_s": round(min(steps), 4),
        "step_median_s": round(statistics.median(steps), 4),
    }


def measure_memory(way: str, kind: str, folder: Path, cache_dir: Path, copies: int) -> dict[str, float]:
    """Memory that this process has of its own, more than before, after all images were seen."""
    items, transform = list_items(kind, folder, copies), preparation(kind)
    transform(items[0])  # what is imported by the way
    before = own_mib()
    volumes = make_volumes(way, items, transform, cache_dir)
    voxels = sum(float(volumes[n][key].sum() * 0) + volumes[n][key].nbytes for n in range(len(items)) for key in KEYS)
    return {"volumes": len(items), "MiB": round(voxels / 2**20, 1), "own_MiB": round(own_mib() - before, 1)}


def in_process(job: str, *words: Any) -> Any:
    """A job in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.loading", "--job", job, *map(str, words)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    return json.loads(printed.strip().splitlines()[-1])


def measure(dicom: Path, jpegs: Path, iterations: int = ITERATIONS) -> dict[str, Any]:
    """All ways on both kinds of images."""
    times: dict[str, Any] = {}
    memory: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        for kind, folder in (("dicom", dicom), ("jpeg", jpegs)):
            times[kind] = {}
            for way in WAYS:
                cache_dir = Path(place, kind, "ours" if way in OURS else way)
                if way == "disk":
                    os.sync()
                    forget_files(cache_dir)
                count = min(iterations, SLOW_ITERATIONS) if (way, kind) == ("decode", "dicom") else iterations
                times[kind][way] = in_process("time", way, kind, folder, cache_dir, count)
        for way in ("cache", "empty", "warm"):
            cache_dir = Path(place, "memory" + way.replace("warm", "empty"))
            memory[way] = [in_process("memory", way, "dicom", dicom, cache_dir, copies) for copies in MEMORY_COPIES]
    return {"load_average": os.getloadavg(), "times": times, "memory": memory}


def tables(content: dict[str, Any]) -> Iterator[str]:
    """Time by way for each kind of images, and memory."""
    names = {"dicom": "DICOM volumes, slices", "jpeg": f"{JPEG_COUNT} JPEGs"}
    for kind, rows in content["times"].items():
        step = min(row["step_s"] for row in rows.values())
        shown = [
            [WAYS[way], f"{row['ready_s']:.2f}", f"{row['load_s'] * 1000:.1f}", f"{row['load_s'] / step:.1%}"]
            for way, row in rows.items()
        ]
        last = f"of a step of {step * 1000:.0f} ms"
        yield markdown([names[kind], "ready after, s", "loader, ms per iteration", last], shown)
    shown = [[WAYS[way], *(f"{row['own_MiB']:.0f}" for row in rows)] for way, rows in content["memory"].items()]
    counts = [f"{row['volumes']} volumes of {row['MiB']:.0f} MiB" for row in next(iter(content["memory"].values()))]
    yield markdown(["memory of the process, MiB", *counts], shown)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="measure anew and keep the results")
    parser.add_argument("--dicom", type=Path, default=DICOM, help="folder of patient folders")
    parser.add_argument("--jpegs", type=Path, default=JPEGS, help="folder of JPEG images")
    parser.add_argument("--iterations", type=int, default=ITERATIONS, help="iterations of each way")
    parser.add_argument("--job", nargs=6, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        job, way, kind, folder, cache_dir, count = args.job
        work = {"time": measure_time, "memory": measure_memory}[job]
        print(json.dumps(work(way, kind, Path(folder), Path(cache_dir), int(count))))
        return
    if args.measure:
        content = measure(args.dicom, args.jpegs, args.iterations)
        versions = {name: version(name) for name in ("monai", "torch")}
        facts = {"command": "python -m benchmarks.loading --measure", "cores": os.cpu_count(), "versions": versions}
        RESULTS.write_text(json.dumps({**facts, **content}, indent=1) + "\n")
    print("\n\n".join(tables(json.loads(RESULTS.read_text()))))


if __name__ == "__main__":
    main()
