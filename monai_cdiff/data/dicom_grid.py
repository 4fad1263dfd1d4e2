"""Where the slices of a derived series lie: from an array and its affine to what the headers say.

Axes are permuted and flipped, never resampled, until they run as those of the source, so that a viewer shows both
alike. Vectors are LPS, in mm.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from .dicom_geometry import slice_normal
from .dicom_record import DicomGeometryError, SourceRecord

__all__ = ["SliceGrid", "check_overlap", "projection_grid", "slice_grid"]

_LPS = np.array([-1.0, -1.0, 1.0])
_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class SliceGrid:
    """Slices in space and their values.

    Args:
        values: shape (columns, rows, slices), a view of the array.
        orientation: ImageOrientationPatient, six numbers, orthonormal.
        spacing: distance between columns and between rows, in mm.
        positions: centre of the first voxel of each slice, shape (slices, 3).
        gap: distance between slices along their normal, in mm.
        unchanged: whether this is the grid of the source, voxel for voxel.
    """

    values: np.ndarray
    orientation: np.ndarray
    spacing: tuple[float, float]
    positions: np.ndarray
    gap: float
    unchanged: bool

    @property
    def normal(self) -> np.ndarray:
        """Unit vector across the slices."""
        return slice_normal(self.orientation)

    def corners(self) -> np.ndarray:
        """Centres of the four corner voxels of each slice, shape (slices, 4, 3)."""
        row, column = self.orientation.reshape(2, 3)
        columns, rows = self.values.shape[0] - 1, self.values.shape[1] - 1
        across = [i * columns * self.spacing[0] * row for i in (0, 1)]
        down = [j * rows * self.spacing[1] * column for j in (0, 1)]
        return self.positions[:, None] + np.stack([a + d for a in across for d in down])


def slice_grid(array: np.ndarray, affine: np.ndarray, source: SourceRecord) -> SliceGrid:
    """Arrange a volume like its source.

    Args:
        array: shape (X, Y, Z); or (X, Y), one slice.
        affine: voxel indices to RAS in mm, shape (4, 4); its axes may be in any order and of either handedness.
        source: the series whose rows, columns and normal the result follows.

    Raises:
        DicomGeometryError: if the affine is no finite, invertible matrix, or its in-plane axes are not orthogonal.
            Slices
            that are shifted against each other (a tilted gantry) are kept.
    """
    array = array[..., None] if array.ndim == 2 else array
    matrix = np.array(affine, dtype=float)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        raise DicomGeometryError(f"affine={matrix.tolist()} must be a finite, invertible 4x4 matrix to RAS, in mm.")
    matrix[:3] *= _LPS[:, None]
    template = np.stack([*np.reshape(source.orientation, (2, 3)), slice_normal(source.orientation)], axis=1)
    array, matrix = _arranged(array, matrix, template)
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    row, column = (matrix[:3, :2] / lengths[:2]).T
    if abs(row @ column) > _TOLERANCE:
        angle = np.degrees(np.arccos(np.clip(row @ column, -1, 1)))
        raise DicomGeometryError(
            f"affine={matrix.tolist()} (LPS): rows and columns meet at {angle:.2f} degrees, and DICOM knows only right "
            "angles within a slice. Resample the volume to an orthogonal grid."
        )
    column = column - (column @ row) * row
    orientation = np.concatenate([row, column / np.linalg.norm(column)])
    positions = matrix[:3, 3] + np.arange(array.shape[2])[:, None] * matrix[:3, 2]
    old = np.array(source.positions, dtype=float)
    unchanged = (
        array.shape == (*source.shape[:2], len(old))
        and np.allclose(positions, old, rtol=0, atol=0.01)
        and np.allclose(orientation, source.orientation, rtol=0, atol=_TOLERANCE)
        and np.allclose(lengths[:2], source.spacing_mm[:2], rtol=1e-4)
    )
    gap = float(abs(matrix[:3, 2] @ slice_normal(orientation)))
    return SliceGrid(array, orientation, (float(lengths[0]), float(lengths[1])), positions, gap, unchanged)


def projection_grid(array: np.ndarray, affine: np.ndarray, source: SourceRecord) -> SliceGrid:
    """Arrange an image with no place in space like its source, whose affine is ``diag(-x, -y, 1, 1)``.

    Args:
        array: shape (X, Y), or (X, Y, 1).
        affine: shape (4, 4) or (3, 3); only axes, directions and spacing count.

    Raises:
        DicomGeometryError: if the array has several slices or the affine is turned by less than a right angle.
    """
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    matrix = np.array(affine, dtype=float)[:2, :2]
    lengths = np.linalg.norm(matrix, axis=0)
    axes = np.abs(matrix / np.where(lengths > 0, lengths, 1))
    if array.ndim != 2 or not np.allclose(np.sort(axes, axis=0), [[0, 0], [1, 1]], atol=_TOLERANCE):
        raise DicomGeometryError(
            f"array of shape {array.shape} with affine={np.asarray(affine).tolist()}: "
            f"a projection image ({source.modality}) "
            "is one image (columns, rows), turned by right angles only."
        )
    full = np.eye(4)
    full[:2, :2] = matrix * _LPS[:2, None]
    values, full = _arranged(array[..., None], full, np.eye(3))
    spacing = np.linalg.norm(full[:2, :2], axis=0)
    unchanged = values.shape[:2] == tuple(source.shape[:2]) and np.allclose(spacing, source.spacing_mm[:2], rtol=1e-4)
    orientation = np.array([1.0, 0, 0, 0, 1, 0])
    return SliceGrid(values, orientation, (float(spacing[0]), float(spacing[1])), np.zeros((1, 3)), 1.0, unchanged)


def check_overlap(grid: SliceGrid, source: SourceRecord) -> None:
    """Refuse a volume that lies wholly outside its source.

    Raises:
        DicomGeometryError: with the extents of both along the axes of the source, in mm.
    """
    columns, rows = source.shape[:2]
    row, column = np.reshape(source.orientation, (2, 3))
    span = [i * (columns - 1) * source.spacing_mm[0] * row + j * (rows - 1) * source.spacing_mm[1] * column
            for i in (0, 1) for j in (0, 1)]  # fmt: skip
    theirs = (np.array(source.positions)[:, None] + np.array(span)).reshape(-1, 3)
    axes = np.stack([row, column, slice_normal(source.orientation)], axis=1)
    ours, theirs = grid.corners().reshape(-1, 3) @ axes, theirs @ axes
    margin = np.array([*source.spacing_mm]) / 2 + max(*grid.spacing, grid.gap) / 2
    if (ours.min(0) > theirs.max(0) + margin).any() or (ours.max(0) < theirs.min(0) - margin).any():
        raise DicomGeometryError(
            "the volume and its DICOM source do not overlap, so they do not share a frame of reference. Extents along "
            f"the source's rows, columns and normal in mm: volume {_extent(ours)}, source {_extent(theirs)}."
        )


def _arranged(array: np.ndarray, matrix: np.ndarray, template: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    units = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    likeness = template.T @ units  # (template axis, array axis)
    order = max(itertools.permutations(range(3)), key=lambda p: sum(abs(likeness[i, p[i]]) for i in range(3)))
    array, matrix = array.transpose(order), matrix[:, [*order, 3]]
    for axis in range(3):
        if likeness[axis, order[axis]] < 0:
            matrix[:3, 3] += (array.shape[axis] - 1) * matrix[:3, axis]
            matrix[:3, axis] *= -1
            array = np.flip(array, axis)
    return array, matrix


def _extent(points: np.ndarray) -> str:
    return " x ".join(f"{low:.1f}..{high:.1f}" for low, high in zip(points.min(0), points.max(0)))
