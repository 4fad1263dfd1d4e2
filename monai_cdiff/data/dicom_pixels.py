"""Stored pixel values of single-channel DICOM images, in every transfer syntax that pydicom or GDCM decodes."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import numpy as np

from .dicom_file import open_dataset
from .dicom_record import DicomFileError

__all__ = ["COMPRESSED_FLOOR_BYTES", "MAX_EXPANSION", "check_pixel_size", "open_dataset", "stored_values"]

# A compressed file may hold MAX_EXPANSION times its own size; smaller images than the floor always pass (a blank
# radiograph of 5000 x 6000 pixels compresses to nearly nothing).
MAX_EXPANSION = 1000
COMPRESSED_FLOOR_BYTES = 64 * 2**20

_SIZES = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel")


def check_pixel_size(file: str, dataset: Any) -> None:
    """Refuse declared sizes that are absurd or do not fit the pixel data, before memory is taken for them.

    Args:
        file: the file, for the message and for its length.
        dataset: from :py:func:`open_dataset`, with its pixel data or without. Without, only the file's length bounds
            the declared size.

    Raises:
        DicomFileError: if an element is malformed or out of range, or the sizes do not fit.
    """
    sizes = {name: _integer(file, dataset, name) for name in _SIZES}
    frames = _integer(file, dataset, "NumberOfFrames")
    bits, stored, high = sizes["BitsAllocated"], sizes["BitsStored"], sizes["HighBit"]
    allowed = {
        "Rows": (sizes["Rows"] >= 1, "at least 1"),
        "Columns": (sizes["Columns"] >= 1, "at least 1"),
        "BitsAllocated": (bits in (8, 16, 32), "8, 16 or 32"),
        "BitsStored": (1 <= stored <= bits, "from 1 to BitsAllocated"),
        "HighBit": (stored - 1 <= high < bits, "from BitsStored - 1 to BitsAllocated - 1"),
        "PixelRepresentation": (sizes["PixelRepresentation"] in (0, 1), "0 or 1"),
        "SamplesPerPixel": (sizes["SamplesPerPixel"] == 1, "1, a single channel"),
    }
    for name, (right, values) in allowed.items():
        if not right:
            raise DicomFileError(f"{file}: {name}={sizes[name]} must be {values}.")
    if frames < 1:
        raise DicomFileError(f"{file}: NumberOfFrames={frames} must be at least 1.")
    declared = sizes["Rows"] * sizes["Columns"] * frames * bits // 8
    syntax = _syntax(file, dataset)
    native = not (syntax.is_compressed or syntax.is_deflated)
    length = os.path.getsize(file)
    if declared > (length if native else max(COMPRESSED_FLOOR_BYTES, MAX_EXPANSION * length)):
        raise DicomFileError(
            f"{file}: the header declares {declared} bytes of pixels, more than a file of {length} bytes can hold; "
            "it is truncated or damaged."
        )
    if "PixelData" in dataset and not syntax.is_encapsulated:
        found = len(dataset.PixelData)
        if found not in (declared, declared + declared % 2):
            raise DicomFileError(
                f"{file}: PixelData has {found} bytes, the header declares {declared}; it is truncated or damaged."
            )


def stored_values(file: str, dataset: Any = None) -> np.ndarray:
    """The stored values of a single-channel image, decoded; neither rescaled nor inverted.

    Args:
        file: the file.
        dataset: what :py:func:`open_dataset` gave with ``pixels=True``; None reads the file.

    Returns:
        An integer array of shape (frames, rows, columns). Bits outside BitsStored are cleared or carry the sign.

    Raises:
        DicomFileError: if there is no integer pixel data, its size contradicts the header, or it cannot be decoded.
    """
    dataset = open_dataset(file, pixels=True) if dataset is None else dataset
    if "PixelData" not in dataset:
        raise DicomFileError(f"{file}: there is no PixelData; FloatPixelData and DoubleFloatPixelData are unsupported.")
    check_pixel_size(file, dataset)
    syntax = _syntax(file, dataset)
    shape = (int(dataset.get("NumberOfFrames") or 1), int(dataset.Rows), int(dataset.Columns))
    try:
        if syntax.is_encapsulated:
            _check_frames(dataset, shape)
        values = _decode(file, dataset, shape)
        if values.size != np.prod(shape, dtype=object) or values.dtype.kind not in "iu":
            raise ValueError(f"decoded to {values.dtype} of shape {values.shape}, the header says {shape}")
    except Exception as error:  # decoders raise many kinds
        raise DicomFileError(
            f"{file}: the pixel data cannot be decoded ({syntax.name}): {error}. The file is truncated or damaged, or "
            "a decoder is lacking (pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg)."
        ) from error
    bits, stored = _integer(file, dataset, "BitsAllocated"), _integer(file, dataset, "BitsStored")
    high = stored - 1 if syntax.is_encapsulated else _integer(file, dataset, "HighBit")
    kind = "i" if _integer(file, dataset, "PixelRepresentation") else "u"
    values = values.reshape(shape).astype(f"{kind}{bits // 8}")
    # Shifting up drops what lies above the highest bit, shifting down what lies below and brings the sign along.
    return (values << (bits - 1 - high)) >> (bits - stored)


def _integer(file: str, dataset: Any, name: str) -> int:
    defaults = {"NumberOfFrames": 1, "SamplesPerPixel": 1, "PixelRepresentation": 0}
    try:
        value = dataset.get(name)
        if value in (None, "") and name in defaults:
            return defaults[name]
        if value in (None, "") and name == "HighBit":
            return int(dataset.BitsStored) - 1
        if int(value) != float(value):
            raise ValueError(f"{value} is not whole")
        return int(value)
    except Exception as error:  # pydicom converts an element when it is asked for, and raises many kinds
        raise DicomFileError(f"{file}: {name} must be one whole number: {error}") from error


def _syntax(file: str, dataset: Any) -> Any:
    from pydicom.uid import UID, ImplicitVRLittleEndian

    syntax = UID(str(dataset.file_meta.get("TransferSyntaxUID") or ImplicitVRLittleEndian))
    if not syntax.is_transfer_syntax or syntax.is_private:
        raise DicomFileError(f"{file}: TransferSyntaxUID={str(syntax)!r} is no transfer syntax of the standard.")
    return syntax


def _check_frames(dataset: Any, shape: tuple[int, ...]) -> None:
    from pydicom.encaps import generate_frames

    count = 0
    for frame in generate_frames(dataset.PixelData, number_of_frames=shape[0]):
        count += 1
        size = _stream_size(frame)
        if size is not None and size != shape[1:]:
            raise ValueError(f"a frame of {size} (rows, columns), the header says {shape[1:]}")
        if size is not None and not frame.rstrip(b"\0\xff").endswith(b"\xff\xd9"):
            raise ValueError(f"frame {count} ends too early")
    if count != shape[0]:
        raise ValueError(f"{count} frames, the header says {shape[0]}")


def _stream_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 code stream declares; None for another."""

    def number(start: int, size: int) -> int:
        return int.from_bytes(frame[start : start + size], "big")

    if frame[:4] == b"\xff\x4f\xff\x51":  # JPEG 2000: SOC, SIZ
        return number(12, 4) - number(20, 4), number(8, 4) - number(16, 4)
    if frame[:2] != b"\xff\xd8":
        return None
    start = 2
    while start + 9 <= len(frame) and frame[start] == 0xFF:
        marker = frame[start + 1]
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return number(start + 5, 2), number(start + 7, 2)
        start += 1 if marker == 0xFF else 2 + number(start + 2, 2)
    raise ValueError("a JPEG code stream without a frame header")


