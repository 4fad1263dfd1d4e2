"""What there is to restore in a folder, and what the restored files are called."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .dicom_series import scan_series
from .patient_folders import dicom_item, find_items, is_nifti, stem

__all__ = ["list_inputs", "output_name"]


def list_inputs(input_dir: str | os.PathLike[str], series: str | None = None, plane: str | None = None) -> list[dict]:
    """The images to restore: of a folder of patient folders, of one folder, or of one file.

    Args:
        input_dir: a folder of patient folders, a folder of NIfTI files, the folder of one DICOM series, or a file.
        series: which DICOM series, as a pattern of the description with ``*`` and ``?`` ("t2*"); None takes any.
        plane: which DICOM series, by its plane: "axial", "coronal" or "sagittal"; None takes any.

    Returns:
        Items ``{"image": path or DICOM files, "subject": key}``.

    Raises:
        FileNotFoundError: if there is no such folder or file.
        ValueError: if ``input_dir`` is not given, holds no image, or a patient folder is ambiguous.

    Example:
        >>> list_inputs("/data/prostate", series="t2*", plane="axial")  # doctest: +SKIP
    """
    if not input_dir:
        raise ValueError(f"input_dir={input_dir!r}: give the folder or file to restore, as --input_dir PATH.")
    path = Path(input_dir).expanduser().absolute()
    if not path.exists():
        raise FileNotFoundError(f"input_dir={str(path)!r} does not exist.")
    if path.is_file() and is_nifti(str(path)):
        return [{"image": str(path), "subject": stem(str(path))}]
    loose = [path] if path.is_file() else [entry for entry in path.iterdir() if entry.is_file()]
    found = scan_series([entry for entry in loose if not is_nifti(str(entry)) and not entry.name.startswith(".")])
    if found:
        return [dicom_item(found, str(path), series, plane)]
    if path.is_file():
        raise ValueError(f"input_dir={str(path)!r} is neither NIfTI nor DICOM.")
    return find_items(path, series, plane)


def output_name(metadata: Mapping[str, Any], saver: Any) -> dict[str, Any]:
    """``output_name_formatter`` of MONAI's ``SaveImage``: a NIfTI file keeps its name, a series gets a short one.

    The name of a series is its number and a hash of its UID: a UID itself would be cut at its last dot.
    """
    source = str(metadata.get("filename_or_obj", saver._data_index))
    uid = metadata.get("series_uid")
    if uid:
        digest = hashlib.blake2b(str(uid).encode(), digest_size=4).hexdigest()
        source = os.path.join(os.path.dirname(source), f"series-{metadata['series_number']}-{digest}")
    return {"subject": source, "idx": metadata.get("patch_index")}
