"""A series written from a series: same place, same values, new identity."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from monai_cdiff.data import DicomError, read_series
from monai_cdiff.data.derivation import Derivation
from monai_cdiff.data.dicom_derived import write_derived
from monai_cdiff.data.dicom_record import SourceRecord
from monai_cdiff.data.dicom_series import source_record

DONE = Derivation("tested", "test", {"seed": 3, "mask": None})


def test_the_record_survives_as_text(tmp_path, write_series):
    write_series(tmp_path)
    record = source_record(tmp_path)
    assert SourceRecord.from_json(record.to_json()) == record and record.shape == (7, 5, 4)
    with pytest.raises(ValueError, match="no record of a DICOM source"):
        SourceRecord.from_json("none")


@pytest.mark.parametrize("turned", [False, True])
def test_real_series_comes_back_in_its_place(shared_data, tmp_path, turned):
    volume, affine, info = read_series(shared_data / "prostate3t_dicom" / "Prostate3T-03-0001")
    record = info
    array, matrix = volume, affine
    if turned:  # the same image with its axes flipped and exchanged
        array = volume[::-1].transpose(1, 0, 2)
        matrix = affine.copy()
        matrix[:3, 3] += affine[:3, 0] * (volume.shape[0] - 1)
        matrix[:3, [0, 1]] = np.stack([affine[:3, 1], -affine[:3, 0]], axis=1)
    folder = write_derived(array, matrix, record, tmp_path, DONE)
    again, there, new = read_series(folder)
    assert np.array_equal(again, volume) and np.abs(there - affine).max() < 1e-6
    assert new.series_uid != info.series_uid and new.number == info.number + 1000
    header, source = (pydicom.dcmread(record.files[0], stop_before_pixels=True) for record in (new, info))
    assert header.StudyInstanceUID == source.StudyInstanceUID and header.PatientID == source.PatientID
    assert list(header.ImageType[:2]) == ["DERIVED", "SECONDARY"] and header["SyntheticData"].value == "YES"
    assert "seed=3" in header.ContributingEquipmentSequence[-1].ContributionDescription
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_derived(array, matrix, record, tmp_path, DONE)


def test_no_number_leaves_nothing_behind(tmp_path, write_series):
    write_series(tmp_path / "in")
    volume, affine, _ = read_series(tmp_path / "in")
    volume[0, 0, 0] = np.nan
    with pytest.raises(DicomError, match="1"):
        write_derived(volume, affine, source_record(tmp_path / "in"), tmp_path / "out", DONE)
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True
