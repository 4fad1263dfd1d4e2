"""DICOM image series as volumes: find them, choose one, read it.

Plain functions over pydicom that know nothing of MONAI. Finding is tolerant: whatever is no image is passed over.
Reading is strict: a series that is not one regular stack of single-channel slices is refused with the reason.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np

from ..utils import check_option
from .dicom_geometry import ON_GAP, PLANES, plane_of, slice_normal
from .dicom_header import SeriesIdentity, SliceHeader, read_headers
from .dicom_record import DicomError, DicomFileError, DicomSelectionError, SourceRecord
from .dicom_stack import Stack, stack_slices

__all__ = [
    "SeriesInfo",
    "list_files",
    "matching_series",
    "read_series",
    "scan_series",
    "select_series",
    "series_problems",
    "source_record",
]

PathLike: TypeAlias = "str | os.PathLike[str]"
Source: TypeAlias = "SeriesInfo | PathLike | Iterable[PathLike]"

logger = logging.getLogger(__name__)

_THREADS = 8  # opening files waits for disks and networks


@dataclasses.dataclass(frozen=True)
class SeriesInfo(SeriesIdentity):
    """What the headers say about one series, besides its identity.

    Args:
        plane: the nearest of "axial", "coronal" and "sagittal"; "mixed" for several, None without geometry.
        shape: columns, rows, slices (files, or frames of multi-frame files).
        spacing_mm: distance between columns, rows and slices; None without geometry.
        files: the files of the series.
        planes: all planes there are.
    """

    plane: str | None
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float] | None
    files: tuple[str, ...]
    planes: tuple[str, ...] = ()

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape))
        number = "no number" if self.number is None else self.number
        where = self.plane or "no geometry"
        return f"{number}: {self.description!r}, {self.modality}, {where}, {size}, {self.series_uid}"


def list_files(path: PathLike) -> list[str]:
    """All files below a folder, links followed, hidden files, pipes and devices left out; sorted, absolute.

    Raises:
        FileNotFoundError: if the path does not exist.
    """
    root = os.path.abspath(os.path.expanduser(path))
    if not os.path.exists(root):
        raise FileNotFoundError(f"path={os.fspath(path)!r} does not exist.")
    if os.path.isfile(root):
        return [root]
    found, seen = [], set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        subfolders[:] = [] if real in seen else [name for name in subfolders if not name.startswith(".")]
        listed = [os.path.join(folder, name) for name in names if not name.startswith(".")]
        # Opening a pipe would wait for ever; a link that leads nowhere is an error by name.
        found += [] if real in seen else [file for file in listed if os.path.isfile(file) or os.path.islink(file)]
        seen.add(real)
    return sorted(found)


def scan_series(path: PathLike | Iterable[PathLike]) -> list[SeriesInfo]:
    """Find the image series in a folder and all folders below it, by their headers.

    Args:
        path: a folder, a file, or several files; a DICOMDIR stands for its folder. What is no DICOM image (text,
            DICOMDIR, reports, segmentations) is passed over, with one warning when it lies among images.

    Returns:
        One record for each SeriesInstanceUID, sorted by series number. The list is empty where there is no image.

    Raises:
        FileNotFoundError: if the path does not exist.
        DicomFileError: if a file is a DICOM image whose header is damaged.

    Example:
        >>> import tempfile
        >>> scan_series(tempfile.mkdtemp())
        []
    """
    if isinstance(path, (str, os.PathLike)):
        named = os.fspath(path)
        files = list_files(os.path.dirname(os.path.abspath(named)) if _is_dicomdir(named) else named)
    else:
        files = [os.fspath(file) for file in path]
    groups: dict[str, list[SliceHeader]] = {}
    ignored = []
    for file, headers in zip(files, _read_all(files)):
        for header in headers:
            groups.setdefault(header.series.series_uid, []).append(header)
        if not headers and not _is_dicomdir(file):
            ignored.append(os.path.basename(file))
    if groups and ignored:
        names = ", ".join(ignored[:3]) + (", ..." if len(ignored) > 3 else "")
        logger.warning("%d file(s) among DICOM images are no images and are passed over: %s", len(ignored), names)
    series = [_summary(headers) for headers in groups.values()]
    return sorted(series, key=lambda s: (s.number is None, s.number or 0, s.description, s.series_uid))


def matching_series(
    series: Iterable[SeriesInfo],
    description: str | None = None,
    plane: str | None = None,
    series_uid: str | None = None,
) -> list[SeriesInfo]:
    """All series that match; see :py:func:`select_series` for the arguments."""
    if isinstance(description, int) and not isinstance(description, bool):
        description = str(description)  # a command line turns "12" into a number
    if description is not None and not isinstance(description, str):
        raise ValueError(f"series={description!r} must be a pattern of the description, a number or a UID, as text.")
    plane = None if plane is None else check_option("plane", plane, PLANES)
    found = [info for info in series if series_uid in (None, info.series_uid) and _is_named(info, description)]
    pure = [info for info in found if plane in (None, info.plane)]
    return pure or [info for info in found if plane in info.planes]


def select_series(
    series: Sequence[SeriesInfo],
    description: str | None = None,
    plane: str | None = None,
    series_uid: str | None = None,
) -> SeriesInfo:
    """The one series that matches; none or several is an error, never a guess.

    Args:
        series: what to choose from.
        description: pattern of SeriesDescription with ``*`` and ``?``, upper and lower case alike ("t2*"); or the
            SeriesNumber ("12"); or the SeriesInstanceUID. None takes any.
        plane: "axial", "coronal" or "sagittal"; a series of several planes counts where no other matches. None takes
            any.
        series_uid: SeriesInstanceUID. None takes any.

    Raises:
        DicomSelectionError: if not exactly one matches; the message lists the series there are.
        ValueError: if ``description`` is no text or ``plane`` none of the three words.
    """
    matches = matching_series(series, description, plane, series_uid)
    if len(matches) == 1:
        return matches[0]
    if not series:
        raise DicomSelectionError("there is no DICOM image series.")
    found = "several series match" if matches else "no series matches"
    listed = "\n".join(f"  {info}" for info in (matches or series))
    asked = f"series={description!r}, plane={plane!r}" + (f", series_uid={series_uid!r}" if series_uid else "")
    raise DicomSelectionError(
        f"{found} {asked}; exactly one must. {'Those that match' if matches else 'There are'}:\n{listed}\n"
        'Choose by description, number or UID (--series "t2*", --series 12) and by plane (--plane axial), or keep one '
        "series in the folder."
    )


def read_series(
    source: Source,
    series_uid: str | None = None,
    series: str | None = None,
    plane: str | None = None,
    select: Mapping[str, Any] | None = None,
    on_gap: str = "error",
) -> tuple[np.ndarray, np.ndarray, SourceRecord]:
    """Read one series as a volume, or one projection image.

    Slices are ordered by ImagePositionPatient along the slice normal. Stored values are turned into real ones by each
    slice's own RescaleSlope and RescaleIntercept or modality look-up table; those of MONOCHROME1 are inverted within
    their stored range before. Identical copies of a slice are dropped with a warning.

    Args:
        source: a record from :py:func:`scan_series`, the files of one series, or a folder or DICOMDIR.
        series_uid: which series of a folder, by its SeriesInstanceUID.
        series: which series of a folder, by a pattern of its description, its number or its UID.
        plane: which series of a folder, or which slices of a series with several planes: "axial", "coronal" or
            "sagittal".
        select: which slices of a series that holds several volumes: element and value, for example
            ``{"EchoTime": 90}``; a keyword or eight hexadecimal digits ("0019100c"); one of several values suffices.
        on_gap: where slices are missing or unevenly spaced: "error"; "warn" takes them as they are, spread evenly
            between the first and the last; "resample" interpolates linearly onto the regular grid.

    Returns:
        The values, float32, of shape (columns, rows, slices), or (columns, rows) for an image without a place in space
        (CR, DX); the affine to RAS in mm, float64, of shape (4, 4), ``diag(-x, -y, 1, 1)`` for such an image; and the
        record of the source, its files in slice order.

    Raises:
        DicomFileError: if a file cannot be read.
        DicomSelectionError: if not exactly one series or image matches; the message lists those there are.
        DicomGeometryError: if the slices are not one regular stack.
        FileNotFoundError: if a file does not exist.
        ValueError: if an argument is out of its range.
    """
    stack = _stack(source, series_uid, series, plane, select, on_gap)
    values, reader = stack.read()
    return values, stack.affine, stack.record(reader)


def source_record(
    source: Source,
    series_uid: str | None = None,
    series: str | None = None,
    plane: str | None = None,
    select: Mapping[str, Any] | None = None,
    on_gap: str = "error",
) -> SourceRecord:
    """What writing a derived series needs to know of a series, by its headers alone.

    Args:
        source: as for :py:func:`read_series`, and so are the others.

    Raises:
        DicomError: as :py:func:`read_series`, unless it is the pixels that are wrong.
        FileNotFoundError: if a file does not exist.
    """
    return _stack(source, series_uid, series, plane, select, on_gap).record()


def series_problems(info: SeriesInfo) -> list[str]:
    """Why :py:func:`read_series` would refuse a series, by its headers alone; empty if it would not.

    Of a series of projection images each is judged alone.
    """
    headers = [header for headers in _read_all(info.files) for header in headers]
    flat = bool(headers) and all(header.position is None for header in headers)
    problems = []
    for part in [[header] for header in headers] if flat else [headers]:
        try:
            stack_slices(part)
        except DicomError as error:
            problems.append(str(error))
    return problems


def _stack(
    source: Source,
    series_uid: str | None,
    series: str | None,
    plane: str | None,
    select: Mapping[str, Any] | None,
    on_gap: str,
) -> Stack:
    check_option("on_gap", on_gap, ON_GAP)
    matching_series([], series, plane)
    files = _files_of(source, series_uid, series, plane)
    if not files:
        raise DicomSelectionError("source holds no file; at least one slice is needed.")
    headers = list(_read_all(files))
    for file, found in zip(files, headers):
        if not found:
            raise DicomFileError(f"{file}: no DICOM image.")
    return stack_slices([header for found in headers for header in found], plane, select, on_gap)


def _files_of(source: Source, series_uid: str | None, series: str | None, plane: str | None) -> list[str]:
    if isinstance(source, SeriesInfo):
        return list(source.files)
    if not isinstance(source, (str, os.PathLike)):
        return [os.path.abspath(os.path.expanduser(file)) for file in source]
    path = os.path.abspath(os.path.expanduser(source))
    if not os.path.isdir(path) and not _is_dicomdir(path):
        return [path]
    try:
        return list(select_series(scan_series(path), series, plane, series_uid).files)
    except DicomSelectionError as error:
        raise DicomSelectionError(f"{path}: {error}") from None


def _is_named(info: SeriesInfo, name: str | None) -> bool:
    if name is None:
        return True
    exact = (info.series_uid, "" if info.number is None else str(info.number))
    return name.strip() in exact or fnmatch.fnmatchcase(info.description.lower(), name.strip().lower())


def _is_dicomdir(path: PathLike) -> bool:
    return os.path.basename(path).upper() == "DICOMDIR" and os.path.isfile(path)


def _read_all(files: Sequence[str]) -> list[list[SliceHeader]]:
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(read_headers, files))


def _summary(headers: Sequence[SliceHeader]) -> SeriesInfo:
    first = headers[0]
    planes = {_plane(header) for header in headers}
    return SeriesInfo(
        **dataclasses.asdict(first.series),
        plane=next(iter(planes)) if len(planes) == 1 else "mixed",
        shape=(*first.size, len(headers)),
        spacing_mm=_claimed_spacing(headers),
        files=tuple(dict.fromkeys(header.file for header in headers)),
        planes=tuple(sorted(plane for plane in planes if plane is not None)),
    )


def _plane(header: SliceHeader) -> str | None:
    return None if header.orientation is None or header.fault else plane_of(header.orientation)


def _claimed_spacing(headers: Sequence[SliceHeader]) -> tuple[float, float, float] | None:
    first = headers[0]
    positions = [header.position for header in headers if header.position is not None]
    if first.pixel_spacing is None:
        return None
    if first.orientation is None or first.fault or not positions:
        return (first.pixel_spacing[0], first.pixel_spacing[1], 1.0) if first.position is None else None
    gaps = np.diff(np.sort(np.array(positions) @ slice_normal(first.orientation)))
    gaps = gaps[gaps >= 0.01]
    step = float(np.median(gaps)) if gaps.size else first.slice_step or 1.0
    return (first.pixel_spacing[0], first.pixel_spacing[1], step)
