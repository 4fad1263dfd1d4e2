"""Headers made to harm, one at a time: too long, too deep, too many, contradicting; and folders of other things."""

from __future__ import annotations

import os
import socket
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_images import enhanced, image, item
from pydicom.uid import ComputedRadiographyImageStorage, RLELossless

from monai_cdiff.data import DicomError, DicomFileError, read_series, scan_series


def saved(dataset: pydicom.Dataset, file: Path) -> Path:
    dataset.save_as(file, enforce_file_format=True)
    return file


def replaced(file: Path, keyword: str, vr: str, value: bytes) -> Path:
    """A file of which one element is other bytes."""
    dataset = pydicom.dcmread(file)
    tag = pydicom.tag.Tag(keyword)
    dataset._dict[tag] = pydicom.dataelem.RawDataElement(tag, vr, len(value), value, 0, False, True)
    dataset.save_as(file)
    return file


def within(seconds: float, work, *arguments):
    """What a call gives or raises; an error if it does not end in time."""
    result: list = []

    def call():
        try:
            result.append(work(*arguments))
        except Exception as error:
            result.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    assert result, f"not done after {seconds} s"
    return result[0]


def refused(source, file: Path) -> str:
    with pytest.raises(DicomError) as caught:
        read_series(source)
    assert str(file) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        ("RescaleSlope", "DS", b"abc "),
        ("RescaleSlope", "DS", b"1e400 "),
        ("RescaleIntercept", "DS", b"NaN "),
        ("RescaleIntercept", "DS", b"1\\2 "),
        ("RescaleSlope", "SQ", b"\xfe\xff\x00\xe0\0\0\0\0"),
        ("ModalityLUTSequence", "SQ", b"\xfe\xff\x00\xe0\0\0\0\0"),
        ("ModalityLUTSequence", "LO", b"table "),
        ("Rows", "FD", np.float64(5.7).tobytes()),
        ("Rows", "US", b""),
        ("Columns", "US", np.array([7, 7], "<u2").tobytes()),
        ("NumberOfFrames", "IS", b"1000000000"),
        ("NumberOfFrames", "DS", b"1e9 "),
        ("BitsStored", "DS", b"inf "),
        ("ImagePositionPatient", "DS", b"0\\0\\nan "),
        ("ImageOrientationPatient", "DS", b"1\\0\\0\\1\\0\\0 "),
        ("PixelSpacing", "DS", b"0\\1 "),
        ("PixelSpacing", "LO", b"wide"),
        ("PixelData", "OW", b"\0" * 68),
    ],
)
def test_row13_one_hostile_element_in_a_series_is_named(tmp_path, write_series, keyword, vr, value):
    files = write_series(tmp_path)
    refused(tmp_path, replaced(files[2], keyword, vr, value))


@pytest.mark.parametrize("value", [b"", b"\x0f\x00"])
def test_row13_empty_high_bit_is_that_of_bits_stored(tmp_path, write_series, phantom_values, value):
    for file in write_series(tmp_path):
        replaced(file, "HighBit", "US", value)
    volume, affine, _ = read_series(tmp_path)
    assert np.abs(volume - phantom_values(affine, volume.shape)).max() < 0.003


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("SpecificCharacterSet", b"ISO_IR 999"),
        ("SpecificCharacterSet", b"\xff\xfe\\ISO 2022 IR 87\\abc "),
        ("PatientBirthDate", b"20269999"),
        ("AcquisitionDate", b"yesterday "),
        ("SeriesDescription", b"\xff\xfe\xfd\xfc"),
        ("InstanceNumber", b"abc "),
        ("SeriesNumber", b"1e400 "),
    ],
)
def test_row13_elements_besides_the_image_do_not_hinder(tmp_path, write_series, phantom_values, keyword, value):
    files = write_series(tmp_path)
    replaced(files[1], keyword, pydicom.datadict.dictionary_VR(keyword), value)
    volume, affine, _ = read_series(files)
    assert np.abs(volume - phantom_values(affine, volume.shape)).max() < 0.003


def test_row13_identity_of_ten_megabytes(tmp_path, write_series, phantom_values):
    files = write_series(tmp_path)
    for file in files:
        replaced(file, "PatientID", "UT", b"9" * 10 * 2**20)
    volume, affine, _ = within(10, read_series, tmp_path)
    assert np.abs(volume - phantom_values(affine, volume.shape)).max() < 0.003


@pytest.mark.parametrize("keyword", ["PatientID", "StudyInstanceUID"])
def test_row13_one_series_of_two_patients_is_refused(tmp_path, write_series, keyword):
    file = replaced(write_series(tmp_path)[2], keyword, pydicom.datadict.dictionary_VR(keyword), b"1.777 ")
    message = refused(tmp_path, file)
    assert keyword in message and "1.777" not in message


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "Rows", "RescaleSlope"])
def test_row13_an_element_behind_the_pixels_is_refused(tmp_path, write_series, keyword):
    """pydicom takes the last of two, but only what reads the pixels gets to know of it."""
    file = write_series(tmp_path)[1]
    late = pydicom.Dataset()
    late.add(pydicom.dcmread(file)[keyword])
    with file.open("ab") as stream:
        writer = pydicom.filebase.DicomFileLike(stream)
        writer.is_little_endian, writer.is_implicit_VR = True, False
        pydicom.filewriter.write_dataset(writer, late)
    assert "behind the pixel data" in refused(tmp_path, file)


