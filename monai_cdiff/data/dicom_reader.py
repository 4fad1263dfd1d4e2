"""DICOM series for MONAI's ``LoadImaged``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple

from .dicom_series import DicomError, matching_series, read_series, scan_series, select_series

__all__ = ["DicomSeriesReader"]

_SUFFIXES = (".dcm", ".ima", ".dicom")


class DicomSeriesReader(ImageReader):
    """Read one DICOM series as one volume, strictly: what is not one regular stack of slices is refused.

    ``LoadImage`` swallows what ``read`` raises and tries its next reader, which may accept what this one refused. So
    ``read`` only records the paths, and every refusal comes from ``get_data``.

    Args:
        series: which series of a folder, as a pattern of its description with ``*`` and ``?`` ("t2*"), upper and
            lower case alike; None takes any. Exactly one series must match.
        plane: which series of a folder, by its plane: "axial", "coronal" or "sagittal"; None takes any.

    Example:
        >>> from monai.transforms import LoadImaged
        >>> reader = DicomSeriesReader(series="t2*", plane="axial")
        >>> load = LoadImaged("image", reader=[reader, "NibabelReader"], ensure_channel_first=True)
    """

    def __init__(self, series: str | None = None, plane: str | None = None) -> None:
        matching_series([], series, plane)  # a wrong word fails here, before any file is looked for
        self.series = series
        self.plane = plane

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """True for a folder, and for files that are all DICOM by their suffix or, lacking one, by their preamble."""
        names = [os.fspath(name) for name in ensure_tuple(filename)]
        return bool(names) and all(os.path.isdir(name) or _looks_like_dicom(name) for name in names)

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> tuple[str, ...]:
        """Record the paths of one series: a folder, or its files.

        Raises:
            ValueError: if all of them are files of another format, which are left to the other readers.
        """
        names = tuple(os.fspath(name) for name in ensure_tuple(data))
        if names and all(os.path.isfile(name) and not _looks_like_dicom(name) for name in names):
            raise ValueError(f"{names[0]}: no DICOM file.")
        return names

    def get_data(self, img: Sequence[str]) -> tuple[np.ndarray, dict[str, Any]]:
        """Read what :py:meth:`read` recorded.

        Returns:
            The volume, float32, of shape (columns, rows, slices), and its metadata with the affine to RAS in mm.

        Raises:
            DicomError: if a folder does not hold exactly one matching series, or the series is refused.
            FileNotFoundError: if a path does not exist.
        """
        volume, affine, info = read_series(self._files(ensure_tuple(img)))
        return volume, {
            MetaKeys.AFFINE: affine,
            MetaKeys.ORIGINAL_AFFINE: affine.copy(),
            MetaKeys.SPATIAL_SHAPE: np.asarray(info.shape),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.ORIGINAL_CHANNEL_DIM: "no_channel",
            "filename_or_obj": str(ensure_tuple(img)[0]),
            "series_uid": info.series_uid,
            "series_number": str(info.number),
        }

    def _files(self, names: Sequence[str]) -> Sequence[str]:
        if not any(os.path.isdir(name) for name in names):
            return names
        if len(names) > 1:
            raise DicomError(f"{len(names)} paths with a folder among them: give one folder, or the files of a series.")
        try:
            return select_series(scan_series(names[0]), description=self.series, plane=self.plane).files
        except DicomError as error:
            raise DicomError(f"{names[0]}: {error}") from None


def _looks_like_dicom(name: str) -> bool:
    suffix = os.path.splitext(name)[1].lower()
    if suffix in _SUFFIXES:
        return True
    try:
        with open(name, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False
