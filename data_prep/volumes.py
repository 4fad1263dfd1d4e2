"""Files that are no DICOM: what their headers say, whether they can be read, and MetaImage turned into NIfTI."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["VOLUMES", "convert", "image_fault", "image_size", "matches_grid", "matches_plane"]

VOLUMES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")

_SAME_PLACE_MM = 0.1


def image_fault(file: str) -> str:
    """Why a picture or a file of ``VOLUMES`` cannot be read as an image, to its end; "" if it can."""
    from monai_cdiff.data import is_nifti, read_raster

    try:
        if is_nifti(file):
            import nibabel
            import numpy as np

            image: Any = nibabel.load(file)
            np.asanyarray(image.dataobj)
        elif file.lower().endswith(VOLUMES):
            _read(file)
        else:
            read_raster(file)
    except Exception as error:  # the readers raise many kinds on damaged files
        return f"cannot be read: {' '.join(str(error).removeprefix(f'{file}: ').split())}"
    return ""


def image_size(file: str) -> tuple[int, ...] | None:
    """Voxels along each axis, by the header; None if it cannot be read."""
    header = _header(file)
    return None if header is None else header[0]


def matches_plane(file: str, plane: str) -> bool:
    """Whether the slices of a volume lie in a plane, the nearest of "axial", "coronal" and "sagittal"."""
    header = _header(file)
    if header is None or len(header[0]) < 3:
        return False
    normal = abs(header[1][:3, 2])
    return ("sagittal", "coronal", "axial")[int(normal.argmax())] == plane


def matches_grid(file: str, shape: Sequence[int], corners: Iterable[Sequence[float]]) -> bool:
    """Whether a volume has this size, and its first voxel at one of these places (LPS, mm)."""
    header = _header(file)
    if header is None or header[0] != tuple(shape):
        return False
    origin = header[1][:3, 3] * [-1, -1, 1]
    return any(max(abs(a - b) for a, b in zip(origin, corner)) <= _SAME_PLACE_MM for corner in corners)


def convert(source: str, target: str, overwrite: bool = False) -> None:
    """Write a volume as NIfTI, whole or not at all; one that is there already, the same, stays.

    Raises:
        FileExistsError: if ``target`` is there with other content, unless ``overwrite``.
    """
    import numpy as np
    import SimpleITK

    from monai_cdiff.utils import replacing

    image = _read(source)
    if os.path.exists(target) and not overwrite:
        if not image_fault(target):
            there = _read(target)
            values, wanted = (SimpleITK.GetArrayViewFromImage(volume) for volume in (there, image))
            if np.array_equal(values, wanted) and np.allclose(_place(there), _place(image), rtol=0, atol=1e-3):
                return
        raise FileExistsError(f"{target}: there, and not what {source} holds. --overwrite replaces it.")
    with replacing(target) as temporary:
        SimpleITK.WriteImage(image, str(temporary))


def _place(image: Any) -> list[float]:
    return [*image.GetOrigin(), *image.GetSpacing(), *image.GetDirection()]


def _header(file: str) -> tuple[tuple[int, ...], Any] | None:
    """Size, and affine to RAS in mm, by the header; None if it cannot be read."""
    import numpy as np
    import SimpleITK

    from monai_cdiff.data import is_nifti

    if is_nifti(file):
        import nibabel

        try:
            image: Any = nibabel.load(file)
        except Exception:  # nibabel raises many kinds on damaged files
            return None
        return tuple(image.shape), image.affine
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(file)
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return None
    count = min(reader.GetDimension(), 3)
    direction = np.array(reader.GetDirection()).reshape(reader.GetDimension(), -1)[:count, :count]
    affine = np.eye(4)
    affine[:count, :count] = direction * np.array(reader.GetSpacing())[:count]
    affine[:count, 3] = reader.GetOrigin()[:count]
    return tuple(reader.GetSize()), np.diag([-1, -1, 1, 1]) @ affine


def _read(file: str) -> Any:
    import SimpleITK

    try:
        return SimpleITK.ReadImage(file)
    except RuntimeError as error:
        raise ValueError(f"{file}: cannot be read: {str(error).strip().splitlines()[-1]}") from None
