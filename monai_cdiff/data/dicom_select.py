"""Which slices of a series make one volume, where several lie at one place or in several planes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .dicom_file import open_dataset
from .dicom_geometry import plane_of
from .dicom_header import SliceHeader
from .dicom_multiframe import FrameGroups
from .dicom_record import DicomFileError, DicomGeometryError, DicomSelectionError
from .dicom_values import SliceReader

__all__ = ["differing_elements", "in_plane", "same_pixels", "selected"]

# What most often tells the volumes of one series apart, best first; 0019100c is the b-value of Siemens.
_TELLING = (
    "DiffusionBValue 0019100c SequenceName EchoTime EffectiveEchoTime EchoNumbers ImageType FrameType "
    "TemporalPositionIdentifier TemporalPositionIndex DiffusionGradientOrientation InversionTime FlipAngle TriggerTime "
    "NominalCardiacTriggerDelayTime ConvolutionKernel KVP AcquisitionNumber AcquisitionTime FrameAcquisitionDateTime "
    "ContentTime"
).split()
_SHOWN = 40
_COUNTING = {"InstanceNumber", "SOPInstanceUID", "InstanceCreationTime", "SliceLocation", "WindowCenter", "WindowWidth"}


def in_plane(headers: Sequence[SliceHeader], plane: str | None) -> list[SliceHeader]:
    """The slices of a plane, where a series has several.

    Raises:
        DicomSelectionError: if there are none.
    """
    planes = [None if header.orientation is None else plane_of(header.orientation) for header in headers]
    if plane is None or len(set(planes)) < 2:
        return list(headers)
    kept = [header for header, own in zip(headers, planes) if own == plane]
    if not kept:
        counts = ", ".join(f"{count} {name}" for name, count in Counter(planes).items())
        raise DicomSelectionError(f"{headers[0].file}: no slice is plane={plane!r}; the series has {counts}.")
    return kept


def selected(headers: Sequence[SliceHeader], select: Mapping[str, Any] | None) -> list[SliceHeader]:
    """The slices whose elements have the given values.

    Args:
        headers: of one series.
        select: keyword (or eight hexadecimal digits) of an element, and the value that it, or one of its values, has.

    Raises:
        DicomSelectionError: if none is left; the message lists the values there are.
        ValueError: if ``select`` is no mapping or names an unknown element.
    """
    kept = list(headers)
    if not select:
        return kept
    if not isinstance(select, Mapping):
        raise ValueError(f"select={select!r} must map elements to values, for example {{'EchoTime': 90}}.")
    tags = {name: _tag(name) for name in select}
    datasets: dict[str, Any] = {}
    for name, wanted in select.items():
        values = [_values(header, tags[name], datasets) for header in kept]
        left = [header for header, own in zip(kept, values) if any(_equal(value, wanted) for value in own)]
        if not left:
            there = Counter(_text(own) for own in values)
            listed = ", ".join(f"{value} ({count} slices)" for value, count in list(there.items())[:20])
            raise DicomSelectionError(f"{kept[0].file}: no slice has {name}={wanted!r}; there are: {listed}.")
        kept = left
    return kept


def same_pixels(first: SliceHeader, second: SliceHeader) -> bool:
    """Whether two slices at one place hold the same values."""
    images = [np.empty(header.size, np.float32) for header in (first, second)]
    if first.size != second.size:
        return False
    for header, image in zip((first, second), images):
        SliceReader().read(header, image)
    return bool(np.array_equal(images[0], images[1]))


def differing_elements(first: SliceHeader, second: SliceHeader) -> list[str]:
    """What tells two slices at one place apart, best first, each as ``name: value and value``."""
    texts = [_all_elements(header) for header in (first, second)]
    names = [name for name in {**texts[0], **texts[1]} if texts[0].get(name) != texts[1].get(name)]
    telling = [name for name in _TELLING if name in names]
    rest = [name for name in names if name not in telling and name not in _COUNTING]
    return [f"{name}: {texts[0].get(name, 'absent')} and {texts[1].get(name, 'absent')}" for name in telling or rest]


def _tag(name: str) -> int:
    from pydicom.tag import Tag

    try:
        return int(Tag(name if not _is_hex(name) else int(name, 16)))
    except Exception as error:  # pydicom raises several kinds
        raise ValueError(f"select: {name!r} is no element; give a keyword such as EchoTime, or 0019100c.") from error


def _is_hex(name: str) -> bool:
    return len(name) == 8 and all(digit in "0123456789abcdefABCDEF" for digit in name)


def _values(header: SliceHeader, tag: int, datasets: dict[str, Any]) -> list[Any]:
    if header.file not in datasets:
        datasets[header.file] = open_dataset(header.file)
    dataset = datasets[header.file]
    try:
        element = dataset.get(tag)
        if element is None and header.frames > 1:
            element = next((e for e in FrameGroups(dataset).elements(header.frame) if int(e.tag) == tag), None)
        value: Any = None if element is None else element.value
    except Exception as error:  # pydicom converts an element when it is asked for, and raises many kinds
        raise DicomFileError(f"{header.file}: element {tag:08x} cannot be read: {error}.") from error
    if isinstance(value, bytes):
        value = value.rstrip(b"\0 ").decode("ascii", "replace")
    return list(value) if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue" else [value]


def _equal(value: Any, wanted: Any) -> bool:
    try:
        return bool(np.isclose(float(value), float(wanted), rtol=1e-6))
    except (TypeError, ValueError):
        return str(value).strip() == str(wanted).strip()


def _text(values: Sequence[Any]) -> str:
    text = "\\".join(str(value) for value in values)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _all_elements(header: SliceHeader) -> dict[str, str]:
    dataset = open_dataset(header.file)
    found: dict[str, str] = {}
    try:
        own = FrameGroups(dataset).elements(header.frame) if header.frames > 1 else iter(dataset)
        for element in own:
            if element.VR in ("UI", "SQ", "OB", "OW", "OF", "OD", "DA"):
                continue
            name = element.keyword or f"{int(element.tag):08x}"
            value = element.value
            value = value.rstrip(b"\0 ").decode("ascii", "replace") if isinstance(value, bytes) else value
            many = list(value) if type(value).__name__ == "MultiValue" else [value]
            found.setdefault(name, _text(many))
    except Exception as error:  # as above
        raise DicomGeometryError(f"{header.file}: several slices at one place, and the header is damaged.") from error
    return found