def test_row13_rows_and_columns_that_differ_between_files(tmp_path, write_series):
    files = write_series(tmp_path)
    replaced(replaced(files[3], "Rows", "US", b"\7\0"), "Columns", "US", b"\5\0")
    assert str(files[3]) in refused(tmp_path, files[3]) and "size (columns, rows)" in refused(tmp_path, files[3])


def test_row13_groups_that_do_not_match_a_classic_image(tmp_path, write_series, phantom_values):
    group = item(PixelValueTransformationSequence=[item(RescaleSlope=9, RescaleIntercept=9)])

    def change(k, dataset):
        dataset.PerFrameFunctionalGroupsSequence = [group]

    write_series(tmp_path, change=change)
    volume, affine, _ = read_series(tmp_path)
    assert np.abs(volume - phantom_values(affine, volume.shape)).max() < 0.003


class TestEnhanced:
    def test_row13_an_intercept_without_a_slope_counts(self, tmp_path):
        dataset = enhanced()
        del dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0].RescaleSlope
        volume = read_series(saved(dataset, tmp_path / "a.dcm"))[0]
        assert volume[0, 0, 0] == 4095 - 7

    @pytest.mark.parametrize("groups", [0, 1, 3, 5])
    def test_row13_groups_must_be_as_many_as_frames(self, tmp_path, groups):
        dataset = enhanced()
        dataset.PerFrameFunctionalGroupsSequence = enhanced(groups).PerFrameFunctionalGroupsSequence
        message = refused(tmp_path, saved(dataset, tmp_path / "a.dcm"))
        assert "NumberOfFrames=4" in message and f"describes {groups}" in message

    @pytest.mark.parametrize("frames", [50_000_000, 10**9, 10**30, -1])
    def test_row13_frames_that_are_claimed_take_neither_time_nor_memory(self, tmp_path, frames):
        dataset = enhanced()
        dataset.Rows, dataset.Columns, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 1, 8, 8, 7
        dataset.PixelData = b"\1\2\3\4"
        dataset.compress(RLELossless)
        file = replaced(saved(dataset, tmp_path / "a.dcm"), "NumberOfFrames", "IS", str(frames).encode())
        tracemalloc.start()
        began = time.monotonic()
        refused(tmp_path, file)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**20 and time.monotonic() - began < 5


@pytest.mark.parametrize("keyword", ["ImagerPixelSpacing", "PixelSpacing", "NominalScannedPixelSpacing"])
def test_row13_malformed_spacing_of_an_xray_is_refused(tmp_path, keyword):
    file = saved(image((6, 5), SOPClassUID=ComputedRadiographyImageStorage), tmp_path / "a.dcm")
    assert keyword in refused(tmp_path, replaced(file, keyword, "DS", b"0.1\\wide "))


@pytest.mark.parametrize("depth", [50, 400, 3000])
@pytest.mark.parametrize("before", [True, False])
def test_row13_sequences_nested_deep(tmp_path, depth, before):
    file = saved(image((6, 5), SOPClassUID=ComputedRadiographyImageStorage), tmp_path / "a.dcm")
    tag = b"\x08\x00\x15\x11" if before else b"\xfe\x7f\x10\x00"  # ReferencedSeriesSequence, or after the pixels
    start = tag + b"SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    end = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    data = file.read_bytes()
    place = data.index(b"\x10\x00\x20\x00LO") if before else len(data)
    file.write_bytes(data[:place] + start * depth + end * depth + data[place:])
    outcome = within(20, read_series, file)
    assert isinstance(outcome, tuple) and outcome[0].shape == (5, 6) or isinstance(outcome, DicomFileError)
    assert depth > 100 or isinstance(outcome, tuple)


class TestFolders:
    def test_row13_pipes_and_sockets_are_passed_over(self, tmp_path, write_series):
        write_series(tmp_path)
        os.mkfifo(tmp_path / "pipe.dcm")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(os.path.relpath(tmp_path / "socket"))
            (found,) = within(10, scan_series, tmp_path)
        assert len(found.files) == 4

    def test_row13_a_pipe_that_is_named_is_refused(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.dcm")
        (tmp_path / "link.dcm").symlink_to(tmp_path / "pipe.dcm")
        for file in (tmp_path / "pipe.dcm", tmp_path / "link.dcm"):
            outcome = within(10, read_series, [file])
            assert isinstance(outcome, DicomFileError) and str(file) in str(outcome)

    def test_row13_a_link_that_leads_nowhere_is_named(self, tmp_path, write_series):
        write_series(tmp_path)
        (tmp_path / "lost.dcm").symlink_to(tmp_path / "nothing")
        with pytest.raises(FileNotFoundError, match="lost.dcm"):
            read_series(tmp_path)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
    def test_row13_a_file_that_may_not_be_read_is_named(self, tmp_path, write_series):
        file = write_series(tmp_path)[1]
        file.chmod(0)
        with pytest.raises(PermissionError, match=file.name):
            read_series(tmp_path)

    def test_row13_thousands_of_other_files(self, tmp_path, write_series, caplog):
        write_series(tmp_path / "series")
        for k in range(5000):
            (tmp_path / f"{k}.txt").write_text("no image " * 50)
        began = time.monotonic()
        assert len(scan_series(tmp_path)) == 1 and "5000 file(s)" in caplog.text
        assert time.monotonic() - began < 10
