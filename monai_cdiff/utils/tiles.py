"""Where the tiles of an image lie: the one place that inferers and metrics read it from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai.data.utils import dense_patch_slices

from .checks import check_integer, check_number

__all__ = ["check_overlap", "check_roi_size", "tile_borders", "tile_layout"]


def check_overlap(overlap: Any) -> float:
    """Return ``overlap`` as a ``float`` if it is a share of a tile: at least 0 and less than 1.

    Raises:
        ValueError: if it is not.
    """
    share = check_number("overlap", overlap, low=0)
    if share >= 1:
        raise ValueError(f"overlap={overlap!r} must be at least 0 and less than 1.")
    return share


def check_roi_size(roi_size: Any, spatial_dims: int | None = None) -> tuple[int, ...] | int:
    """Return ``roi_size`` as one whole number per axis, or as the number given if the axes are not known.

    Args:
        roi_size: size of a tile in voxels, one value per axis or one for all; each from 1.
        spatial_dims: number of axes; None if it is not known.

    Raises:
        ValueError: if a size is not a whole number from 1, or there is not one per axis.
    """
    if not isinstance(roi_size, Sequence) or isinstance(roi_size, str):
        size = check_integer("roi_size", roi_size, low=1)
        return size if spatial_dims is None else (size,) * spatial_dims
    if len(roi_size) not in ((2, 3) if spatial_dims is None else (spatial_dims,)):
        needed = "2 or 3 values" if spatial_dims is None else f"{spatial_dims} values, one per axis"
        raise ValueError(f"roi_size={tuple(roi_size)} needs {needed}, or one number for all axes.")
    return tuple(check_integer(f"roi_size[{axis}]", size, low=1) for axis, size in enumerate(roi_size))


def tile_layout(name: str, shape: Sequence[int], roi_size: Sequence[int] | int, overlap: float) -> list[list[slice]]:
    """The places of tiles along each axis, as MONAI's sliding windows lie; the tiles are all their combinations.

    Tiles have the size of the image along an axis where it is smaller. The last tile of an axis is moved back to end
    with the image, so it may overlap more than the others.

    Args:
        name: what the batch is called in the error.
        shape: of the batch: (B, C, H, W) or (B, C, H, W, D).
        roi_size: size of a tile in voxels, per axis or one for all.
        overlap: share of a tile that the next one covers too, from 0 to less than 1.

    Returns:
        For each axis its slices, in rising order.

    Raises:
        ValueError: if the batch is empty, or has other dimensions than ``roi_size``.

    Example:
        >>> tile_layout("x", (1, 1, 10, 3), roi_size=4, overlap=0.25)
        [[slice(0, 4, None), slice(3, 7, None), slice(6, 10, None)], [slice(0, 3, None)]]
    """
    sizes = (roi_size,) * len(shape[2:]) if isinstance(roi_size, int) else tuple(roi_size)
    if len(shape) not in (4, 5) or len(sizes) != len(shape) - 2 or 0 in shape:
        layouts = {2: "(B, C, H, W)", 3: "(B, C, H, W, D)"}
        allowed = " or ".join(layouts.values()) if isinstance(roi_size, int) else layouts[len(sizes)]
        raise ValueError(f"{name} has shape {tuple(shape)}; roi_size={roi_size} takes {allowed} with sizes from 1.")
    return [_along_axis(length, min(size, length), overlap) for length, size in zip(shape[2:], sizes)]


def _along_axis(length: int, size: int, overlap: float) -> list[slice]:
    interval = max(int(size * (1 - overlap)), 1)
    places = dense_patch_slices([length], [size], [interval])
    return [slice(int(place.start), int(place.stop)) for (place,) in places]


def tile_borders(places: Sequence[slice]) -> list[int]:
    """The borders of tiles inside the image along one axis: b lies between voxels b - 1 and b.

    Args:
        places: the tiles along the axis, of :func:`tile_layout`.

    Example:
        >>> tile_borders([slice(0, 4), slice(3, 7), slice(6, 10)])
        [3, 4, 6, 7]
    """
    ends = {place.start for place in places} | {place.stop for place in places}
    return sorted(ends)[1:-1]
