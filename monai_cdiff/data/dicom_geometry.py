"""Where the slices of a series lie: their order, their step and the affine, from header values alone.

Positions are those of DICOM, in mm and LPS (x to the left, y to the back, z to the head); affines are RAS, as MONAI
and nibabel use them. The slice order comes from the positions and from nothing else: InstanceNumber, file names and
SliceLocation may all disagree with it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..utils import check_option
from .dicom_record import DicomGeometryError

__all__ = ["ON_GAP", "PLANES", "SliceOrder", "affine_ras", "plane_of", "slice_normal", "sort_slices"]

logger = logging.getLogger(__name__)

PLANES = ("sagittal", "coronal", "axial")  # by the axis nearest to the slice normal: x, y, z
ON_GAP = ("error", "warn", "resample")


class SliceOrder(NamedTuple):
    """Where each slice belongs.

    Attributes:
        order: the indices that sort the slices, shape (n,).
        step: from one slice of the grid to the next, shape (3,), in mm, LPS; None for a single slice.
        places: where the slices of a resampled grid lie among the sorted ones, as fractional indices; else None.
    """

    order: np.ndarray
    step: np.ndarray | None
    places: np.ndarray | None


def slice_normal(orientation: Sequence[float] | np.ndarray) -> np.ndarray:
    """The unit normal of a slice: cross product of its row and column directions.

    Args:
        orientation: the six direction cosines of ImageOrientationPatient, row direction first.

    Returns:
        A unit vector of shape (3,), in LPS.

    Raises:
        DicomGeometryError: if the two directions are not orthogonal unit vectors (to 1e-3).
    """
    row, column = np.asarray(orientation, dtype=float).reshape(2, 3)
    products = np.array([row @ row - 1, column @ column - 1, row @ column])
    if not np.abs(products).max() < 1e-3:
        values = [float(value) for value in (*row, *column)]
        raise DicomGeometryError(f"ImageOrientationPatient={values} must be two orthogonal unit vectors.")
    normal = np.cross(row, column)
    return normal / np.linalg.norm(normal)


def plane_of(orientation: Sequence[float] | np.ndarray) -> str:
    """The anatomical plane nearest to a slice: "axial", "coronal" or "sagittal".

    Example:
        >>> plane_of([1, 0, 0, 0, 1, 0])
        'axial'
    """
    return PLANES[int(np.abs(slice_normal(orientation)).argmax())]


def sort_slices(
    positions: np.ndarray, orientation: Sequence[float] | np.ndarray, names: Sequence[str], on_gap: str = "error"
) -> SliceOrder:
    """Order slices along their normal and hold them to one regular grid.

    Gaps may differ by 1 % of the gap or 0.01 mm, whichever is more; so may each slice's shift across the normal. A
    stack whose step is not along the normal (a tilted gantry) keeps its true step, with a warning.

    Args:
        positions: ImagePositionPatient of each slice, shape (n, 3), in mm.
        orientation: the six direction cosines that all slices share.
        names: what to call each slice in a message, for example its file.
        on_gap: what to do where a slice is missing or the gaps differ: "error"; "warn" takes the slices as they are,
            evenly spread between the first and the last; "resample" interpolates linearly between neighbours onto a
            regular grid from the first to the last, its step the smallest gap where all are its multiples, else near
            their median.

    Raises:
        DicomGeometryError: if positions repeat, the slices do not lie on one line, or the gaps differ.
    """
    check_option("on_gap", on_gap, ON_GAP)
    normal = slice_normal(orientation)
    depth = positions @ normal
    order = np.argsort(depth, kind="stable")
    if len(order) == 1:
        return SliceOrder(order, None, None)
    depth, placed = depth[order], positions[order]
    gaps = np.diff(depth)
    gap = float(np.median(gaps))
    _refuse_repeats(depth, gaps, [names[i] for i in order])
    tolerance = max(0.01, 0.01 * gap)
    places = None
    slope = (placed[-1] - placed[0]) / (depth[-1] - depth[0])
    if gaps.max() - gaps.min() > tolerance:
        message, unit = _describe_gaps(depth, gaps)
        if on_gap == "error":
            raise DicomGeometryError(f"{message} on_gap='warn' or 'resample' reads it nevertheless.")
        logger.warning("%s Read nevertheless, on_gap=%r.", message, on_gap)
        if on_gap == "resample":
            count = max(1, round((depth[-1] - depth[0]) / unit))
            places = np.interp(np.linspace(depth[0], depth[-1], count + 1), depth, np.arange(len(depth)))
    shift = float(np.linalg.norm(placed - placed[0] - np.outer(depth - depth[0], slope), axis=1).max())
    if shift > tolerance:
        raise DicomGeometryError(
            f"the slices are shifted against each other by up to {shift:.3g} mm across their normal, unevenly; the "
            f"first is {names[order[0]]}."
        )
    step = (placed[-1] - placed[0]) / ((len(order) if places is None else len(places)) - 1)
    across = float(np.linalg.norm(step - (step @ normal) * normal))
    if across > tolerance:
        angle = np.degrees(np.arctan2(across, step @ normal))
        logger.warning("the slices are shifted by %.3g mm per step (%.1f degrees): a tilted gantry.", across, angle)
    return SliceOrder(order, step, places)


def affine_ras(
    position: np.ndarray,
    orientation: Sequence[float] | np.ndarray,
    spacing: Sequence[float] | np.ndarray,
    step: np.ndarray,
) -> np.ndarray:
    """The matrix from voxel indices (column, row, slice) to RAS coordinates in mm.

    Args:
        position: ImagePositionPatient of the first slice (centre of its first voxel), LPS.
        orientation: the six direction cosines, row direction first.
        spacing: distance between columns and between rows, in mm (PixelSpacing holds them the other way round).
        step: from one slice to the next, LPS, in mm.

    Returns:
        A float64 array of shape (4, 4).

    Example:
        >>> affine_ras(np.zeros(3), [1, 0, 0, 0, 1, 0], (0.5, 2.0), np.array([0, 0, 3])).diagonal().tolist()
        [-0.5, -2.0, 3.0, 1.0]
    """
    row, column = np.asarray(orientation, dtype=float).reshape(2, 3)
    affine = np.eye(4)
    affine[:3] = np.stack([row * spacing[0], column * spacing[1], step, position], axis=1)
    affine[:2] *= -1  # LPS to RAS
    return affine


def _refuse_repeats(depth: np.ndarray, gaps: np.ndarray, names: list[str]) -> None:
    same = np.flatnonzero(gaps < 0.01)
    if not same.size:
        return
    places = depth.size - same.size
    first = same[0]
    raise DicomGeometryError(
        f"{depth.size} slices lie at only {places} positions; the first two at one position ({depth[first]:.2f} mm "
        f"along the normal): {names[first]} and {names[first + 1]}. The series holds several volumes (b-values, "
        "echoes, time points) or copies of a file: keep the files of one volume only."
    )


def _describe_gaps(depth: np.ndarray, gaps: np.ndarray) -> tuple[str, float]:
    """What is wrong with the gaps, and the step of the grid that they suggest."""
    # The smallest gap is the true one if all others are its multiples; the median is not when every other slice lacks.
    unit = float(gaps.min())
    counts = np.rint(gaps / unit).astype(int)
    if np.abs(gaps - counts * unit).max() <= max(0.01, 0.01 * unit) * counts.max():
        pairs = zip(counts, depth, depth[1:])
        holes = [f"{n - 1} between {low:.2f} and {high:.2f} mm" for n, low, high in pairs if n > 1]
        missing = int((counts - 1).sum())
        listed = ", ".join(holes[:20]) + (", ..." if len(holes) > 20 else "")
        what = f"{missing} slice(s) missing from a stack with a step of {unit:.3g} mm"
        return f"{what}, along the normal: {listed}.", unit
    listed = ", ".join(f"{value:.2f}" for value in depth[:40]) + (", ..." if depth.size > 40 else "")
    message = (
        f"the gaps between slices differ: {unit:.4g} to {gaps.max():.4g} mm, more than 1 % or 0.01 mm. "
        f"Positions along the normal (mm): {listed}."
    )
    return message, float(np.median(gaps))
