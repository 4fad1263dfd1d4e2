"""Real values of a slice: stored integers rescaled, MONOCHROME1 inverted, padding told apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from .dicom_file import open_dataset
from .dicom_header import ENHANCED, SliceHeader, numbers
from .dicom_multiframe import FrameGroups
from .dicom_pixels import stored_values
from .dicom_record import DicomError, DicomFileError

__all__ = ["SliceReader"]

_LARGEST = 1e12


class SliceReader:
    """Reads the slices of one series, each file decoded once, and remembers which values were padding.

    Attributes:
        padding: real values that stand for "no image here", of the slices read so far.
        valid_range: smallest and largest of all other values.
    """

    def __init__(self) -> None:
        self._frames: dict[str, tuple[Any, np.ndarray]] = {}  # of multi-frame files, which are read frame by frame
        self.padding: set[float] = set()
        self._low, self._high = np.inf, -np.inf

    @property
    def valid_range(self) -> tuple[float, float] | None:
        """None where nothing was padded, or everything."""
        return (float(self._low), float(self._high)) if self.padding and self._low <= self._high else None

    def read(self, header: SliceHeader, out: np.ndarray) -> None:
        """Write the real values of a slice into ``out``, float32 of shape (columns, rows).

        Raises:
            DicomFileError: if the pixel data is truncated, cannot be decoded, or contradicts the header.
            OSError: if the file cannot be opened.
        """
        try:
            self._read(header, out)
        except DicomError:
            raise
        except Exception as error:  # pydicom converts an element when it is asked for, and raises many kinds
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise DicomFileError(f"{header.file}: the file is damaged, its values cannot be read: {error}") from error

    def _read(self, header: SliceHeader, out: np.ndarray) -> None:
        dataset, frames = self._decoded(header)
        stored = frames[header.frame - 1].T
        if stored.shape != out.shape:
            raise DicomFileError(f"{header.file}: pixel data of shape {stored.shape}, the header says {out.shape}.")
        padded = _padding(dataset, stored)
        if header.photometric == "MONOCHROME1":
            stored = _inverted(dataset, stored)
        _rescale(header, dataset, stored, out)
        valid = out if padded is None else out[~padded]
        if padded is not None:
            self.padding.update(np.unique(out[padded]).tolist()[:16])
        if valid.size:
            self._low, self._high = min(self._low, valid.min()), max(self._high, valid.max())

    def _decoded(self, header: SliceHeader) -> tuple[Any, np.ndarray]:
        if header.file in self._frames:
            return self._frames[header.file]
        dataset = open_dataset(header.file, pixels=True)
        decoded = dataset, stored_values(header.file, dataset)
        if header.frames > 1:
            del dataset.PixelData  # decoded by now
            self._frames[header.file] = decoded
        return decoded


def _padding(dataset: Any, stored: np.ndarray) -> np.ndarray | None:
    low = numbers(dataset, "PixelPaddingValue", 1)
    if low is None:
        return None
    high = numbers(dataset, "PixelPaddingRangeLimit", 1) or low
    signed = stored.dtype.kind == "i"
    # Implicit VR and careless writers leave the sign of these 16 bits to the reader.
    bits = [int(value[0]) % 65536 for value in (low, high)]
    first, last = sorted(value - 65536 if signed and value > 32767 else value for value in bits)
    padded: np.ndarray = (stored >= first) & (stored <= last)
    return padded if padded.any() else None


def _inverted(dataset: Any, stored: np.ndarray) -> np.ndarray:
    top = -1 if stored.dtype.kind == "i" else (1 << int(dataset.BitsStored)) - 1
    return top - stored.astype(np.int64)


def _rescale(header: SliceHeader, dataset: Any, stored: np.ndarray, out: np.ndarray) -> None:
    groups = FrameGroups(dataset).geometry(header.frame) if header.sop_class.startswith(ENHANCED) else {}
    elements: Any = groups if {"RescaleSlope", "RescaleIntercept"} & set(groups) else dataset
    if dataset.get("ModalityLUTSequence") and elements is dataset:
        from pydicom.pixels import apply_modality_lut

        try:
            out[...] = apply_modality_lut(stored, dataset)
        except Exception as error:  # an item of any shape may stand there
            raise DicomFileError(f"{header.file}: ModalityLUTSequence cannot be applied: {error}.") from error
        return
    factors = []
    for keyword, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)):
        given = elements.get(keyword)
        value = (default,) if given in (None, "") else numbers(elements, keyword, 1)
        if value is None or abs(value[0]) > _LARGEST or (keyword == "RescaleSlope" and value[0] == 0):
            raise DicomFileError(
                f"{header.file}: {keyword}={str(given)[:40]} must be a finite number"
                f"{', the slope not 0' if keyword == 'RescaleSlope' else ''}."
            )
        factors.append(value[0])
    if factors == [1.0, 0.0]:
        out[...] = stored
    else:
        out[...] = stored * factors[0] + factors[1]
