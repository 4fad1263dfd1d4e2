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

__all__ = ["check_select", "differing_elements", "in_plane", "same_pixels", "selected"]

# What most often tells the volumes of one series apart, best first; 0019100c and 00431039 are b-values of Siemens, GE.
_TELLING = (
    "DiffusionBValue 0019100c 00431039 SequenceName EchoTime EffectiveEchoTime EchoNumbers ImageType FrameType "
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


def check_select(select: Any) -> dict[str, int]:
    """The tags of the elements to select by.

    Raises:
        ValueError: if ``select`` is no mapping or names an unknown element.
    """
    if not isinstance(select, Mapping):
        raise ValueError(f"select={select!r} must map elements to values, for example {{'EchoTime': 90}}.")
    return {name: _tag(name) for name in select}


def selected(headers: Sequence[SliceHeader], select: Mapping[str, Any] | None) -> list[SliceHeader]:
    """The slices whose elements have the given values.

    Args:
        headers: of one series.
        select: keyword (or eight hexadecimal digits) of an element, and the value that it, or one of its values, has;
            or all of its values, with backslashes between them.

    Raises:
        DicomSelectionError: if none is left; the message lists the values there are.
        ValueError: if ``select`` is no mapping or names an unknown element.
    """
    kept = list(headers)
    if not select:
        return kept
    tags = check_select(select)
    datasets: dict[str, Any] = {}
    for name, wanted in select.items():
        values = [_values(header, tags[name], datasets) for header in kept]
        left = [header for header, own in zip(kept, values) if _has(own, wanted)]
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


def differing_elements(first: SliceHeader, second: SliceHeader) -> list[tuple[str, str, str]]:
    """What tells two slices at one place apart, best first: its name, what to say of it, a value to choose one by."""
    ours, theirs = (_all_elements(header) for header in (first, second))
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    telling = [name for name in _TELLING if name in names]
    rest = [name for name in names if name not in telling and name not in _COUNTING]
    found = []
    for name in telling or rest:
        pair = [values.get(name, ["absent"]) for values in (ours, theirs)]
        one, other = pair if name in ours else pair[::-1]
        choice = next((value for value in one if not _has(other, value)), _joined(one))
        found.append((name, f"{name}: {_text(pair[0])} and {_text(pair[1])}", str(choice)))
    return found


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
        if element is None:
            element = next((e for e in FrameGroups(dataset).elements(header.frame) if int(e.tag) == tag), None)
        value: Any = None if element is None else element.value
    except Exception as error:  # pydicom converts an element when it is asked for, and raises many kinds
        raise DicomFileError(f"{header.file}: element {tag:08x} cannot be read: {error}.") from error
    return _listed(value)


def _listed(value: Any) -> list[Any]:
    """The values of an element; those of an unknown representation as text."""
    if isinstance(value, bytes):
        return list(value.rstrip(b"\0 ").decode("ascii", "replace").split("\\"))
    return list(value) if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue" else [value]


def _has(values: Sequence[Any], wanted: Any) -> bool:
    return any(_equal(value, wanted) for value in values) or _joined(values) == str(wanted).strip()


def _joined(values: Sequence[Any]) -> str:
    return "\\".join(str(value).strip() for value in values)


def _equal(value: Any, wanted: Any) -> bool:
    try:
        # as close as float32 holds a number: half a second must not join two acquisition times
        return bool(np.isclose(float(value), float(wanted), rtol=1e-7, atol=0))
    except (TypeError, ValueError):
        return str(value).strip() == str(wanted).strip()


def _text(values: Sequence[Any]) -> str:
    text = _joined(values)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _all_elements(header: SliceHeader) -> dict[str, list[Any]]:
    dataset = open_dataset(header.file)
    found: dict[str, list[Any]] = {}
    try:
        own = FrameGroups(dataset).elements(header.frame) if header.frames > 1 else iter(dataset)
        for element in own:
            if element.VR not in ("UI", "SQ", "OB", "OW", "OF", "OD", "DA"):
                found.setdefault(element.keyword or f"{int(element.tag):08x}", _listed(element.value))
    except Exception as error:  # as above
        raise DicomGeometryError(f"{header.file}: several slices at one place, and the header is damaged.") from error
    return found
