"""The images of a folder of patient folders, and the subject each belongs to."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from .dicom_record import DicomError
from .dicom_series import SeriesInfo, list_files, matching_series, scan_series, select_series

__all__ = [
    "dicom_items",
    "find_items",
    "image_dimensions",
    "image_files",
    "is_jpeg",
    "is_nifti",
    "is_raster",
    "sort_files",
    "subject_of",
]

Item: TypeAlias = "dict[str, Any]"

# A folder of this name holds images of many patients, so it is no patient folder.
_NO_PATIENTS = ("images", "imagestr", "imagests", "labels", "labelstr", "labelsts")
# Each file of such a series is an image of its own.
_PROJECTIONS = ("CR", "DX", "IO", "MG", "PX", "RF", "XA")
RASTER = "PNG, JPEG, BMP or TIFF"
_JPEG_SUFFIXES = (".jpg", ".jpeg")
RASTER_SUFFIXES = (".png", *_JPEG_SUFFIXES, ".bmp", ".tif", ".tiff")

logger = logging.getLogger(__name__)


def find_items(folder: Path, series: str | None = None, plane: str | None = None) -> list[Item]:
    """The images in a folder of patient folders.

    Args:
        folder: holds one folder for each patient, or files of NIfTI, PNG, JPEG, BMP or TIFF, a subject each.
        series: pattern of the description of the DICOM series to take; None takes any.
        plane: plane of the DICOM series to take; None takes any.

    Returns:
        Items ``{"image": path or DICOM files, "subject": key}``.

    Raises:
        ValueError: if there is no image, or a patient folder is empty, mixed or ambiguous.
    """
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    loose = [str(entry) for entry in entries if entry.is_file()]
    nifti, raster, others = sort_files(loose)
    if scan_series(others):
        raise ValueError(f"{folder}: holds DICOM files beside its patient folders; put them into a patient folder.")
    if nifti and raster:
        raise ValueError(f"{folder}: holds both NIfTI ({nifti[0]}) and {RASTER} ({raster[0]}); keep one of them.")
    items: list[Item] = [{"image": file, "subject": stem(file)} for file in nifti or raster]
    for entry in entries:
        if entry.is_dir():
            items += _patient_items(entry, series, plane)
    if not items:
        raise ValueError(
            f"{folder}: holds no images; allowed: patient folders with NIfTI, DICOM or "
            f"{RASTER}, or files of NIfTI or {RASTER}."
        )
    return items


def dicom_items(
    found: Sequence[SeriesInfo], where: str, series: str | None = None, plane: str | None = None
) -> list[Item]:
    """The items of the one series among ``found`` that matches: an X-ray each, or the one volume.

    Raises:
        DicomError: if not exactly one matches; the message starts with ``where``.
    """
    try:
        info = select_series(found, description=series, plane=plane)
    except DicomError as error:
        raise DicomError(f"{where}: {error}") from None
    return [{"image": files, "subject": subject_of(info)} for files in image_files(info)]


def image_files(info: SeriesInfo) -> list[list[str]]:
    """The files of each image of a series: one file is an X-ray, or what has no place in space; else all a volume."""
    files = sorted(info.files)
    return [[file] for file in files] if info.modality in _PROJECTIONS or info.plane is None else [files]


def subject_of(info: SeriesInfo) -> str:
    """A key for the patient of a series: a hash, so that lists and logs do not carry the identity.

    Raises:
        ValueError: if the header has no PatientID.
    """
    if not info.patient_id:
        raise ValueError(
            f"{info.files[0]}: the header has no PatientID, so nothing tells whose image it is. "
            'Give a datalist JSON file as dataset_dir, with a "subject" for each item.'
        )
    return f"sub-{hashlib.blake2b(info.patient_id.encode(), digest_size=4).hexdigest()}"


def image_dimensions(image: str | Sequence[str]) -> int | None:
    """Whether an image is a slice (2) or a volume (3), by its header; None where only reading could tell.

    Raises:
        ValueError: if a NIfTI header cannot be read, or has a fourth axis (time, channels).
    """
    file = image if isinstance(image, str) else image[0]
    if not is_nifti(file):
        return 2 if is_raster(file) else None if isinstance(image, str) or len(image) == 1 else 3
    import nibabel

    try:
        header: Any = nibabel.load(file)
        shape = header.shape
    except Exception as error:  # nibabel raises many kinds on damaged files
        raise ValueError(f"{file}: the NIfTI header cannot be read: {error}") from error
    if len(shape) < 2 or any(size > 1 for size in shape[3:]):
        raise ValueError(f"{file}: has shape {tuple(shape)}; allowed are two or three axes.")
    return min(len(shape), 3)


def is_nifti(path: str) -> bool:
    """Whether the name is that of a NIfTI file."""
    return path.lower().endswith((".nii", ".nii.gz"))


def is_jpeg(path: str) -> bool:
    """Whether the name is that of a JPEG file, whose values are not exact."""
    return path.lower().endswith(_JPEG_SUFFIXES)


def is_raster(path: str) -> bool:
    """Whether the name is that of a PNG, JPEG, BMP or TIFF file."""
    return path.lower().endswith(RASTER_SUFFIXES)


def sort_files(files: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Files by their names: NIfTI, pictures (PNG, JPEG, BMP, TIFF), and others, among them DICOM.

    Pictures beside or below a DICOMDIR are left out: they belong to the viewer that came on the disc.
    """
    discs = tuple(os.path.dirname(file) + os.sep for file in files if os.path.basename(file).upper() == "DICOMDIR")
    nifti = [file for file in files if is_nifti(file)]
    raster = [file for file in files if is_raster(file) and not file.startswith(discs)]
    return nifti, raster, [file for file in files if not is_nifti(file) and not is_raster(file)]


