"""DICOM image series as volumes: find them, choose one, read it.

Plain functions over pydicom that know nothing of MONAI. Finding is tolerant: whatever is no image is passed over.
Reading is strict: a series that is not one regular stack of single-channel slices is refused with the reason.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import logging
import os
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..utils import check_option
from .dicom_geometry import PLANES, DicomError, affine_ras, plane_of, slice_normal, sort_slices
from .dicom_header import SeriesIdentity, SliceHeader, read_header, read_slice
from .dicom_record import SourceRecord

__all__ = [
    "DicomError",
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

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class SeriesInfo(SeriesIdentity):
    """What the headers say about one series, besides its identity.

    Args:
        plane: the nearest of "axial", "coronal" and "sagittal"; "mixed" for several, None without geometry.
        shape: columns, rows, slices (files, or frames of multi-frame files).
        spacing_mm: distance between columns, rows and slices; None without geometry.
        files: the files of the series; in slice order when they come from :py:func:`read_series`.
    """

    plane: str | None
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float] | None
    files: tuple[str, ...]

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape))
        number = "no number" if self.number is None else self.number
        return f"{number}: {self.description!r}, {self.modality}, {self.plane or 'no geometry'}, {size}"


def list_files(path: PathLike) -> list[str]:
    """All files below a folder, links followed, hidden files left out; sorted, absolute.

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
        found += [] if real in seen else [os.path.join(folder, name) for name in names if not name.startswith(".")]
        seen.add(real)
    return sorted(found)


def scan_series(path: PathLike | Iterable[PathLike]) -> list[SeriesInfo]:
    """Find the image series in a folder and all folders below it, by their headers.

    Args:
        path: a folder, a file, or several files. What is no DICOM image (text, DICOMDIR, reports, segmentations) is
            passed over, with one warning when it lies among images.

    Returns:
        One record for each SeriesInstanceUID, sorted by series number. The list is empty where there is no image.

    Raises:
        FileNotFoundError: if the path does not exist.
        DicomError: if a file is a DICOM image whose header is damaged.

    Example:
        >>> import tempfile
        >>> scan_series(tempfile.mkdtemp())
        []
    """
    files = list_files(path) if isinstance(path, (str, os.PathLike)) else [os.fspath(file) for file in path]
    groups: dict[str, list[SliceHeader]] = {}
    ignored = []
    for file in files:
        header = read_header(file)
        if header is None:
            ignored.append(os.path.basename(file))
        else:
            groups.setdefault(header.series.series_uid, []).append(header)
    ignored = [name for name in ignored if name != "DICOMDIR"]
    if groups and ignored:
        names = ", ".join(ignored[:3]) + (", ..." if len(ignored) > 3 else "")
        logger.warning("%d file(s) among DICOM images are no images and are passed over: %s", len(ignored), names)
    series = [_summary(headers) for headers in groups.values()]
    return sorted(series, key=lambda s: (s.number is None, s.number or 0, s.description, s.series_uid))


def matching_series(
    series: Iterable[SeriesInfo], description: str | None = None, plane: str | None = None
) -> list[SeriesInfo]:
    """All series that match; see :py:func:`select_series` for the arguments."""
    if description is not None and not isinstance(description, str):
        raise ValueError(f"series={description!r} must be a pattern of the series description, as text.")
    plane = None if plane is None else check_option("plane", plane, PLANES)
    pattern = "*" if description is None else description.strip().lower()
    return [
        info
        for info in series
        if fnmatch.fnmatchcase(info.description.lower(), pattern) and plane in (None, info.plane)
    ]


def select_series(series: Sequence[SeriesInfo], description: str | None = None, plane: str | None = None) -> SeriesInfo:
    """The one series that matches; none or several is an error, never a guess.

    Args:
        series: what to choose from.
        description: pattern of SeriesDescription with ``*`` and ``?``, upper and lower case alike ("t2*"). None takes
            any.
        plane: "axial", "coronal" or "sagittal". None takes any.

    Raises:
        DicomError: if not exactly one matches; the message lists the series there are.
        ValueError: if ``description`` is no text or ``plane`` none of the three words.
    """
    matches = matching_series(series, description, plane)
    if len(matches) == 1:
        return matches[0]
    if not series:
        raise DicomError("there is no DICOM image series.")
    found = "several series match" if matches else "no series matches"
    listed = "\n".join(f"  {info}" for info in (matches or series))
    raise DicomError(
        f"{found} series={description!r}, plane={plane!r}; exactly one must. "
        f"{'Those that match' if matches else 'There are'}:\n{listed}\n"
        'Choose by description (--series "t2*") and by plane (--plane axial), or keep one series in the folder.'
    )


def read_series(source: SeriesInfo | PathLike | Iterable[PathLike]) -> tuple[np.ndarray, np.ndarray, SeriesInfo]:
    """Read one series as a volume.

    Slices are ordered by ImagePositionPatient along the slice normal. Stored values are turned into real ones by each
    slice's own RescaleSlope and RescaleIntercept.

    Args:
        source: a record from :py:func:`scan_series`, the files of one series, or a folder that holds one series only.

    Returns:
        The volume, float32, of shape (columns, rows, slices); the affine to RAS in mm, float64, of shape (4, 4); and
        the record of the series, its files in slice order.

    Raises:
        DicomError: if a file cannot be read, or the files are not one regular stack of single-channel slices.
        FileNotFoundError: if a file does not exist.
    """
    headers, affine = _stack(source)
    x, y, z = (float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))
    info = dataclasses.replace(_summary(headers), spacing_mm=(x, y, z))
    return _read_volume(headers), affine, info


