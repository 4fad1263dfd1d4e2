"""What reading a DICOM series refuses with, and what travels from reading to writing."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

__all__ = ["DicomError", "DicomFileError", "DicomGeometryError", "DicomSelectionError", "SourceRecord"]


class DicomError(ValueError):
    """A DICOM series that cannot be read or written as one regular volume; the message says which rule it breaks."""


class DicomFileError(DicomError):
    """A file that is damaged, truncated, not supported or no image; the message names it."""


class DicomSelectionError(DicomError):
    """Not exactly one series matches what was asked for; the message lists those there are."""


class DicomGeometryError(DicomError):
    """Slices that do not lie on one regular grid; the message gives their positions."""


@dataclasses.dataclass(frozen=True)
class SourceRecord:
    """Where a volume came from: what a derived series needs to know besides the files themselves.

    It travels through MONAI's pipelines as one JSON string, the metadata entry ``dicom_source``, and holds no identity
    of a patient besides what the paths say.

    Args:
        series_uid: SeriesInstanceUID.
        number: SeriesNumber.
        modality: Modality, for example "MR".
        shape: columns, rows and slices; columns and rows of a projection image (CR, DX).
        spacing_mm: distance between columns, rows and slices; 1.0 for the slices of a projection image.
        files: the file of each slice, in slice order; the one file of all slices for multi-frame images.
        frames: the number of each slice's frame in its file, counted from 1.
        positions: ImagePositionPatient of each slice, in mm, LPS; empty for an image with no place in space.
        orientation: ImageOrientationPatient; empty for an image with no place in space.
        photometric: PhotometricInterpretation of the files. Values read from MONOCHROME1 are inverted, so that more is
            brighter; writing undoes it.
        padding: real values that stand for "no image here" (PixelPaddingValue), of all slices.
        valid_range: smallest and largest of the other values; None where nothing is padded.
    """

    series_uid: str
    number: int | None
    modality: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, float, float]
    files: tuple[str, ...]
    frames: tuple[int, ...]
    positions: tuple[tuple[float, ...], ...]
    orientation: tuple[float, ...]
    photometric: str = "MONOCHROME2"
    padding: tuple[float, ...] = ()
    valid_range: tuple[float, float] | None = None

    def to_json(self) -> str:
        """The record as one string."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> SourceRecord:
        """The record a string holds.

        Raises:
            ValueError: if the string is not what :py:meth:`to_json` made.
        """
        try:
            return cls(**{name: _tuples(value) for name, value in json.loads(text).items()})
        except (TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"dicom_source={str(text)[:60]!r} is no record of a DICOM source: {error}") from error


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
