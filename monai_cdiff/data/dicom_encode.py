"""Real values as stored integers: which integers, with which slope, and the window to show them in."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable
from typing import Any

import numpy as np

from .dicom_record import DicomError

__all__ = ["Encoding", "check_finite", "choose_encoding", "encode", "source_encoding", "window"]

logger = logging.getLogger(__name__)

_STEPS = 65534  # one fewer than 16 bits hold: a slope rounded to the 16 characters of a DS must not overflow
_MEANINGFUL_SPREAD = 1000  # fewer grey levels than this lose visible detail by rounding


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How real values become stored ones: ``real = slope * stored + intercept``, then inverted for MONOCHROME1.

    Args:
        slope: RescaleSlope.
        intercept: RescaleIntercept.
        signed: PixelRepresentation.
        bits_stored: BitsStored.
        inverted: MONOCHROME1.
        rescaled: whether slope and intercept have to be in the header.
    """

    slope: float = 1.0
    intercept: float = 0.0
    signed: bool = False
    bits_stored: int = 16
    inverted: bool = False
    rescaled: bool = False

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest stored value."""
        return (-(1 << self.bits_stored - 1) if self.signed else 0), (1 << self.bits_stored - self.signed) - 1

    def mirrored(self, stored: Any) -> Any:
        """Stored values as they stand in a MONOCHROME1 file; the same function turns them back."""
        return (-1 if self.signed else self.limits[1]) - stored if self.inverted else stored


def check_finite(array: np.ndarray) -> None:
    """Refuse NaN and infinity.

    Raises:
        DicomError: with their number.
    """
    bad = sum(int(part.size - np.count_nonzero(np.isfinite(part))) for part in np.moveaxis(array, -1, 0))
    if bad:
        raise DicomError(f"array holds {bad} of {array.size} values that are NaN or infinite; DICOM has none.")


def choose_encoding(array: np.ndarray, header: Any, quantity: str = "image") -> Encoding:
    """The integers that hold an array.

    CT keeps the source's slope and intercept where they hold the values to half a unit. MR, CR and DX are rounded to
    integers; MR and CR are scaled to 16 bits where they do not fit, or where rounding would leave fewer than 1000
    levels of values that are no integers. DX may not be scaled (its slope is 1 by the standard): values beyond its
    range are cut, with a warning.

    Args:
        array: finite real values of the whole series.
        header: dataset of the source.
        quantity: "image" or "standard deviation".

    Raises:
        DicomError: if DX values are too close together for integers.
    """
    low, high = float(array.min()), float(array.max())
    inverted = str(header.get("PhotometricInterpretation")) == "MONOCHROME1"
    modality = _kind(header)
    if modality == "CT" and quantity == "image":
        found = _hounsfield(low, high, header) or _scaled(low, high)
        return dataclasses.replace(found, inverted=inverted, rescaled=True)
    coarse = high - low < _MEANINGFUL_SPREAD and not all((p == np.rint(p)).all() for p in np.moveaxis(array, -1, 0))
    if modality == "DX":
        return _unscaled_dx(low, high, coarse and quantity == "image", inverted, int(header.get("BitsStored") or 16))
    whole = None if coarse else _fitting(low, high, int(header.get("BitsStored") or 16) if modality == "CR" else 16)
    found = whole or _scaled(min(low, 0.0) if quantity != "image" else low, high)
    return dataclasses.replace(found, inverted=inverted, rescaled=found.rescaled or modality == "CT")


def source_encoding(headers: Iterable[Any], array: np.ndarray) -> Encoding | None:
    """The integers that the source uses, so that values taken from it are stored as they were.

    Args:
        headers: datasets of the source's files.
        array: finite real values of the whole series; what lies beyond the source's range is cut, with a warning.

    Returns:
        The encoding; None, with a warning, where the files differ or use a look-up table.
    """
    known = {_stored_as(header) for header in headers}
    found = [encoding for encoding in known if encoding is not None]
    if len(known) > 1 or not found:
        logger.warning("the source's files store values in ways of their own; measured values keep them to rounding.")
        return None
    encoding = found[0]
    low, high = (encoding.slope * limit + encoding.intercept for limit in encoding.limits)
    beyond = int(np.count_nonzero((array < min(low, high) - 0.5) | (array > max(low, high) + 0.5)))
    if beyond:
        logger.warning("%d values are cut to %.4g..%.4g, all that the source can store.", beyond, low, high)
    return encoding


def _stored_as(header: Any) -> Encoding | None:
    if header.get("ModalityLUTSequence"):
        return None
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
    return Encoding(
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        signed=bool(header.get("PixelRepresentation")),
        bits_stored=int(header.get("BitsStored") or 16),
        inverted=str(header.get("PhotometricInterpretation")) == "MONOCHROME1",
        rescaled=slope is not None,
    )


def encode(values: np.ndarray, encoding: Encoding) -> np.ndarray:
    """Stored integers, 16 bit, of the shape of ``values``."""
    stored = np.rint((values.astype(np.float64) - encoding.intercept) / encoding.slope)
    stored = encoding.mirrored(np.clip(stored, *encoding.limits))
    return stored.astype(np.int16 if encoding.signed else np.uint16)


def window(array: np.ndarray, encoding: Encoding) -> tuple[float, float]:
    """WindowCenter and WindowWidth that hold 99 % of the values, as the header has to say them."""
    stride = max(1, int((array.size / 2e6) ** (1 / 3)))  # two million values place a percentile well enough
    low, high = np.percentile(array[(slice(None, None, stride),) * array.ndim], (0.5, 99.5))
    centre = (float(low) + float(high)) / 2
    if encoding.inverted:
        stored = encoding.mirrored((centre - encoding.intercept) / encoding.slope)
        centre = stored * encoding.slope + encoding.intercept
    width = float(high - low) or float(array.max()) - float(array.min()) or 1.0
    return centre, width


def _kind(header: Any) -> str:
    name = str(header.SOPClassUID.name)
    return "DX" if "Digital X-Ray" in name else "CR" if "Computed Radiography" in name else name.split()[0]


def _hounsfield(low: float, high: float, header: Any) -> Encoding | None:
    slope, intercept = (float(header.get(k) or d) for k, d in (("RescaleSlope", 1), ("RescaleIntercept", 0)))
    for a, b in ((slope, intercept), (1.0, 0.0), (1.0, float(np.floor(low)))):
        found = _fitting((low - b) / a, (high - b) / a, 16) if 0 < a <= 1 else None
        if found is not None:
            return dataclasses.replace(found, slope=a, intercept=b)
    return None


def _fitting(low: float, high: float, bits: int) -> Encoding | None:
    low, high = float(np.rint(low)), float(np.rint(high))
    for candidate in (Encoding(bits_stored=bits), Encoding(), Encoding(signed=True)):
        if candidate.limits[0] <= low and high <= candidate.limits[1]:
            return candidate
    return None


def _scaled(low: float, high: float) -> Encoding:
    from pydicom.valuerep import format_number_as_ds

    # what the header will say, not what was computed: all readers see the former
    slope = float(format_number_as_ds((high - low) / _STEPS)) if high > low else 1.0
    return Encoding(slope=slope or 1.0, intercept=float(format_number_as_ds(low)), rescaled=True)


def _unscaled_dx(low: float, high: float, coarse: bool, inverted: bool, bits: int) -> Encoding:
    if coarse:
        raise DicomError(
            f"array spans {low:.4g} to {high:.4g} in steps finer than 1; DX holds integers without a slope. Give the "
            "values in the units of the source (undo the normalisation) or round them."
        )
    found = _fitting(max(low, 0), max(high, 0), bits)
    encoding = found if found is not None and not found.signed else Encoding()
    if low < -0.5 or high > encoding.limits[1] + 0.5:
        logger.warning("values from %.4g to %.4g are cut to %d..%d, all that DX can hold.", low, high, *encoding.limits)
    return dataclasses.replace(encoding, inverted=inverted)
