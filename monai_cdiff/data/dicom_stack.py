"""Slices put together: which of a series make one image, in which order, on which grid."""

from __future__ import annotations

import dataclasses
import logging
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .dicom_geometry import affine_ras, plane_of, slice_normal, sort_slices
from .dicom_header import SliceHeader
from .dicom_record import DicomFileError, DicomGeometryError, DicomSelectionError, SourceRecord
from .dicom_select import differing_elements, in_plane, same_pixels, selected
from .dicom_values import SliceReader

__all__ = ["Stack", "stack_slices"]

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Stack:
    """Slices in order, and the grid they make.

    Args:
        headers: of the slices, in order; of one projection image.
        affine: voxel indices to RAS in mm.
        places: where the slices of a resampled grid lie among ``headers``, as fractional indices; else None.
    """

    headers: tuple[SliceHeader, ...]
    affine: np.ndarray
    places: np.ndarray | None = None

    @property
    def flat(self) -> bool:
        """Whether this is an image with no place in space."""
        return self.headers[0].position is None

    @property
    def shape(self) -> tuple[int, ...]:
        """Columns, rows and slices; columns and rows of an image with no place in space."""
        count = len(self.headers) if self.places is None else len(self.places)
        return self.headers[0].size if self.flat else (*self.headers[0].size, count)

    def read(self) -> tuple[np.ndarray, SliceReader]:
        """The real values, float32, and what read them.

        Raises:
            DicomFileError: if pixel data cannot be read.
        """
        reader = SliceReader()
        # The first slice is decoded before room is made: a wrong size in the header then fails without taking memory.
        first = np.empty(self.headers[0].size, np.float32)
        reader.read(self.headers[0], first)
        if self.flat:
            return first, reader
        volume = np.empty(self.shape, np.float32, order="F")
        if self.places is None:
            volume[..., 0] = first
            for k, header in enumerate(self.headers[1:], start=1):
                reader.read(header, volume[..., k])
            return volume, reader
        held = {0: first}
        for k, place in enumerate(self.places):
            low = min(int(place), len(self.headers) - 2)
            for index in {low, low + 1} - set(held):
                reader.read(self.headers[index], held.setdefault(index, np.empty_like(first)))
            volume[..., k] = held[low] + np.float32(place - low) * (held[low + 1] - held[low])
            held = {index: image for index, image in held.items() if index >= low}
        return volume, reader

    def record(self, reader: SliceReader | None = None) -> SourceRecord:
        """What writing a derived series needs to know; with what was padding if the pixels have been read."""
        first = self.headers[0]
        x, y, z = (float(length) for length in np.linalg.norm(self.affine[:3, :3], axis=0))
        return SourceRecord(
            series_uid=first.series.series_uid,
            number=first.series.number,
            modality=first.series.modality,
            shape=self.shape,
            spacing_mm=(x, y, z),
            files=tuple(header.file for header in self.headers),
            frames=tuple(header.frame for header in self.headers),
            positions=tuple(header.position for header in self.headers if header.position is not None),
            orientation=first.orientation or (),
            photometric=first.photometric,
            padding=() if reader is None else tuple(sorted(reader.padding)),
            valid_range=None if reader is None else reader.valid_range,
        )


def stack_slices(
    headers: Sequence[SliceHeader],
    plane: str | None = None,
    select: Mapping[str, Any] | None = None,
    on_gap: str = "error",
) -> Stack:
    """Put the slices of one series in order, or refuse them.

    Args:
        headers: of all its slices.
        plane: which slices to take of a series that has several planes.
        select: which slices to take, by elements of their headers; see :py:func:`selected`.
        on_gap: what to do about missing slices; see :py:func:`sort_slices`.

    Raises:
        DicomFileError: if a file cannot be part of an image.
        DicomSelectionError: if the files are of several series or images, or a choice leaves none.
        DicomGeometryError: if the slices do not lie on one regular grid.
    """
    uids = {header.series.series_uid for header in headers}
    if len(uids) > 1:
        raise DicomSelectionError(
            f"the files belong to {len(uids)} series ({headers[0].file} is of one); give those of one."
        )
    chosen = selected(headers, select)
    for header in chosen:
        if header.fault:
            raise DicomFileError(f"{header.file}: {header.fault.removeprefix(f'{header.file}: ').rstrip('.')}.")
        for keyword in ("patient_id", "study_uid"):
            if getattr(header.series, keyword) != getattr(headers[0].series, keyword):
                name = {"patient_id": "PatientID", "study_uid": "StudyInstanceUID"}[keyword]
                raise DicomFileError(f"{header.file}: {name} is not that of {headers[0].file}, of the same series.")
    kept = in_plane(chosen, plane)
    if any(header.position is None for header in kept):
        return _projection(kept)
    _check_alike(kept)
    kept = _without_copies(kept)
    first = kept[0]
    orientation = np.array(first.orientation, dtype=float)
    positions = np.array([header.position for header in kept], dtype=float)
    try:
        order, step, places = sort_slices(positions, orientation, [header.file for header in kept], on_gap)
    except DicomGeometryError as error:
        raise DicomGeometryError(f"series of {first.file}: {error}") from None
    if step is None:
        step = slice_normal(orientation) * _single_step(first)
    spacing = np.array(first.pixel_spacing, dtype=float)
    affine = affine_ras(positions[order[0]], orientation, spacing, step)
    return Stack(tuple(kept[i] for i in order), affine, places)