def source_record(source: SeriesInfo | PathLike | Iterable[PathLike]) -> SourceRecord:
    """What writing a derived series needs to know of a series, by its headers alone.

    Args:
        source: as for :py:func:`read_series`.

    Raises:
        DicomError: as :py:func:`read_series`, unless it is the pixels that are wrong.
        FileNotFoundError: if a file does not exist.
    """
    headers, affine = _stack(source)
    first = headers[0]
    x, y, z = (float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))
    return SourceRecord(
        series_uid=first.series.series_uid,
        number=first.series.number,
        modality=first.series.modality,
        shape=(*first.size, len(headers)),
        spacing_mm=(x, y, z),
        files=tuple(header.file for header in headers),
        frames=(1,) * len(headers),
        positions=tuple(header.position or () for header in headers),
        orientation=first.orientation or (),
        photometric=first.photometric,
    )


def series_problems(info: SeriesInfo) -> list[str]:
    """Why :py:func:`read_series` would refuse a series, by its headers alone; empty if it would not."""
    try:
        _stack(info)
    except DicomError as error:
        return [str(error)]
    return []


def _stack(source: SeriesInfo | PathLike | Iterable[PathLike]) -> tuple[list[SliceHeader], np.ndarray]:
    """The headers of one regular stack, in slice order, and its affine to RAS."""
    headers = [_require_header(file) for file in _files_of(source)]
    if not headers:
        raise DicomError("source holds no file; at least one slice is needed.")
    _check_stack(headers)
    orientation = np.array(headers[0].orientation, dtype=float)
    positions = np.array([header.position for header in headers], dtype=float)
    order, step = sort_slices(positions, orientation, [header.file for header in headers])
    headers = [headers[i] for i in order]
    if step is None:
        step = slice_normal(orientation) * _single_step(headers[0])
    spacing = np.array(headers[0].pixel_spacing, dtype=float)
    return headers, affine_ras(positions[order[0]], orientation, spacing, step)


def _files_of(source: SeriesInfo | PathLike | Iterable[PathLike]) -> list[str]:
    if isinstance(source, SeriesInfo):
        return list(source.files)
    if isinstance(source, (str, os.PathLike)):
        if os.path.isdir(os.path.expanduser(source)):
            return list(select_series(scan_series(source)).files)
        source = [source]
    return [os.path.abspath(os.path.expanduser(file)) for file in source]


def _require_header(file: str) -> SliceHeader:
    header = read_header(file)
    if header is None:
        raise DicomError(f"{file}: no DICOM image.")
    return header


def _summary(headers: Sequence[SliceHeader]) -> SeriesInfo:
    first = headers[0]
    planes = {plane_of(header.orientation) if header.orientation else None for header in headers}
    return SeriesInfo(
        **dataclasses.asdict(first.series),
        plane=planes.pop() if len(planes) == 1 else "mixed",
        shape=(*first.size, sum(header.frames for header in headers)),
        spacing_mm=_claimed_spacing(headers),
        files=tuple(header.file for header in headers),
    )


def _claimed_spacing(headers: Sequence[SliceHeader]) -> tuple[float, float, float] | None:
    first = headers[0]
    positions = [header.position for header in headers if header.position is not None]
    if first.pixel_spacing is None or first.orientation is None or not positions:
        return None
    gaps = np.diff(np.sort(np.array(positions) @ slice_normal(first.orientation)))
    gaps = gaps[gaps >= 0.01]
    step = float(np.median(gaps)) if gaps.size else first.slice_step or 1.0
    return (first.pixel_spacing[0], first.pixel_spacing[1], step)


def _single_step(header: SliceHeader) -> float:
    if header.slice_step is None:
        logger.warning("%s: neither SpacingBetweenSlices nor SliceThickness; 1 mm is taken.", header.file)
    return header.slice_step or 1.0


def _check_stack(headers: Sequence[SliceHeader]) -> None:
    first = headers[0]
    uids = {header.series.series_uid for header in headers}
    if len(uids) > 1:
        raise DicomError(f"the files belong to {len(uids)} series; give those of one (see scan_series).")
    for header in headers:
        reason = header.refusal()
        if reason:
            raise DicomError(f"{header.file}: {reason}.")
        pairs: dict[str, tuple[Any, Any]] = {
            "the size (columns, rows)": (header.size, first.size),
            "PixelSpacing (columns, rows)": (header.pixel_spacing, first.pixel_spacing),
            "ImageOrientationPatient": (header.orientation, first.orientation),
        }
        for name, (ours, theirs) in pairs.items():
            if not np.allclose(ours, theirs, rtol=0, atol=1e-4):
                raise DicomError(
                    f"{name} differs within the series: {theirs} in {first.file}, {ours} in {header.file}. "
                    "A localizer or several stacks in one series cannot be one volume."
                )


def _read_volume(headers: Sequence[SliceHeader]) -> np.ndarray:
    # The first slice is decoded before room is made: a wrong size in the header then fails without taking memory.
    first = read_slice(headers[0])
    volume = np.empty((*first.shape, len(headers)), dtype=np.float32, order="F")
    volume[..., 0] = first
    for k, header in enumerate(headers[1:], start=1):
        volume[..., k] = read_slice(header)
    return volume
