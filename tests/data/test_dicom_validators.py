"""Derived series as dicom3tools judges them: no error from a clean source, no new one from another.

Their lines of errors are read: the exit code of dciodvfy says nothing.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

from contracts.dicom_sources import write_projection, write_stack
from monai_cdiff.data import Derivation, read_series, scan_series, source_record, write_derived

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("dciodvfy") and shutil.which("dcentvfy")),
        reason="dciodvfy and dcentvfy are not installed (Debian: apt-get install dicom3tools)",
    ),
]

DONE = Derivation(
    "in-plane super-resolution by factor 4",
    "sr",
    {"bundle": "sr 0.1", "model_sha256": "ab" * 32, "num_inference_steps": 8, "seed": 3},
    codes=("SpatialResampling",),
)
SPREAD = Derivation("standard deviation of 4 samples", "std", {"seed": 3}, quantity="standard deviation")
# SyntheticData came into the standard after the newest build of dicom3tools.
UNKNOWN = re.compile(r"\(0x0008,0x001c\)")


def _errors(files: list[str]) -> list[str]:
    """Error lines of dciodvfy for each file and of dcentvfy for all together."""
    commands = [["dciodvfy", file] for file in files] + [["dcentvfy", *files]]
    lines: list[str] = []
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        lines += [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
    return [line for line in lines if not UNKNOWN.search(line)]


def _files(path: Path) -> list[str]:
    return [str(path)] if path.is_file() else sorted(map(str, path.glob("*.dcm")))


CLEAN = {
    "MR": lambda folder: write_stack(folder, "MR"),
    "MR oblique": lambda folder: write_stack(folder, "MR", orientation=(0.8, 0.6, 0, 0, 0, -1)),
    "CT": lambda folder: write_stack(folder, "CT"),
    "CR": lambda folder: write_projection(folder, "CR"),
    "CR MONOCHROME1": lambda folder: write_projection(folder, "CR", PhotometricInterpretation="MONOCHROME1"),
    "DX": lambda folder: write_projection(folder, "DX"),
    "DX MONOCHROME1": lambda folder: write_projection(folder, "DX", PhotometricInterpretation="MONOCHROME1"),
}


@pytest.mark.parametrize("source", CLEAN)
def test_row15_no_error_from_a_clean_source(tmp_path, source):
    values, affine, record = CLEAN[source](tmp_path / "in")
    assert not _errors(list(record.files))
    finer = affine.copy()
    finer[:2, :2] /= 2
    written = [write_derived(np.repeat(np.repeat(values, 2, 0), 2, 1), finer, record, tmp_path / "out", DONE)]
    written += [write_derived(values, affine, record, tmp_path / "out", SPREAD)]
    files = [file for path in written for file in _files(path)]
    assert not _errors(files) and not _errors([*record.files, *files])


@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_row15_no_error_where_values_are_scaled(tmp_path, modality):
    _, affine, record = write_stack(tmp_path / "in", modality)
    values = np.linspace(0, 1, 240).reshape(8, 6, 5)
    for done in (DONE, SPREAD):
        assert not _errors(_files(write_derived(values, affine, record, tmp_path / "out", done)))


def test_row15_loss_is_told_without_an_error(tmp_path):
    values, affine, record = write_projection(
        tmp_path / "in",
        "DX",
        LossyImageCompression="01",
        LossyImageCompressionRatio=9,
        LossyImageCompressionMethod="ISO_10918_1",
    )
    assert not _errors(_files(write_derived(values, affine, record, tmp_path / "out", DONE)))


@pytest.mark.parametrize("folder", ["prostate3t_dicom", "prostatex_dicom/ProstateX/ProstateX-0218"])
def test_row15_no_new_error_from_a_real_source(tmp_path, shared_data, folder):
    found = [info for info in scan_series(shared_data / folder) if "t2" in info.description.lower()]
    assert found
    for info in found[:2]:
        values, affine = read_series(info)[:2]
        written = write_derived(values, affine, source_record(info), tmp_path, DONE)
        assert pydicom.dcmread(_files(written)[0], stop_before_pixels=True).ImageType[0] == "DERIVED"
        assert set(_errors(_files(written))) <= set(_errors(list(info.files)))


def test_row15_no_new_error_from_pydicoms_own_files(tmp_path):
    from pydicom.data import get_testdata_file

    for name in ("MR_small.dcm", "CT_small.dcm"):
        file = str(get_testdata_file(name))
        values, affine = read_series(file)[:2]
        written = write_derived(values, affine, file, tmp_path, DONE)
        assert set(_errors(_files(written))) <= set(_errors([file]))
