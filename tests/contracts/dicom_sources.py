"""Complete DICOM sources, valid by dicom3tools, whose voxels tell their own patient position.

The value at (x, y, z) in mm, LPS, is ``1000 + 8 x - 4 y + 4 z``: a whole number on a grid of quarter millimetres, so
that a wrong order, flip, half voxel or slope shows as a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from monai_cdiff.data import SourceRecord

COEFFICIENTS = np.array([8.0, -4.0, 4.0])
OFFSET = 1000.0
SOP_CLASSES = {
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
}
OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)


def linear(affine: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """What the phantom holds on a grid given in RAS."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return OFFSET + (index @ affine[:3, :3].T + affine[:3, 3]) @ (COEFFICIENTS * [-1, -1, 1])


def write_stack(
    folder: Path,
    modality: str = "MR",
    size: tuple[int, int, int] = (8, 6, 5),
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0),
    descending: bool = False,
    **elements: Any,
) -> tuple[np.ndarray, np.ndarray, SourceRecord]:
    """An MR or CT series with voxels of 0.5 x 0.75 x 3 mm.

    Args:
        folder: where its files go.
        modality: "MR" or "CT".
        size: columns, rows, slices.
        orientation: ImageOrientationPatient.
        descending: let InstanceNumber run against the slice normal.
        elements: set in every file.

    Returns:
        Its values, affine (RAS) and record.
    """
    folder.mkdir(parents=True)
    row, column = np.reshape(orientation, (2, 3)).astype(float)
    normal, origin = np.cross(row, column), np.array([-2.0, 4.0, 30.0])
    affine = np.eye(4)
    affine[:3] = np.stack([row * 0.5, column * 0.75, normal * 3, origin], axis=1)
    affine[:2] *= -1
    values = np.rint(linear(affine, size)) - (1024 if modality == "CT" else 0)
    shared, series, files, positions = _study(), generate_uid(), [], []
    for k in range(size[2]):
        position = tuple(float(value) for value in np.round(origin + 3 * k * normal, 6))
        dataset = _image(SOP_CLASSES[modality], values[:, :, k].T + (1024 if modality == "CT" else 0), shared)
        _stack_elements(dataset, modality)
        dataset.Modality, dataset.SeriesInstanceUID, dataset.SeriesNumber = modality, series, 4
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = list(position), [float(v) for v in orientation]
        dataset.PixelSpacing, dataset.SliceThickness, dataset.SliceLocation = [0.75, 0.5], 2.5, float(3 * k)
        dataset.InstanceNumber = size[2] - k if descending else k + 1
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        files.append(str(folder / f"{k:02d}.dcm"))
        positions.append(position)
        dataset.save_as(files[-1], enforce_file_format=True)
    frames = (1,) * size[2]
    return values, affine, SourceRecord(
        series, 4, modality, size, (0.5, 0.75, 3.0), tuple(files), frames, tuple(positions), orientation
    )


def write_projection(
    folder: Path, modality: str = "DX", size: tuple[int, int] = (8, 6), bits: int = 12, **elements: Any
) -> tuple[np.ndarray, np.ndarray, SourceRecord]:
    """A CR or DX image with pixels of 0.2 x 0.4 mm (columns, rows); see :py:func:`write_stack`.

    ``PhotometricInterpretation="MONOCHROME1"`` stores the values inverted.
    """
    folder.mkdir(parents=True)
    affine = np.diag([-0.2, -0.4, 1.0, 1.0])
    values = np.rint(100 + 10 * np.arange(size[0])[:, None] + 100.0 * np.arange(size[1]))
    inverted = elements.get("PhotometricInterpretation") == "MONOCHROME1"
    dataset = _image(SOP_CLASSES[modality], (2**bits - 1 - values if inverted else values).T, _study(), bits)
    _projection_elements(dataset, modality)
    dataset.Modality, dataset.SeriesInstanceUID, dataset.SeriesNumber = modality, generate_uid(), 4
    dataset.InstanceNumber = 1
    if inverted and modality == "DX":
        dataset.PresentationLUTShape = "INVERSE"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    file = str(folder / "image.dcm")
    dataset.save_as(file, enforce_file_format=True)
    return values, affine, SourceRecord(
        dataset.SeriesInstanceUID, 4, modality, size, (0.2, 0.4, 1.0), (file,), (1,), (), (),
        photometric=dataset.PhotometricInterpretation,
    )  # fmt: skip


def _study() -> dict[str, Any]:
    return {"StudyInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid()}


def _image(sop_class: str, stored: np.ndarray, shared: dict[str, Any], bits: int = 16) -> Any:
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex = "Phantom^A", "P1", "", "O"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = dataset.AcquisitionDate = "20200102"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = dataset.AcquisitionTime = "030405"
    dataset.AccessionNumber, dataset.StudyID, dataset.ReferringPhysicianName = "A1", "S1", ""
    dataset.Manufacturer, dataset.SeriesDescription = "maker", "t2"
    dataset.PositionReferenceIndicator, dataset.AcquisitionNumber = "", 1
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, bits, bits - 1, 0
    dataset.Rows, dataset.Columns = stored.shape
    dataset.PixelData = np.ascontiguousarray(stored).astype("<u2").tobytes()
    for keyword, value in shared.items():
        setattr(dataset, keyword, value)
    return dataset


def _stack_elements(dataset: Any, modality: str) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if modality == "CT" else "OTHER"]
    dataset.PatientPosition, dataset.BodyPartExamined = "HFS", "HEAD"
    if modality == "CT":
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType, dataset.KVP = -1024, 1, "HU", 120
        dataset.WindowCenter, dataset.WindowWidth = 40, 400
        return
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = "SE", "SK", ""
    dataset.MRAcquisitionType, dataset.RepetitionTime, dataset.EchoTime, dataset.EchoTrainLength = "2D", 3000, 90, 9


def _projection_elements(dataset: Any, modality: str) -> None:
    dataset.BodyPartExamined, dataset.ViewPosition, dataset.PatientOrientation = "CHEST", "PA", ["L", "F"]
    dataset.ImagerPixelSpacing, dataset.ImageType = [0.4, 0.2], ["ORIGINAL", "PRIMARY", ""]
    del dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator
    if modality == "CR":
        dataset.ImageType = ["ORIGINAL", "PRIMARY"]
        return
    dataset.PresentationIntentType, dataset.ImageLaterality, dataset.PresentationLUTShape = (
        "FOR PRESENTATION", "U", "IDENTITY",
    )  # fmt: skip
    dataset.BurnedInAnnotation, dataset.LossyImageCompression = "NO", "00"
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LIN", 1
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, 0, "US"
    dataset.DetectorType, dataset.DetectorID, dataset.PositionerType = "DIRECT", "D1", "NONE"
    dataset.WindowCenter, dataset.WindowWidth, dataset.AcquisitionContextSequence = 500, 1000, []
    region = pydicom.Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "T-D3000", "SRT", "Chest"
    dataset.AnatomicRegionSequence = [region]
    view = pydicom.Dataset()
    view.CodeValue, view.CodingSchemeDesignator, view.CodeMeaning = "R-10214", "SRT", "postero-anterior"
    view.ViewModifierCodeSequence = []
    dataset.ViewCodeSequence = [view]
