"""Labels from NIfTI, NRRD and MetaImage files, voxel by voxel on the grid of an image."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import to_affine_nd

from .nifti_reader import affine_in_mm, check_nifti, nifti_units
from .patient_folders import is_nifti

__all__ = ["read_label"]

_OTHERS = (".nrrd", ".mha", ".mhd")
_SAME_PLACE = 0.05  # of a voxel, over the whole image


def read_label(file: str | os.PathLike[str], image: MetaTensor) -> torch.Tensor:
    """Read a label map and bring its axes into the order of an image's.

    Both must have the same voxels in space; the axes of the file may come in another order or run the other way, as
    those of a NRRD file do beside a DICOM series. Nothing is resampled.

    Args:
        file: NIfTI, NRRD or MetaImage, of whole numbers from 0.
        image: (C, H, W, D) with its affine to RAS in mm.

    Returns:
        Labels (H, W, D), int64.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is of another format or damaged, holds anything but whole numbers from 0, or lies on another
            grid than the image.

    Example:
        >>> read_label("zones.nrrd", image).unique()  # doctest: +SKIP
        tensor([0, 1, 2, 3, 4])
    """
    name = os.fspath(file)
    if not os.path.isfile(name):
        raise FileNotFoundError(f"label={name!r} does not exist.")
    if not isinstance(image, MetaTensor) or image.ndim != 4:
        raise ValueError(f"image has shape {tuple(image.shape)}; allowed: a MetaTensor (C, H, W, D).")
    values, affine = _read(name)
    if values.ndim == 4 and values.shape[3] == 1:
        values = values[..., 0]
    if values.ndim != 3:
        raise ValueError(f"label={name!r} has shape {values.shape}; allowed are three axes.")
    labels = np.rint(values)
    if not np.isfinite(values).all() or not np.array_equal(labels, values) or values.min() < 0:
        raise ValueError(f"label={name!r} holds values that are no whole numbers from 0, so they are no labels.")
    turned = _turned(labels.astype(np.int64), affine, tuple(image.shape[1:]), image.affine.cpu().numpy())
    if turned is None:
        raise ValueError(
            f"label={name!r} of {values.shape} voxels lies on another grid than the image of {tuple(image.shape[1:])}."
        )
    return torch.from_numpy(np.ascontiguousarray(turned))


def _read(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Values, and affine to RAS in mm."""
    if is_nifti(name):
        image = check_nifti(name)
        try:
            values = np.asanyarray(image.dataobj)
        except Exception as error:  # nibabel and zlib raise many kinds on damaged files
            raise ValueError(f"label={name!r}: the voxels cannot be read; is the file whole? {error}") from error
        return values, affine_in_mm(image.affine, nifti_units(image))
    if not name.lower().endswith(_OTHERS):
        raise ValueError(f"label={name!r}: allowed are .nii, .nii.gz, {', '.join(_OTHERS)}.")
    import SimpleITK

    try:
        volume: Any = SimpleITK.ReadImage(name)
    except RuntimeError as error:
        raise ValueError(f"label={name!r} cannot be read: {str(error).strip().splitlines()[-1]}") from None
    if volume.GetDimension() != 3 or volume.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(f"label={name!r} has {volume.GetDimension()} axes or several components; allowed: 3 and one.")
    affine = np.eye(4)
    affine[:3, :3] = np.array(volume.GetDirection()).reshape(3, 3) * np.array(volume.GetSpacing())
    affine[:3, 3] = volume.GetOrigin()
    return SimpleITK.GetArrayFromImage(volume).T, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _turned(labels: np.ndarray, affine: np.ndarray, shape: tuple[int, ...], wanted: np.ndarray) -> np.ndarray | None:
    """The labels with their axes as an image of ``shape`` at ``wanted`` has them; None if the voxels are others."""
    between = np.linalg.inv(to_affine_nd(3, affine)) @ to_affine_nd(3, wanted)  # voxel of the image -> of the label
    axes = np.abs(between[:3, :3]).argmax(axis=0)
    if sorted(axes) != [0, 1, 2]:
        return None
    turned = labels.transpose(axes)
    if turned.shape != shape:
        return None
    exact = np.zeros((3, 4))
    for n, axis in enumerate(axes):
        back = between[axis, n] < 0
        exact[axis, [n, 3]] = (-1, shape[n] - 1) if back else (1, 0)
        turned = np.flip(turned, n) if back else turned
    reach = np.diag([*shape, 1.0])
    return turned if np.abs((between[:3] - exact) @ reach).max() <= _SAME_PLACE else None
