"""DICOM series for MONAI's ``LoadImaged``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple

from ..utils import check_option
from .dicom_geometry import ON_GAP
from .dicom_record import DicomSelectionError, SourceRecord
from .dicom_series import matching_series, read_series

__all__ = ["DicomSeriesReader"]

_SUFFIXES = (".dcm", ".ima", ".dicom")


class DicomSeriesReader(ImageReader):
    """Read one DICOM series as one volume, strictly: what is not one regular stack of slices is refused.

    ``LoadImage`` swallows what ``read`` raises and tries its next reader, which may accept what this one refused. So
    ``read`` only records the paths, and every refusal comes from ``get_data``.

    Args:
        series: which series of a folder, as a pattern of its description with ``*`` and ``?`` ("t2*"), upper and
            lower case alike; or its number or UID; None takes any. Exactly one series must match.
        plane: which series of a folder, or slices of a series, by the plane: "axial", "coronal" or "sagittal"; None
            takes any.
        series_uid: which series of a folder, by its SeriesInstanceUID.
        select: which slices of a series that holds several volumes, for example ``{"EchoTime": 90}``.
        on_gap: what to do about missing slices: "error", "warn" or "resample"; all five as for
            :py:func:`monai_cdiff.data.read_series`.

    Example:
        >>> from monai.transforms import LoadImaged
        >>> reader = DicomSeriesReader(series="t2*", plane="axial")
        >>> load = LoadImaged("image", reader=[reader, "NibabelReader"], ensure_channel_first=True)
    """

    def __init__(
        self,
        series: str | None = None,
        plane: str | None = None,
        series_uid: str | None = None,
        select: Mapping[str, Any] | None = None,
        on_gap: str = "error",
    ) -> None:
        matching_series([], series, plane)  # a wrong word fails here, before any file is looked for
        check_option("on_gap", on_gap, ON_GAP)
        self.choice: dict[str, Any] = dict(
            series=series, plane=plane, series_uid=series_uid, select=select, on_gap=on_gap
        )

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
            The volume, float32, of shape (columns, rows, slices), or (columns, rows) for an image without a place in
            space; and its metadata with the affine to RAS in mm, the record ``dicom_source`` and the ``padding``.

        Raises:
            DicomError: if a folder does not hold exactly one matching series, or the series is refused.
            FileNotFoundError: if a path does not exist.
        """
        names = ensure_tuple(img)
        if len(names) > 1 and any(os.path.isdir(name) for name in names):
            raise DicomSelectionError(
                f"{len(names)} paths with a folder among them, {names[0]} first: give one folder, or files of a series."
            )
        values, affine, record = read_series(names[0] if len(names) == 1 else names, **self.choice)
        return values, {
            MetaKeys.AFFINE: affine,
            MetaKeys.ORIGINAL_AFFINE: affine.copy(),
            MetaKeys.SPATIAL_SHAPE: np.asarray(record.shape),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.ORIGINAL_CHANNEL_DIM: "no_channel",
            "filename_or_obj": str(names[0]),
            "series_uid": record.series_uid,
            "series_number": str(record.number),
            "dicom_source": record.to_json(),
            "padding": _padding(record),
        }


def _padding(record: SourceRecord) -> str:
    """As a string, since a batch keeps only what all its items have alike."""
    if record.valid_range is None:
        return "none"
    return json.dumps({"values": record.padding, "valid_range": record.valid_range})


def _looks_like_dicom(name: str) -> bool:
    suffix = os.path.splitext(name)[1].lower()
    if suffix in _SUFFIXES:
        return True
    try:
        with open(name, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False
