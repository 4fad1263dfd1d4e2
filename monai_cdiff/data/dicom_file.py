"""Opening DICOM files that may be damaged or hostile without taking more memory than the file has bytes."""

from __future__ import annotations

import io
import mmap
import os
import zlib
from collections.abc import Sequence
from typing import Any

from .dicom_record import DicomFileError

__all__ = ["DEFLATED_HEADER_BYTES", "open_dataset"]

# What a deflated file may inflate to besides its declared pixels; headers are far smaller.
DEFLATED_HEADER_BYTES = 16 * 2**20
PIXEL_DATA = 0x7FE00010


def open_dataset(file: str, pixels: bool = False, tags: Sequence[str] | None = None) -> Any:
    """Read a DICOM file with pydicom, in bounded memory.

    Args:
        file: the file.
        pixels: read what follows the header too, the pixel data among it.
        tags: keywords of the elements to keep; None keeps all.

    Returns:
        The ``pydicom.Dataset`` with its ``file_meta``.

    Raises:
        DicomFileError: if the file is DICOM and damaged, or inflates to more than its header declares.
        pydicom.errors.InvalidDicomError: if it is no DICOM file.
        OSError: if it cannot be opened.
    """
    import pydicom

    if not os.path.isfile(file) and os.path.exists(file) and not os.path.isdir(file):
        raise DicomFileError(f"{file}: a pipe, socket or device; only regular files are opened.")
    with open(file, "rb") as stream:
        try:
            view = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # an empty file cannot be mapped
            raise pydicom.errors.InvalidDicomError(f"{file}: the file is empty.") from None
    # A plain file allocates what an element claims to hold before it reads; a map hands out what there is.
    with view:
        try:
            dataset = _parse(view, pixels, list(tags) if tags is not None else None)
            _refuse_late_elements(dataset)
            return dataset
        except pydicom.errors.InvalidDicomError:
            raise
        except Exception as error:  # pydicom raises many kinds on damaged files
            raise DicomFileError(f"{file}: the file is damaged, its DICOM header cannot be read: {error}") from error


def _parse(view: Any, pixels: bool, tags: list[str] | None) -> Any:
    import pydicom

    pydicom.filereader.read_preamble(view, False)
    meta = pydicom.filereader.read_dataset(view, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    if meta.get("TransferSyntaxUID") != pydicom.uid.DeflatedExplicitVRLittleEndian:
        view.seek(0)
        return pydicom.dcmread(view, stop_before_pixels=not pixels, specific_tags=tags)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    data = inflater.decompress(view.read(), DEFLATED_HEADER_BYTES)
    if pixels and not inflater.eof:
        header = _inflated(data, meta, False, ["Rows", "Columns", "NumberOfFrames", "BitsAllocated"])
        size = int(header.Rows) * int(header.Columns) * int(header.get("NumberOfFrames") or 1)
        rest = max(size, 0) * int(header.BitsAllocated) // 8
        data += inflater.decompress(inflater.unconsumed_tail, rest + 1)
    if pixels and not inflater.eof:
        raise ValueError("the deflated data is truncated, or inflates to more than its header declares")
    return _inflated(data, meta, pixels, tags)


def _refuse_late_elements(dataset: Any) -> None:
    """Refuse a header element behind the pixel data: who reads only up to the pixels would not know of it."""
    if "PixelData" not in dataset:
        return

    def place(element: Any) -> int:
        return int(element.value_tell if hasattr(element, "value_tell") else element.file_tell or 0)

    elements = dict(dataset.items())
    pixels = place(elements[PIXEL_DATA])
    late = [tag for tag, element in elements.items() if tag < PIXEL_DATA and place(element) > pixels]
    if late:
        raise ValueError(f"element {late[0]} stands behind the pixel data")


def _inflated(data: bytes, meta: Any, pixels: bool, tags: list[str] | None) -> Any:
    import pydicom

    dataset = pydicom.filereader.read_dataset(
        io.BytesIO(data),
        False,
        True,
        stop_when=None if pixels else lambda tag, vr, length: tag >= 0x7FE00008,
        specific_tags=[pydicom.tag.Tag(tag) for tag in tags] if tags is not None else None,
    )
    dataset.file_meta = pydicom.dataset.FileMetaDataset(meta)
    dataset.set_original_encoding(False, True)
    return dataset
