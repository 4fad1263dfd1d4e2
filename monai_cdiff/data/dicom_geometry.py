"""Where the slices of a series lie: their order, their step and the affine, from header values alone.

Positions are those of DICOM, in mm and LPS (x to the left, y to the back, z to the head); affines are RAS, as MONAI
and nibabel use them. The slice order comes from the positions and from nothing else: InstanceNumber, file names and
SliceLocation may all disagree with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .dicom_record import DicomError

__all__ = ["DicomError", "affine_ras", "plane_of", "slice_normal", "sort_slices"]

PLANES = ("sagittal", "coronal", "axial")  # by the axis nearest to the slice normal: x, y, z


def slice_normal(orientation: Sequence[float] | np.ndarray) -> np.ndarray:
    """The unit normal of a slice: cross product of its row and column directions.

    Args:
        orientation: the six direction cosines of ImageOrientationPatient, row direction first.

    Returns:
        A unit vector of shape (3,), in LPS.

    Raises:
        DicomError: if the two directions are not orthogonal unit vectors (to 1e-3).
    """
    row, column = np.asarray(orientation, dtype=float).reshape(2, 3)
    products = np.array([row @ row - 1, column @ column - 1, row @ column])
    if not np.abs(products).max() < 1e-3:
        values = [float(value) for value in (*row, *column)]
        raise DicomError(f"ImageOrientationPatient={values} must be two orthogonal unit vectors.")
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
    positions: np.ndarray, orientation: Sequence[float] | np.ndarray, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Order slices along their normal and hold them to one regular grid.

    Gaps may differ by 1 % of the gap or 0.01 mm, whichever is more; so may each slice's shift across the normal.

    Args:
        positions: ImagePositionPatient of each slice, shape (n, 3), in mm.
        orientation: the six direction cosines that all slices share.
        names: what to call each slice in a message, for example its file.

    Returns:
        The indices that sort the slices, shape (n,), and the step from one slice to the next, shape (3,), in mm, or
        None for a single slice.

    Raises:
        DicomError: if positions repeat, a slice is missing, the gaps differ, or the stack is sheared (gantry tilt).
    """
    normal = slice_normal(orientation)
    depth = positions @ normal
    order = np.argsort(depth, kind="stable")
    if len(order) == 1:
        return order, None
    gaps = np.diff(depth[order])
    gap = float(np.median(gaps))
    _refuse_repeats(depth[order], gaps, [names[i] for i in order])
    tolerance = max(0.01, 0.01 * gap)
    if gaps.max() - gaps.min() > tolerance:
        _refuse_gaps(depth[order], gaps)
    steps = np.diff(positions[order], axis=0)
    shift = float(np.linalg.norm(steps - gaps[:, None] * normal, axis=1).max())
    if shift > tolerance:
        angle = np.degrees(np.arctan2(shift, gap))
        raise DicomError(
            f"the slices are shifted against each other by {shift:.3g} mm per {gap:.3g} mm step ({angle:.1f} degrees): "
            "a tilted gantry. Only stacks along the slice normal are read; resample the series first."
        )
    return order, (positions[order[-1]] - positions[order[0]]) / (len(order) - 1)


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
    raise DicomError(
        f"{depth.size} slices lie at only {places} positions; the first two at one position ({depth[first]:.2f} mm "
        f"along the normal): {names[first]} and {names[first + 1]}. The series holds several volumes (b-values, "
        "echoes, time points) or copies of a file: keep the files of one volume only."
    )


def _refuse_gaps(depth: np.ndarray, gaps: np.ndarray) -> None:
    # The smallest gap is the true one if all others are its multiples; the median is not when every other slice lacks.
    unit = float(gaps.min())
    counts = np.rint(gaps / unit).astype(int)
    if np.abs(gaps - counts * unit).max() <= max(0.01, 0.01 * unit) * counts.max():
        holes = [
            f"{n - 1} between {low:.2f} and {high:.2f} mm" for n, low, high in zip(counts, depth, depth[1:]) if n > 1
        ]
        raise DicomError(
            f"{int((counts - 1).sum())} slice(s) missing from a stack with a step of {unit:.3g} mm, along the normal: "
            f"{', '.join(holes)}. Fetch the series again."
        )
    listed = ", ".join(f"{value:.2f}" for value in depth[:40]) + (", ..." if depth.size > 40 else "")
    raise DicomError(
        f"the gaps between slices differ: {unit:.4g} to {gaps.max():.4g} mm, more than 1 % or 0.01 mm. "
        f"Positions along the normal (mm): {listed}."
    )
