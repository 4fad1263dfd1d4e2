"""One DICOM file: the header values that decide where its slice belongs, and its pixels as real values."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from .dicom_geometry import DicomError, slice_normal

__all__ = ["SeriesIdentity", "SliceHeader", "read_header", "read_slice"]

_TAGS = (
    "SOPClassUID ImageType Modality SeriesDescription SeriesNumber SeriesInstanceUID StudyInstanceUID PatientID "
    "Rows Columns NumberOfFrames SamplesPerPixel PhotometricInterpretation ImagePositionPatient "
    "ImageOrientationPatient PixelSpacing SliceThickness SpacingBetweenSlices"
).split()


@dataclasses.dataclass(frozen=True)
class SeriesIdentity:
    """What all files of one series share; "" or None where the header has nothing.

    Args:
        series_uid: SeriesInstanceUID.
        patient_id: PatientID as it stands in the header; an identity, so never log it or use it as a key.
        study_uid: StudyInstanceUID.
        modality: for example "MR".
        description: SeriesDescription.
        number: SeriesNumber.
    """

    series_uid: str
    patient_id: str = dataclasses.field(repr=False)
    study_uid: str
    modality: str
    description: str
    number: int | None


@dataclasses.dataclass(frozen=True)
class SliceHeader:
    """Header values of one image file; None where an element is absent, empty or malformed.

    Args:
        file: the file.
        series: whose series it is.
        size: columns, rows.
        frames: NumberOfFrames.
        samples: SamplesPerPixel.
        photometric: PhotometricInterpretation.
        image_type: ImageType, its values in one string.
        sop_class: name of the SOP class.
        position: ImagePositionPatient in mm, LPS.
        orientation: ImageOrientationPatient.
        pixel_spacing: distance between columns and between rows, in mm.
        slice_step: distance to the next slice that the header claims, in mm.
    """

    file: str
    series: SeriesIdentity
    size: tuple[int, int]
    frames: int
    samples: int
    photometric: str
    image_type: str
    sop_class: str
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None
    slice_step: float | None

    def refusal(self) -> str:
        """Why this file cannot be one slice of a volume; "" if it can."""
        if self.frames > 1 or "Enhanced" in self.sop_class or "Multi-frame" in self.sop_class:
            return f"multi-frame DICOM ({self.sop_class}, {self.frames} frames) is not supported; export single frames"
        if self.samples != 1:
            return f"SamplesPerPixel={self.samples} must be 1; colour images are not supported"
        if self.photometric != "MONOCHROME2":
            return f"PhotometricInterpretation={self.photometric!r} must be 'MONOCHROME2'"
        if "MOSAIC" in self.image_type:
            return "a mosaic holds many slices in one image and is not supported; convert it first"
        geometry = {
            "ImagePositionPatient": self.position,
            "ImageOrientationPatient": self.orientation,
            "PixelSpacing": self.pixel_spacing,
        }
        absent = [name for name, value in geometry.items() if value is None]
        return f"{', '.join(absent)} absent or malformed, so the slice has no place in space" if absent else ""


def read_header(file: str) -> SliceHeader | None:
    """The header of an image file, read without its pixels; None for any other file.

    Raises:
        DicomError: if the file is a DICOM image and its header is damaged.
        OSError: if the file cannot be opened.
    """
    pydicom = _pydicom()
    try:
        dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
        sop_class = str(dataset.file_meta.get("MediaStorageSOPClassUID") or dataset.get("SOPClassUID") or "")
        kind = pydicom.uid.UID(sop_class).name  # the UID itself where the class is private
        if "Image Storage" in kind or (kind == sop_class and "Rows" in dataset):
            return _parse(file, dataset, kind)
        if kind == sop_class and not (sop_class and len(dataset)):
            raise DicomError("it ends too early")
        return None
    except pydicom.errors.InvalidDicomError:
        return None
    except Exception as error:  # pydicom raises many kinds on damaged files, OSError without a number among them
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DicomError(f"{file}: the DICOM header cannot be read, the file is damaged: {error}") from error


def read_slice(header: SliceHeader) -> np.ndarray:
    """The real values of one slice: stored values times RescaleSlope plus RescaleIntercept.

    Returns:
        A float32 array of shape (columns, rows).

    Raises:
        DicomError: if the pixel data is truncated, cannot be decoded, or contradicts the header.
    """
    dataset = _pydicom().dcmread(header.file)
    try:
        stored = dataset.pixel_array
    except Exception as error:  # decoders raise many kinds
        syntax = getattr(dataset.file_meta.get("TransferSyntaxUID"), "name", "unknown transfer syntax")
        raise DicomError(
            f"{header.file}: the pixel data cannot be read ({syntax}): {error}. The file is truncated or damaged, or "
            "a decoder is lacking (pip install pylibjpeg pylibjpeg-openjpeg python-gdcm)."
        ) from error
    if stored.shape != header.size[::-1]:
        raise DicomError(f"{header.file}: pixel data of shape {stored.shape}, the header says {header.size[::-1]}.")
    if dataset.get("ModalityLUTSequence"):
        raise DicomError(f"{header.file}: ModalityLUTSequence is not supported, only RescaleSlope and -Intercept.")
    slope = _numbers(dataset, "RescaleSlope", 1) if "RescaleSlope" in dataset else (1.0,)
    intercept = _numbers(dataset, "RescaleIntercept", 1) if "RescaleIntercept" in dataset else (0.0,)
    if slope is None or intercept is None or slope[0] == 0:
        raise DicomError(f"{header.file}: RescaleSlope and RescaleIntercept must be finite numbers, the slope not 0.")
    values: np.ndarray = stored.T * slope[0] + intercept[0]
    return values.astype(np.float32)


def _pydicom() -> ModuleType:
    try:
        import pydicom
    except ImportError as error:
        raise ImportError("reading DICOM needs the package pydicom: pip install pydicom") from error
    return pydicom


def _parse(file: str, dataset: Any, kind: str) -> SliceHeader:
    def text(keyword: str) -> str:
        return str(dataset.get(keyword) or "").strip()

    if not dataset.get("Rows") or not dataset.get("Columns"):
        raise DicomError("there is no size (Rows, Columns)")
    number = _numbers(dataset, "SeriesNumber", 1)
    spacing = _numbers(dataset, "PixelSpacing", 2)
    steps = [_numbers(dataset, keyword, 1) for keyword in ("SpacingBetweenSlices", "SliceThickness")]
    return SliceHeader(
        file=file,
        series=SeriesIdentity(
            series_uid=text("SeriesInstanceUID"),
            patient_id=text("PatientID"),
            study_uid=text("StudyInstanceUID"),
            modality=text("Modality"),
            description=text("SeriesDescription"),
            number=None if number is None else int(number[0]),
        ),
        size=(int(dataset.Columns), int(dataset.Rows)),
        frames=int(dataset.get("NumberOfFrames") or 1),
        samples=int(dataset.get("SamplesPerPixel") or 1),
        photometric=text("PhotometricInterpretation"),
        image_type=text("ImageType"),
        sop_class=kind,
        position=_numbers(dataset, "ImagePositionPatient", 3),
        orientation=_orientation(dataset),
        # The standard gives the row spacing first; here the order is that of the array axes.
        pixel_spacing=None if spacing is None or min(spacing) <= 0 else spacing[::-1],
        slice_step=next((abs(step[0]) for step in steps if step is not None and step[0] != 0), None),
    )


def _orientation(dataset: Any) -> tuple[float, ...] | None:
    values = _numbers(dataset, "ImageOrientationPatient", 6)
    try:
        return None if slice_normal(values or ()) is None else values
    except ValueError:
        return None


def _numbers(dataset: Any, keyword: str, count: int) -> tuple[float, ...] | None:
    """The finite numbers of an element; None where it is absent, empty, unreadable or of another length."""
    try:
        value = dataset.get(keyword)
        many = isinstance(value, Sequence) and not isinstance(value, str)
        numbers = tuple(float(item) for item in (value if many else [value]))
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None
