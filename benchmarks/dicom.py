"""A CT series of 200 slices read and written, beside what a bare loop over pydicom takes.

    python -m benchmarks.dicom                # the table of the results that are kept
    python -m benchmarks.dicom --measure      # measure anew, about a minute, and keep the results
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from benchmarks.tables import markdown

RESULTS = Path(__file__).parent / "results" / "dicom.json"
JOBS = ("pydicom", "read_series", "write_derived")
ROUNDS = 5


def write_phantom(folder: Path, shape: tuple[int, int, int]) -> None:
    """A CT series with smooth anatomy and noise, as large as those of clinics."""
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    columns, rows, slices = shape
    random = np.random.default_rng(0)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    body = 1000 * (np.hypot(*np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]) < 0.8)
    folder.mkdir(parents=True)
    for k in range(slices):
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.Modality, dataset.PatientID, dataset.PatientName, dataset.SeriesNumber = "CT", "phantom", "Phantom", 3
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = study, series, frame
        dataset.ImageType, dataset.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], k + 1
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [-180, -180, k * 1.25], [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.SliceThickness = [0.7, 0.7], 1.25
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = rows, columns, 1
        dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 0
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = -1024, 1, "HU"
        dataset.PixelData = (body + random.integers(0, 200, (rows, columns))).astype(np.uint16).tobytes()
        dataset.save_as(folder / f"{k:04d}.dcm", enforce_file_format=True)


def bare_read(folder: Path) -> np.ndarray:
    """Read and stack as a script would that trusts every file."""
    datasets = sorted(map(pydicom.dcmread, folder.iterdir()), key=lambda dataset: dataset.ImagePositionPatient[2])
    slope, intercept = float(datasets[0].RescaleSlope), float(datasets[0].RescaleIntercept)
    return np.stack([d.pixel_array.T for d in datasets], axis=-1).astype(np.float32) * slope + intercept


def measure_job(job: str, folder: Path, rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds, and the most memory in copies of the float32 volume, of one job; for a process of its own."""
    from monai_cdiff.data import Derivation, read_series, source_record, write_derived

    source = source_record(folder)
    affine = np.diag([-0.7, -0.7, 1.25, 1.0])
    affine[:2, 3] = 180
    copy = 4 * int(np.prod(source.shape))
    before = _peak_bytes()
    # what is written is held by the caller, and counts as one copy
    volume = np.full(source.shape, 40.5, np.float32, order="F") if job == "write_derived" else np.empty(0)
    with tempfile.TemporaryDirectory(dir=folder.parent) as out:
        done = Derivation("benchmark", "b")
        work: dict[str, Callable[[], Any]] = {
            "pydicom": lambda: bare_read(folder),
            "read_series": lambda: read_series(folder),
            "write_derived": lambda: write_derived(volume, affine, source, out, done, overwrite=True),
        }
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            work[job]()
            seconds.append(time.perf_counter() - start)
    return {"seconds": round(statistics.median(seconds), 3), "copies": round((_peak_bytes() - before) / copy, 2)}


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(shape: tuple[int, int, int], rounds: int = ROUNDS) -> dict[str, Any]:
    """All jobs, each in a process of its own, one after another."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "series")
        write_phantom(folder, shape)
        results = {}
        for job in JOBS:
            words = [sys.executable, "-m", "benchmarks.dicom", "--job", job, "--folder", str(folder)]
            printed = subprocess.run([*words, "--rounds", str(rounds)], check=True, capture_output=True, text=True)
            results[job] = json.loads(printed.stdout)
    versions = {"pydicom": pydicom.__version__, "numpy": np.__version__}
    return {"shape": list(shape), "cores": os.cpu_count(), "versions": versions, "results": results}


def table(content: dict[str, Any]) -> str:
    """Seconds, ratio to the bare loop, and memory of each job."""
    rows = content["results"]
    bare = rows["pydicom"]["seconds"]
    names = {"pydicom": "bare pydicom: read, sort, stack"}
    shown = [
        [names.get(job, f"`{job}`"), f"{row['seconds']:.2f}", f"{row['seconds'] / bare:.2f}", f"{row['copies']:.1f}"]
        for job, row in rows.items()
    ]
    return markdown(["job", "seconds", "ratio", "memory, in float32 volumes"], shown)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="measure anew and keep the results")
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 200), help="columns, rows, slices")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="repetitions of each job")
    parser.add_argument("--job", choices=JOBS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        print(json.dumps(measure_job(args.job, args.folder, args.rounds)))
        return
    if args.measure:
        content = measure(tuple(args.shape), args.rounds)
        RESULTS.write_text(json.dumps({"command": "python -m benchmarks.dicom --measure", **content}, indent=1) + "\n")
    print(table(json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    main()
