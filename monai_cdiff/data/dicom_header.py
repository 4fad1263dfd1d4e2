"""What the headers say about each slice: whose it is, where it lies, and why it may be none."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from .dicom_file import open_dataset
from .dicom_geometry import slice_normal
from .dicom_multiframe import FrameGroups
from .dicom_pixels import check_pixel_size
from .dicom_record import DicomError, DicomFileError

__all__ = ["ENHANCED", "SeriesIdentity", "SliceHeader", "numbers", "read_headers"]

_TAGS = (
    "SOPClassUID ImageType Modality SeriesDescription SeriesNumber SeriesInstanceUID StudyInstanceUID PatientID "
    "Rows Columns NumberOfFrames SamplesPerPixel PhotometricInterpretation BitsAllocated BitsStored HighBit "
    "PixelRepresentation ImagePositionPatient ImageOrientationPatient PixelSpacing ImagerPixelSpacing "
    "NominalScannedPixelSpacing SliceThickness SpacingBetweenSlices SharedFunctionalGroupsSequence "
    "PerFrameFunctionalGroupsSequence"
).split()
ENHANCED = ("Enhanced MR Image", "Enhanced CT Image", "Legacy Converted Enhanced MR", "Legacy Converted Enhanced CT")
_PROJECTIONS = ("Computed Radiography", "Digital X-Ray", "Mammography", "X-Ray Angiographic", "Radiofluoroscopic")
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient")
_FARTHEST_MM = 1e6


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
    """Header values of one slice: an image file, or a frame of a multi-frame one; None where there is none.

    Args:
        file: the file.
        frame: its number in the file, counted from 1.
        series: whose series it is.
        size: columns, rows.
        frames: how many the file holds.
        photometric: PhotometricInterpretation.
        sop_class: name of the SOP class.
        position: ImagePositionPatient in mm, LPS; None for a projection image.
        orientation: ImageOrientationPatient.
        pixel_spacing: distance between columns and between rows, in mm.
        slice_step: distance to the next slice that the header claims, in mm.
        fault: why this cannot be read, with the name of the file; "" if it can.
    """

    file: str
    frame: int
    series: SeriesIdentity
    size: tuple[int, int]
    frames: int
    photometric: str
    sop_class: str
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None
    slice_step: float | None
    fault: str


def read_headers(file: str) -> list[SliceHeader]:
    """The headers of the slices in an image file, read without its pixels; none for any other file.

    Raises:
        DicomFileError: if the file is a DICOM image and its header is damaged.
        OSError: if the file cannot be opened.
    """
    import pydicom

    try:
        dataset = open_dataset(file, tags=_TAGS)
        sop_class = str(dataset.file_meta.get("MediaStorageSOPClassUID") or dataset.get("SOPClassUID") or "")
        kind = pydicom.uid.UID(sop_class).name  # the UID itself where the class is private
        if "Image Storage" in kind or (kind == sop_class and "Rows" in dataset):
            return _parse(file, dataset, kind)
        if kind == sop_class and not (sop_class and len(dataset)):
            raise ValueError("it ends too early")
        return []
    except pydicom.errors.InvalidDicomError:
        return []
    except DicomError:
        raise
    except Exception as error:  # pydicom converts elements when they are asked for, and raises many kinds
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DicomFileError(f"{file}: the file is damaged, its DICOM header cannot be read: {error}") from error


def _parse(file: str, dataset: Any, kind: str) -> list[SliceHeader]:
    def text(keyword: str) -> str:
        return str(dataset.get(keyword) or "").strip()

    if not dataset.get("Rows") or not dataset.get("Columns"):
        raise ValueError("there is no size (Rows, Columns)")
    number = numbers(dataset, "SeriesNumber", 1)
    series = SeriesIdentity(
        series_uid=text("SeriesInstanceUID"),
        patient_id=text("PatientID"),
        study_uid=text("StudyInstanceUID"),
        modality=text("Modality"),
        description=text("SeriesDescription"),
        number=None if number is None else int(number[0]),
    )
    frames = int(dataset.get("NumberOfFrames") or 1)
    groups = FrameGroups(dataset) if kind.startswith(ENHANCED) else None
    fault = _fault(file, dataset, kind, frames)
    # A compressed file of a few bytes may claim any number of frames, so they are counted before they are described.
    if groups is not None and not fault and len(groups) != frames and (len(groups), frames) != (0, 1):
        fault = f"{file}: NumberOfFrames={frames}, but PerFrameFunctionalGroupsSequence describes {len(groups)}"
    count = frames if groups is not None and not fault else 1
    headers = []
    for frame in range(1, count + 1):
        elements = dataset if groups is None else groups.geometry(frame)
        place, wrong = _place(elements, kind.startswith(_PROJECTIONS))
        headers.append(
            SliceHeader(
                file=file,
                frame=frame,
                series=series,
                size=(int(dataset.Columns), int(dataset.Rows)),
                frames=frames,
                photometric=text("PhotometricInterpretation"),
                sop_class=kind,
                fault=fault or (f"{file}: {wrong}" if wrong else ""),
                **place,
            )
        )
    return headers


def _fault(file: str, dataset: Any, kind: str, frames: int) -> str:
    photometric = str(dataset.get("PhotometricInterpretation") or "")
    if frames > 1 and not kind.startswith(ENHANCED):
        return f"{file}: multi-frame {kind} ({frames} frames) is not supported; only enhanced MR and CT are"
    if "MOSAIC" in str(dataset.get("ImageType") or ""):
        return f"{file}: a mosaic holds many slices in one image and is not supported; convert it first"
    if int(dataset.get("SamplesPerPixel") or 1) != 1:
        return f"{file}: SamplesPerPixel={dataset.SamplesPerPixel} must be 1; colour images are not supported"
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        return f"{file}: PhotometricInterpretation={photometric!r} must be 'MONOCHROME1' or 'MONOCHROME2'"
    try:
        check_pixel_size(file, dataset)
    except DicomError as error:
        return str(error)
    return ""


def _place(elements: Any, projection: bool) -> tuple[dict[str, Any], str]:
    """Where a slice lies, and what is wrong with what its header says about that."""
    found: dict[str, tuple[float, ...] | None] = {}
    spacings = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
    for keyword, count in [("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), *((s, 2) for s in spacings)]:
        found[keyword] = numbers(elements, keyword, count)
    spacing = next((found[keyword] for keyword in spacings if found[keyword]), None)
    steps = [numbers(elements, keyword, 1) for keyword in ("SpacingBetweenSlices", "SliceThickness")]
    place = {
        "position": None if projection else found["ImagePositionPatient"],
        "orientation": None if projection else found["ImageOrientationPatient"],
        # The standard gives the row spacing first; here the order is that of the array axes.
        "pixel_spacing": None if spacing is None else spacing[::-1],
        "slice_step": next((abs(step[0]) for step in steps if step is not None and step[0] != 0), None),
    }
    return place, _misplaced(elements, found, projection)


def _misplaced(elements: Any, found: dict[str, tuple[float, ...] | None], projection: bool) -> str:
    for keyword, values in found.items():
        given = elements.get(keyword)
        if values is None and given not in (None, "") and not (projection and keyword in _PLACE):
            return f"{keyword}={str(given)[:60]} is malformed"
        if values is not None and max(map(abs, values)) > _FARTHEST_MM:
            return f"{keyword}={values} lies beyond {_FARTHEST_MM:g} mm"
        if values is not None and keyword.endswith("Spacing") and min(values) <= 0:
            return f"{keyword}={values[::-1]} must be greater than 0"
    if projection:
        return ""
    position, orientation = found["ImagePositionPatient"], found["ImageOrientationPatient"]
    if (position is None) != (orientation is None):
        absent = "ImagePositionPatient" if position is None else "ImageOrientationPatient"
        return f"{absent} is absent, so the slice has no place in space"
    if position is not None and found["PixelSpacing"] is None:
        return "PixelSpacing is absent, so the slice has no place in space"
    try:
        return "" if orientation is None or len(slice_normal(orientation)) else ""
    except DicomError as error:
        return str(error).rstrip(".")


def numbers(dataset: Any, keyword: str, count: int) -> tuple[float, ...] | None:
    """The finite numbers of an element; None where it is absent, empty, unreadable or of another length."""
    try:
        value = dataset.get(keyword)
        many = isinstance(value, Sequence) and not isinstance(value, str)
        found = tuple(float(item) for item in (value if many else [value]))
    except Exception:  # pydicom converts an element when it is asked for, and raises many kinds
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None