def _projection(headers: Sequence[SliceHeader]) -> Stack:
    placed = [header.file for header in headers if header.position is not None]
    lost = [header.file for header in headers if header.position is None]
    if placed:
        raise DicomGeometryError(f"{lost[0]}: ImagePositionPatient is absent, but {placed[0]} of the series has it.")
    if len(headers) > 1:
        listed = "\n".join(f"  {file}" for file in lost[:20])
        raise DicomSelectionError(
            f"the series holds {len(lost)} images without a place in space, which cannot be one volume. Give one "
            f"file:\n{listed}"
        )
    (header,) = headers
    if header.pixel_spacing is None:
        logger.warning("%s: no PixelSpacing, ImagerPixelSpacing or NominalScannedPixelSpacing; 1 mm is taken.", lost[0])
    x, y = header.pixel_spacing or (1.0, 1.0)
    return Stack((header,), np.diag([-x, -y, 1.0, 1.0]))


def _check_alike(headers: Sequence[SliceHeader]) -> None:
    first = headers[0]
    for header in headers:
        pairs: dict[str, tuple[Any, Any]] = {
            "the size (columns, rows)": (header.size, first.size),
            "PixelSpacing (columns, rows)": (header.pixel_spacing, first.pixel_spacing),
            "ImageOrientationPatient": (header.orientation, first.orientation),
        }
        for name, (ours, theirs) in pairs.items():
            if not np.allclose(ours, theirs, rtol=0, atol=1e-4):
                planes = Counter(plane_of(header.orientation) for header in headers if header.orientation)
                counts = ", ".join(f"{count} {plane}" for plane, count in planes.items())
                raise DicomGeometryError(
                    f"{name} differs within the series: {theirs} in {first.file}, {ours} in {header.file}. A localizer "
                    f"or several stacks in one series cannot be one volume ({counts}); plane= or select= takes a part."
                )


def _without_copies(headers: Sequence[SliceHeader]) -> list[SliceHeader]:
    """Each place once: copies are dropped, and what only shares a place is refused with what differs."""
    order = sorted(range(len(headers)), key=lambda i: (headers[i].file, headers[i].frame))
    kept: dict[tuple[float, ...], SliceHeader] = {}
    copies = []
    for header in (headers[i] for i in order):
        place = tuple(np.round(np.array(header.position) / 0.01).tolist())
        other = kept.setdefault(place, header)
        if other is header:
            continue
        if not same_pixels(other, header):
            raise DicomGeometryError(_two_at_one_place(other, header, len(headers)))
        copies.append(header.file)
    if copies:
        logger.warning("%d copies of slices are passed over, %s first.", len(copies), copies[0])
    return list(kept.values())


def _two_at_one_place(first: SliceHeader, second: SliceHeader, count: int) -> str:
    differing = differing_elements(first, second)
    hint = "Their headers differ in nothing but numbers of instances: give the files of one volume."
    if differing:
        name, _, value = differing[0]
        listed = "; ".join(told for _, told, _ in differing[:6])
        quoted = shlex.quote(f"{name}={value}")
        hint = f"They differ in {listed}. Choose by select={{{name!r}: {value!r}}} (--select {quoted})."
    return (
        f"{first.file} and {second.file} lie at one position, {first.position} mm, with different pixels: among "
        f"{count} slices there are several volumes (b-values, echoes, time points). {hint}"
    )


def _single_step(header: SliceHeader) -> float:
    if header.slice_step is None:
        logger.warning("%s: neither SpacingBetweenSlices nor SliceThickness; 1 mm is taken.", header.file)
    return header.slice_step or 1.0