def stem(path: str) -> str:
    """The path without the ending of its format (``.nii.gz`` counts as one)."""
    name = os.path.basename(path)
    return name[: name.lower().rindex(".nii")] if is_nifti(name) else os.path.splitext(name)[0]


def _patient_items(folder: Path, series: str | None, plane: str | None) -> list[Item]:
    if folder.name.lower() in _NO_PATIENTS:
        raise ValueError(
            f"{folder}: a folder of this name is no patient folder. Give the folder of images itself, or a datalist "
            "JSON file, as dataset_dir."
        )
    nifti, raster, others = sort_files(list_files(folder))
    found = scan_series(others)
    kinds = [f"NIfTI ({nifti[0]})"] if nifti else []
    kinds += [f"DICOM (series {found[0]})"] if found else []
    kinds += [f"{RASTER} ({raster[0]})"] if raster else []
    if len(kinds) > 1:
        raise ValueError(f"{folder}: holds both {kinds[0]} and {kinds[1]}; keep one of them.")
    if not kinds:
        raise ValueError(f"{folder}: an empty patient folder: no NIfTI file, no DICOM image and no {RASTER} in it.")
    if not found:
        return [{"image": file, "subject": folder.name} for file in nifti or raster]
    return _dicom_items(folder, found, series, plane)


def _dicom_items(folder: Path, found: list[SeriesInfo], series: str | None, plane: str | None) -> list[Item]:
    """One series of each study; a study without a match is passed over where the patient has another with one."""
    patients: dict[str, dict[str, list[SeriesInfo]]] = {}
    for info in found:
        patients.setdefault(subject_of(info), {}).setdefault(info.study_uid, []).append(info)
    items: list[Item] = []
    for studies in patients.values():
        matching = [study for study in studies.values() if matching_series(study, series, plane)]
        if not matching:
            matching = [[info for study in studies.values() for info in study]]  # refused below, with all it lists
        elif len(matching) < len(studies):
            logger.warning("%s: %d studies have no matching series.", folder, len(studies) - len(matching))
        items += [item for study in matching for item in dicom_items(study, str(folder), series, plane)]
    return items
