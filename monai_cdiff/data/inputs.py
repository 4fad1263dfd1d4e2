"""What there is to restore in a folder, and what the restored files are called."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from .dicom_record import DicomSelectionError
from .dicom_series import SeriesInfo, list_files, matching_series, scan_series
from .patient_folders import RASTER, image_files, sort_files, stem

__all__ = ["list_inputs", "output_name", "output_stem"]

logger = logging.getLogger(__name__)


def list_inputs(
    input_dir: str | os.PathLike[str], series: str | int | None = None, plane: str | None = None
) -> list[dict[str, Any]]:
    """The images to restore in a file, or in a folder and all folders below it.

    Of each DICOM study one series is taken, the one that matches; a study without a match is passed over where another
    has one. Each file of an X-ray series is an item, every other series is one item. Each NIfTI file is an item, and
    so is each PNG, JPEG, BMP or TIFF file, but for those of a disc with a DICOMDIR.

    Args:
        input_dir: a file, or a folder of files, of series, of studies or of patients; or a DICOMDIR, for its folder.
        series: which DICOM series: a pattern of the description with ``*`` and ``?`` ("t2*"), the series number, or
            the SeriesInstanceUID; None takes any.
        plane: which DICOM series, by its plane: "axial", "coronal" or "sagittal"; None takes any.

    Returns:
        Items ``{"image": path or DICOM files, "subject": key}``.

    Raises:
        DicomSelectionError: if not exactly one series of a study matches; the message lists those there are.
        FileNotFoundError: if there is no such folder or file.
        ValueError: if ``input_dir`` is not given, holds no image, or holds two of NIfTI, DICOM and pictures in one
            folder.

    Example:
        >>> list_inputs("/data/prostate", series="t2*", plane="axial")  # doctest: +SKIP
    """
    if not input_dir:
        raise ValueError(f"input_dir={input_dir!r}: give the folder or file to restore, as --input_dir PATH.")
    path = Path(input_dir).expanduser().absolute()
    if not path.exists():
        raise FileNotFoundError(f"input_dir={str(path)!r} does not exist.")
    files = list_files(path.parent if path.name == "DICOMDIR" else path)
    nifti, raster, others = sort_files(files)
    found = scan_series(others)
    _check_kinds({"NIfTI": nifti, "DICOM": [file for info in found for file in info.files], RASTER: raster})
    items: list[dict[str, Any]] = [{"image": file, "subject": stem(file)} for file in [*nifti, *raster]]
    items += _dicom_items(found, str(path), series, plane)
    if not items:
        kind = "is neither" if path.is_file() else "holds no images, neither"
        raise ValueError(f"input_dir={str(path)!r} {kind} NIfTI nor DICOM, nor {RASTER}.")
    return items


def _check_kinds(files: Mapping[str, Sequence[str]]) -> None:
    folders = {kind: {os.path.dirname(file) for file in named} for kind, named in files.items()}
    for one, other in combinations(folders, 2):
        both = folders[one] & folders[other]
        if both:
            raise ValueError(f"{min(both)}: holds both {one} and {other}; give the file or series to restore alone.")


def _dicom_items(
    found: Sequence[SeriesInfo], where: str, series: str | int | None, plane: str | None
) -> list[dict[str, Any]]:
    studies: dict[tuple[str | None, str], list[SeriesInfo]] = {}
    for info in found:
        studies.setdefault((info.patient_id, info.study_uid), []).append(info)
    matching = [matches for study in studies.values() if (matches := _matching(study, series, plane))]
    if not matching and found:
        raise DicomSelectionError(_selection(where, "no series matches", found, series, plane))
    if len(matching) < len(studies):
        logger.warning("%s: %d studies have no matching series.", where, len(studies) - len(matching))
    items: list[dict[str, Any]] = []
    for matches in matching:
        if len(matches) > 1:
            raise DicomSelectionError(_selection(where, "several series match", matches, series, plane))
        info = matches[0]
        digest = hashlib.blake2b(str(info.patient_id or info.study_uid).encode(), digest_size=4).hexdigest()
        items += [{"image": files, "subject": f"sub-{digest}"} for files in image_files(info)]
    return sorted(items, key=lambda item: str(item["image"][0]))


def _matching(study: Sequence[SeriesInfo], series: str | int | None, plane: str | None) -> list[SeriesInfo]:
    text = None if series is None else str(series).strip()
    named = [info for info in study if text is not None and text in (info.series_uid, str(info.number))]
    return matching_series(named, None, plane) if named else matching_series(study, text, plane)


def _selection(
    where: str, what: str, listed: Sequence[SeriesInfo], series: str | int | None, plane: str | None
) -> str:
    lines = "\n".join(f"  {info}" for info in listed)
    return (
        f"{where}: {what} series={series!r}, plane={plane!r}; exactly one of a study must. There are:\n{lines}\n"
        'Choose by number or UID (--series 5), description (--series "t2*") or plane (--plane axial).'
    )


def output_stem(file: str, series_uid: str | None = None, series_number: Any = None, flat: bool = False) -> str:
    """What the restored image of a file is called, less the ending.

    A NIfTI file or a picture keeps its name. A series gets its number and a hash of its UID: a UID itself would be cut
    at its last dot. An X-ray, one of several in its series, hashes the name of its file as well.

    Args:
        file: the (first) file of the image.
        series_uid: SeriesInstanceUID of a DICOM image.
        series_number: SeriesNumber of a DICOM image.
        flat: whether it is an X-ray.

    Example:
        >>> output_stem("/data/knee.nii.gz"), output_stem("/data/1.dcm", "1.2.3", 5)
        ('knee', 'series-5-27a1303c')
    """
    if not series_uid:
        return stem(file)
    key = f"{series_uid}/{os.path.basename(file)}" if flat else series_uid
    return f"series-{series_number}-{hashlib.blake2b(key.encode(), digest_size=4).hexdigest()}"


def output_name(metadata: Mapping[str, Any], saver: Any) -> dict[str, Any]:
    """``output_name_formatter`` of MONAI's ``SaveImage``: names as :py:func:`output_stem` makes them."""
    source = str(metadata.get("filename_or_obj", saver._data_index))
    uid = metadata.get("series_uid")
    if uid:
        source = os.path.join(os.path.dirname(source), output_stem(source, str(uid), metadata["series_number"]))
    return {"subject": source, "idx": metadata.get("patch_index")}
