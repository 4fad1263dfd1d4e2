"""Volumes of one series told apart: what the refusal proposes is what selects."""

from __future__ import annotations

import re
import shlex

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage, generate_uid

from monai_cdiff.data import DicomError, DicomFileError, DicomSelectionError, DicomSeriesReader, read_series


def two_volumes(folder, write_series, first, second):
    """Two phantoms in one series, the second of half the size in values; each with its own elements."""
    for k, elements in enumerate((first, second)):

        def change(_, dataset, k=k, elements=elements):
            dataset.SeriesInstanceUID = "1.2.3.4"
            dataset.RescaleSlope = dataset.RescaleSlope / (1 + k)
            dataset.RescaleIntercept = dataset.RescaleIntercept / (1 + k)
            for tag, (representation, value) in elements.items():
                dataset.add_new(tag, representation, value)

        write_series(folder / str(k), change=change)


PAIRS = {
    "image type": (
        {0x00080008: ("CS", ["ORIGINAL", "PRIMARY", "P", "ND"])},
        {0x00080008: ("CS", ["ORIGINAL", "PRIMARY", "M", "ND"])},
    ),
    "b-value of GE, unknown to the reader": (
        {0x00430010: ("LO", "GEMS_PARM_01"), 0x00431039: ("UN", b"8\\8\\0\\0 ")},
        {0x00430010: ("LO", "GEMS_PARM_01"), 0x00431039: ("UN", b"1000\\8\\0\\0")},
    ),
    "only the second has it": ({}, {0x00180081: ("DS", "90")}),
    "times of half a second": ({0x00080032: ("TM", "101010.0")}, {0x00080032: ("TM", "101010.5")}),
}


@pytest.mark.parametrize("name", PAIRS)
def test_row08_the_proposed_choice_reads_one_volume(tmp_path, write_series, phantom_values, name):
    two_volumes(tmp_path, write_series, *PAIRS[name])
    with pytest.raises(DicomError, match=r"--select \S+=.+\)\.") as caught:
        read_series(tmp_path)
    command = re.search(r"--select (.+)\)\.$", str(caught.value)).group(1)
    element, _, value = shlex.split(command)[0].partition("=")  # as a shell hands it over
    volume, affine, record = read_series(tmp_path, select={element: value})
    share = 2 if name == "only the second has it" else 1
    assert volume.shape == (7, 5, 4) and len({file.split("/")[-2] for file in record.files}) == 1
    assert np.abs(volume - phantom_values(affine, volume.shape) / share).max() < 0.003


def test_row08_a_wrong_choice_fails_when_the_reader_is_made():
    with pytest.raises(ValueError, match="select='EchoTime=90' must map elements to values"):
        DicomSeriesReader(select="EchoTime=90")
    with pytest.raises(ValueError, match="select: 'EcoTime' is no element"):
        DicomSeriesReader(select={"EcoTime": 90})


def enhanced(file, frames: int, told: int):
    """An enhanced image of ``frames`` frames whose functional groups speak of ``told``."""
    dataset = pydicom.dcmread(file)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    groups = []
    for k in range(told):
        group = Dataset()
        place, plane, measures, echo = Dataset(), Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [*dataset.ImagePositionPatient[:2], 30 + 3 * (k // 2)]
        plane.ImageOrientationPatient, measures.PixelSpacing = dataset.ImageOrientationPatient, dataset.PixelSpacing
        echo.EffectiveEchoTime = 10.0 + k % 2
        group.PlanePositionSequence, group.PlaneOrientationSequence = [place], [plane]
        group.PixelMeasuresSequence, group.MREchoSequence = [measures], [echo]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    values = dataset.pixel_array
    dataset.PixelData = np.stack([values + k for k in range(frames)]).astype(values.dtype).tobytes()
    dataset.NumberOfFrames = frames
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        del dataset[keyword]
    return dataset


def test_row09_frames_at_one_position_are_chosen_by_their_groups(tmp_path, write_series):
    (source,) = write_series(tmp_path / "plain", size=(7, 5, 1))
    file = tmp_path / "enhanced.dcm"
    enhanced(source, 6, 6).save_as(file)
    with pytest.raises(DicomError, match="EffectiveEchoTime: 10.0 and 11.0.*--select EffectiveEchoTime=10.0"):
        read_series(file)
    volume, affine, record = read_series(file, select={"EffectiveEchoTime": 11})
    plain = pydicom.dcmread(source)
    first = np.rint((volume[..., 0] - plain.RescaleIntercept) / plain.RescaleSlope).T
    assert volume.shape == (7, 5, 3) and record.frames == (2, 4, 6) and affine[2, 2] == 3
    assert np.array_equal(first, plain.pixel_array + 1)


def test_row09_one_frame_is_chosen_by_its_groups_too(tmp_path, write_series):
    (source,) = write_series(tmp_path / "plain", size=(7, 5, 1))
    file = tmp_path / "enhanced.dcm"
    enhanced(source, 1, 1).save_as(file)
    assert read_series(file, select={"EffectiveEchoTime": 10})[0].shape == (7, 5, 1)
    with pytest.raises(DicomSelectionError, match=r"there are: 10.0 \(1 slices\)"):
        read_series(file, select={"EffectiveEchoTime": 11})


def test_row13_frames_that_nobody_speaks_of(tmp_path, write_series):
    (source,) = write_series(tmp_path / "plain", size=(7, 5, 1))
    file = tmp_path / "enhanced.dcm"
    dataset = enhanced(source, 2, 2)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.RLELossless  # only a floor of 64 MiB bounds what is compressed
    dataset.Rows = dataset.Columns = 1
    dataset.NumberOfFrames = 30_000_000
    dataset.PixelData = pydicom.encaps.encapsulate([b"\0" * 64] * 2)
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(file)
    with pytest.raises(DicomFileError, match="NumberOfFrames=30000000, but PerFrame.* describes 2"):
        read_series(file)


@pytest.mark.parametrize(("signed", "written", "meant"), [(0, -2000, 63536), (1, 63536, -2000), (1, -2000, -2000)])
def test_row14_padding_written_with_the_wrong_sign(tmp_path, write_series, signed, written, meant):
    def change(k, dataset):
        dataset.PixelRepresentation, dataset.RescaleSlope, dataset.RescaleIntercept = signed, 1, 0
        stored = np.full((5, 7), 3, np.uint16)
        stored[0] = 63536
        dataset.PixelData = stored.tobytes()
        dataset.add_new("PixelPaddingValue", "SS" if written < 0 else "US", written)

    write_series(tmp_path, change=change)
    record = read_series(tmp_path)[2]
    assert record.padding == (meant,) and record.valid_range == (3, 3)
