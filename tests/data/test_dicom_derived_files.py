"""The files of a derived series: their names, and that they appear whole or not at all."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pydicom
import pytest

from contracts.dicom_sources import write_projection, write_stack
from monai_cdiff.data import Derivation, DicomError, read_series, write_derived
from monai_cdiff.data.dicom_derived import default_name

DONE = Derivation("denoised", "dn 2/x")


def _contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else folder.read_bytes()


def test_row22_a_volume_becomes_a_folder_and_a_radiograph_a_file(tmp_path):
    values, affine, record = write_stack(tmp_path / "mr")
    folder = write_derived(values, affine, record, tmp_path / "out", DONE)
    assert folder.name == default_name(record, DONE) and folder.name.startswith("series-4-")
    assert folder.name.endswith("_dn_2_x") and "." not in folder.name
    assert sorted(path.name for path in folder.iterdir()) == [f"000{k}.dcm" for k in range(1, 6)]
    values, affine, record = write_projection(tmp_path / "dx")
    file = write_derived(values, affine, record, tmp_path / "out", DONE)
    assert file.is_file() and file.name == default_name(record, DONE) + ".dcm"
    other = dataclasses.replace(record, files=(str(tmp_path / "dx" / "other.dcm"),))
    assert default_name(other, DONE) != default_name(record, DONE)  # two radiographs of one series


def test_row22_a_name_is_never_cut_at_a_dot(tmp_path):
    values, affine, record = write_stack(tmp_path / "mr")
    for name in ("1.2.840.1", "1.2.840.2", "image.dcm"):
        assert write_derived(values, affine, record, tmp_path / "out", DONE, name=name).name == name
    assert (tmp_path / "out" / "image.dcm").is_dir()
    values, affine, record = write_projection(tmp_path / "dx")
    assert write_derived(values, affine, record, tmp_path / "x", DONE, name="1.2.3").name == "1.2.3.dcm"


@pytest.mark.parametrize("write", [write_stack, write_projection])
def test_row22_what_exists_is_replaced_on_request_only(tmp_path, write):
    values, affine, record = write(tmp_path / "in")
    path = write_derived(values, affine, record, tmp_path / "out", DONE)
    before = _contents(path)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_derived(values, affine, record, tmp_path / "out", DONE)
    assert _contents(path) == before
    assert write_derived(values, affine, record, tmp_path / "out", DONE, overwrite=True) == path
    after = _contents(path)
    assert after != before
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == [path.name]


def test_row22_what_no_such_call_wrote_is_never_replaced(tmp_path):
    values, affine, record = write_stack(tmp_path / "mr")
    folder = write_derived(values, affine, record, tmp_path / "out", DONE)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="notes.txt was not written"):
        write_derived(values, affine, record, tmp_path / "out", DONE, overwrite=True)
    with pytest.raises(FileExistsError, match="00.dcm was not written"):
        write_derived(values, affine, record, tmp_path, DONE, name="mr", overwrite=True)
    again = read_series(write_derived(values, affine, record, tmp_path, DONE, name="derived"))[2]
    with pytest.raises(FileExistsError, match="the source itself"):
        write_derived(values, affine, again, tmp_path, DONE, name="derived", overwrite=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="file is a file"):
        write_derived(values, affine, record, tmp_path, DONE, name="file", overwrite=True)
    values, affine, record = write_projection(tmp_path / "dx")
    for name in ("image", "text"):  # the source itself, and a file that is no DICOM
        (tmp_path / "dx" / "text.dcm").write_text("mine")
        with pytest.raises(FileExistsError, match=f"{name}.dcm was not written"):
            write_derived(values, affine, record, tmp_path / "dx", DONE, name=name, overwrite=True)


def test_row22_a_source_that_fails_midway_leaves_nothing(tmp_path):
    values, affine, record = write_stack(tmp_path / "in")
    path = write_derived(values, affine, record, tmp_path / "out", DONE)
    before = _contents(path)
    dataset = pydicom.dcmread(record.files[4])
    del dataset.SOPInstanceUID
    dataset.save_as(record.files[4])
    with pytest.raises(DicomError, match="04.dcm.*SOPInstanceUID"):
        write_derived(values, affine, record, tmp_path / "out", DONE, overwrite=True)
    assert _contents(path) == before and len(list((tmp_path / "out").iterdir())) == 1


@pytest.mark.slow
def test_row22_killed_while_writing_no_half_series_is_seen(tmp_path):
    values, affine, record = write_stack(tmp_path / "in", size=(256, 256, 60))
    np.save(tmp_path / "values.npy", values)
    (tmp_path / "record.json").write_text(record.to_json())
    script = textwrap.dedent(f"""
        import numpy as np
        from pathlib import Path
        from monai_cdiff.data import Derivation, SourceRecord, write_derived
        here = Path({str(tmp_path)!r})
        record = SourceRecord.from_json((here / "record.json").read_text())
        affine = np.array({affine.tolist()})
        print("ready", flush=True)
        write_derived(np.load(here / "values.npy"), affine, record, here / "out", Derivation("a", "b"), name="new")
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        until = time.monotonic() + 30
        while not list(tmp_path.glob("out/.*/0003.dcm")) and time.monotonic() < until:
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)
    assert list(tmp_path.glob("out/.*/0003.dcm")) and not (tmp_path / "out" / "new").exists()
    assert len(list(write_derived(values, affine, record, tmp_path / "out", DONE, name="new").iterdir())) == 60