def _decode(file: str, dataset: Any, shape: tuple[int, ...]) -> np.ndarray:
    try:
        values: np.ndarray = dataset.pixel_array
    except Exception:
        if not _syntax(file, dataset).is_encapsulated:
            raise
        return _decode_gdcm(file, dataset, shape)
    return values


def _decode_gdcm(file: str, dataset: Any, shape: tuple[int, ...]) -> np.ndarray:
    # SimpleITK rescales and inverts by the header, so each frame goes to it under a header that asks for neither.
    import pydicom
    import SimpleITK as sitk
    from pydicom.encaps import encapsulate, generate_frames

    plain = pydicom.Dataset()
    plain.file_meta = pydicom.dataset.FileMetaDataset()
    plain.file_meta.TransferSyntaxUID = _syntax(file, dataset)
    plain.SOPClassUID = plain.file_meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    plain.SOPInstanceUID = plain.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.UID("1.2.3")
    for name in _SIZES:
        if name in dataset:
            setattr(plain, name, dataset[name].value)
    plain.SamplesPerPixel, plain.PhotometricInterpretation = 1, "MONOCHROME2"
    frames = []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "frame.dcm")
        for frame in generate_frames(dataset.PixelData, number_of_frames=shape[0]):
            plain.PixelData = encapsulate([frame])
            plain["PixelData"].is_undefined_length = True
            plain.save_as(path, enforce_file_format=True)
            frames.append(sitk.GetArrayFromImage(sitk.ReadImage(path, imageIO="GDCMImageIO")).reshape(shape[1:]))
    return np.stack(frames)
