"""Which images there are and who trains on them: lists in MONAI's decathlon form, split by subject.

A list is ``{"training": [...], "validation": [...], "test": [...]}`` with items
``{"image": path or DICOM files, "subject": key}``. A subject is never in two splits.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from ..utils import check_integer, check_number, derive_seed
from .dicom_series import DicomError, SeriesInfo, list_files, scan_series, select_series

__all__ = ["make_datalist", "replacing", "summarize_datalist", "write_datalist"]

PathLike: TypeAlias = "str | os.PathLike[str]"
Item: TypeAlias = "dict[str, Any]"

SPLITS = ("training", "validation", "test")

logger = logging.getLogger(__name__)


def make_datalist(
    dataset_dir: PathLike | Sequence[PathLike],
    series: str | None = None,
    plane: str | None = None,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
) -> dict[str, list[Item]]:
    """Find the images of a data set and split them by subject.

    A folder holds one folder for each patient, with NIfTI files or DICOM series at any depth. All NIfTI files of a
    patient folder are taken, and its name is the subject; NIfTI files beside the patient folders are a subject each.
    Of DICOM, one series of each study is taken, and the subject is a hash of the header's PatientID, so a patient who
    fills two folders stays one subject. A datalist JSON names its images itself, with paths relative to it; a list
    that it lacks is split from its training list.

    Who goes where depends on ``seed`` and the subjects alone, not on the order of the folders.

    Args:
        dataset_dir: a folder of patient folders, several such folders, or a datalist JSON file.
        series: which DICOM series, as a pattern of the description with ``*`` and ``?`` ("t2*"); None takes any.
        plane: which DICOM series, by its plane: "axial", "coronal" or "sagittal"; None takes any.
        fractions: share of the subjects in training, validation and test; each above 0, together 1.
        seed: whole number that decides the split.

    Returns:
        The three lists; paths are absolute, and a DICOM image is the list of its files.

    Raises:
        FileNotFoundError: if a folder, or a file that the JSON names, does not exist.
        ValueError: if there are no images or fewer than three subjects, a patient folder is ambiguous, the JSON is
            malformed, a subject is in two splits, or images of two and three dimensions are mixed.

    Example:
        >>> make_datalist("/data/prostate", series="t2*", plane="axial")  # doctest: +SKIP
    """
    shares = _check_fractions(fractions)
    seed = check_integer("seed", seed, 0)
    sources = [dataset_dir] if isinstance(dataset_dir, (str, os.PathLike)) else list(dataset_dir)
    if not sources:
        raise ValueError("dataset_dir=[] names no folder; at least one is needed.")
    paths = [Path(os.path.abspath(os.path.expanduser(source))) for source in sources]
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"dataset_dir={str(path)!r} does not exist.")
        if path.is_file() and (len(paths) > 1 or path.suffix.lower() != ".json"):
            raise ValueError(f"dataset_dir={str(path)!r} is a file; allowed: folders, or one datalist JSON file.")
    if paths[0].is_file():
        datalist = _complete(_read_json(paths[0], series, plane), shares, seed, paths[0])
    else:
        items = [item for path in paths for item in _folder_items(path, series, plane)]
        datalist = dict(zip(SPLITS, _split(items, shares, seed)))
    _check_disjoint(datalist)
    _check_dimensions(datalist)
    return datalist


def summarize_datalist(datalist: dict[str, list[Item]]) -> str:
    """How many subjects and images each split holds, one line a split.

    Example:
        >>> print(summarize_datalist({"training": [{"image": "a.nii.gz", "subject": "a"}], "test": []}))
        training: 1 subject, 1 image
        test: 0 subjects, 0 images
    """

    def count(number: int, noun: str) -> str:
        return f"{number} {noun}{'' if number == 1 else 's'}"

    return "\n".join(
        f"{split}: {count(len({item['subject'] for item in items}), 'subject')}, {count(len(items), 'image')}"
        for split, items in datalist.items()
    )


def write_datalist(datalist: dict[str, Any], path: PathLike) -> None:
    """Write a datalist as JSON, whole or not at all; the folder is made if need be."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(datalist, indent=2) + "\n", encoding="utf-8")


@contextmanager
def replacing(path: PathLike) -> Iterator[Path]:
    """Give a temporary path beside ``path`` and move it there at the end, so that no half-written file is ever seen."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # In front, so that the suffix, by which writers know the format, stays.
    temporary = target.with_name(f".{os.getpid()}-{target.name}")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _check_fractions(fractions: Sequence[float]) -> tuple[float, ...]:
    shares = tuple(check_number("fractions", share, 0.0, 1.0, open_low=True) for share in fractions)
    if len(shares) != 3 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"fractions={tuple(fractions)} must be three numbers (training, validation, test) of sum 1.")
    return shares


def _folder_items(folder: Path, series: str | None, plane: str | None) -> list[Item]:
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    loose = [str(entry) for entry in entries if entry.is_file() and _is_nifti(entry)]
    items = [{"image": file, "subject": _stem(file)} for file in loose]
    for entry in entries:
        if entry.is_dir():
            items += _patient_items(entry, series, plane)
    if not items:
        raise ValueError(f"dataset_dir={str(folder)!r} holds neither NIfTI files nor patient folders with images.")
    return items


def _patient_items(folder: Path, series: str | None, plane: str | None) -> list[Item]:
    files = list_files(folder)
    nifti = [file for file in files if _is_nifti(file)]
    found = scan_series([file for file in files if not _is_nifti(file)])
    if nifti and found:
        raise ValueError(f"{folder}: holds both NIfTI ({nifti[0]}) and DICOM ({found[0]}); keep one of them.")
    if nifti:
        return [{"image": file, "subject": folder.name} for file in nifti]
    if not found:
        raise ValueError(f"{folder}: holds neither a NIfTI file nor a DICOM image, so it is no patient folder.")
    return _dicom_items(folder, found, series, plane)


def _dicom_items(folder: Path, found: list[SeriesInfo], series: str | None, plane: str | None) -> list[Item]:
    """One series of each study in the folder; a study without a match is passed over if the patient has another."""
    studies: dict[tuple[str, str], list[SeriesInfo]] = {}
    for info in found:
        studies.setdefault((_subject_of(info, folder), info.study_uid), []).append(info)
    items: list[Item] = []
    refusals: dict[str, str] = {}
    for (subject, _), candidates in studies.items():
        matching = _matching(candidates, series, plane)
    return items


def _is_nifti(path: PathLike) -> bool:
    return os.fspath(path).lower().endswith((".nii", ".nii.gz"))
