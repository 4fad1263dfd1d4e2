"""A DICOM phantom whose every voxel tells its own position."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

# value = 1000 + 3 x - 2 y + 5 z at the patient position (x, y, z) in mm, LPS: half a voxel off shows as a number.
COEFFICIENTS = np.array([3.0, -2.0, 5.0])
OFFSET = 1000.0

Writer = Callable[..., list[Path]]


def _dataset(values: np.ndarray, slope: float) -> pydicom.Dataset:
    """A slice whose stored values times ``slope`` plus an intercept are ``values`` (rows, columns)."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    intercept = round(float(values.min()), 2)
    stored = np.rint((values - intercept) / slope).astype(np.int16)
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    dataset.PixelData = stored.tobytes()
    return dataset


@pytest.fixture
def write_series() -> Writer:
    """``write_series(folder, ...)`` writes a phantom series and returns its files in slice order.

    ``change`` is called with each slice's index and dataset before it is written. File names and InstanceNumber run
    against the slice order.
    """

    def write(
        folder: Path,
        size: tuple[int, int, int] = (7, 5, 4),
        orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0),
        spacing: tuple[float, float, float] = (0.5, 0.75, 3.0),
        origin: tuple[float, float, float] = (-10.0, 20.0, 30.0),
        description: str = "t2_tse_tra",
        patient: str = "patient-1",
        study: str = "1.2.3",
        number: int = 4,
        change: Callable[[int, Any], None] | None = None,
    ) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        row, column = np.array(orientation, dtype=float).reshape(2, 3)
        normal = np.cross(row, column)
        uid, files = generate_uid(), []
        for k in range(size[2]):
            position = np.round(np.array(origin) + k * spacing[2] * normal, 6)
            i, j = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
            places = position + i[..., None] * row * spacing[0] + j[..., None] * column * spacing[1]
            dataset = _dataset(OFFSET + places @ COEFFICIENTS, slope=0.002 + 0.001 * (k % 3))
            dataset.PatientID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = patient, study, uid
            dataset.Modality, dataset.SeriesDescription, dataset.SeriesNumber = "MR", description, number
            dataset.ImagePositionPatient = [float(value) for value in position]
            dataset.ImageOrientationPatient = [float(f"{value:.10f}") for value in (*row, *column)]
            dataset.PixelSpacing = [spacing[1], spacing[0]]
            dataset.SliceThickness = spacing[2]
            dataset.InstanceNumber = size[2] - k
            if change is not None:
                change(k, dataset)
            files.append(folder / f"{(k * 7 + 3) % 11:02d}-{number}-{size[2] - k}.dcm")
            dataset.save_as(files[-1], enforce_file_format=True)
        return files

    return write


@pytest.fixture
def phantom_values() -> Callable[[np.ndarray, tuple[int, ...]], np.ndarray]:
    """``phantom_values(affine, shape)``: what the phantom holds at each voxel of a grid given in RAS."""

    def values(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
        ras = index @ affine[:3, :3].T + affine[:3, 3]
        return OFFSET + ras @ (COEFFICIENTS * [-1, -1, 1])

    return values
