"""NIfTI images for MONAI's ``LoadImaged``, placed where their header says."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import NibabelReader
from monai.utils import ensure_tuple

from .patient_folders import is_nifti

__all__ = ["NiftiReader", "affine_in_mm", "check_nifti", "nifti_units"]

_MILLIMETRES = {"micron": 1e-3, "meter": 1e3}

_AXES = {3: "time", 4: "vector components"}

logger = logging.getLogger(__name__)


class NiftiReader(NibabelReader):
    """Read a NIfTI image of two or three axes and keep its place in space.

    It differs from MONAI's reader in this: an sform that disagrees with the voxel sizes (pixdim) is kept, with a
    warning, where MONAI takes the qform without a word; a fourth axis is refused; the unit of length travels in the
    metadata as ``space_units`` ("mm", "micron", "meter" or "unknown", as nibabel names them); damaged files are named.
    ``LoadImage`` swallows what ``read`` raises and tries its next reader, so all refusals come from ``get_data``.

    Example:
        >>> from monai.transforms import LoadImaged
        >>> load = LoadImaged("image", reader=NiftiReader(), ensure_channel_first=True)
    """

    def __init__(self) -> None:
        super().__init__(squeeze_non_spatial_dims=True)

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> tuple[str, ...]:
        """Record the file.

        Raises:
            ValueError: if it is not named as a NIfTI file; it is left to the other readers.
        """
        names = tuple(os.fspath(name) for name in ensure_tuple(data))
        if not names or not all(map(is_nifti, names)):
            raise ValueError(f"{names[:1]}: no NIfTI file; its name must end in .nii or .nii.gz.")
        return names

    def get_data(self, img: Sequence[str]) -> tuple[np.ndarray, dict[str, Any]]:
        """Read what :py:meth:`read` recorded.

        Returns:
            The image (X, Y) or (X, Y, Z) in real values (scl_slope and scl_inter applied), and its metadata with the
            affine to RAS in the file's unit of length.

        Raises:
            FileNotFoundError: if the file does not exist.
            ValueError: if it is damaged, has more than three axes, holds no real numbers, or lies nowhere.
        """
        self.filenames = ensure_tuple(img)
        if len(self.filenames) != 1:
            raise ValueError(f"{len(self.filenames)} NIfTI files, {self.filenames[0]} the first; give one.")
        file = os.fspath(self.filenames[0])
        image = check_nifti(file)
        _warn_of_sizes(file, image)
        try:
            array, metadata = super().get_data(image)
        except Exception as error:  # nibabel and zlib raise many kinds on damaged files
            raise ValueError(f"{file}: the voxels cannot be read; is the file whole? {error}") from error
        return array, {**metadata, "space_units": nifti_units(image), "dicom_source": "", "padding": "none"}


def check_nifti(file: str) -> Any:
    """Refuse a file that could not be read, by its header.

    Returns:
        nibabel's image, its voxels not read yet.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: as :py:meth:`NiftiReader.get_data`.
    """
    import nibabel

    if not os.path.isfile(file):
        raise FileNotFoundError(f"{file} does not exist.")
    try:
        image: Any = nibabel.load(file)
        affine = np.asarray(image.affine)
    except Exception as error:
        raise ValueError(f"{file}: the NIfTI header cannot be read: {error}") from error
    shape, kind = image.shape, image.get_data_dtype()
    for axis, size in enumerate(shape[3:], start=3):
        if size > 1:
            raise ValueError(
                f"{file}: has shape {tuple(shape)}: axis {axis + 1} ({_AXES.get(axis, 'further')}) has {size} entries; "
                "allowed are two or three axes, so write one file for each entry."
            )
    if len(shape) < 2 or 0 in shape:
        raise ValueError(f"{file}: has shape {tuple(shape)}; allowed are two or three axes, none empty.")
    if kind.kind not in "iuf":
        raise ValueError(f"{file}: holds {kind}; allowed are real numbers, integer or floating.")
    if not np.isfinite(affine).all() or np.isclose(np.linalg.det(affine[:3, :3]), 0, atol=1e-12):
        raise ValueError(f"{file}: its affine {np.round(affine, 4).tolist()} places the voxels nowhere.")
    return image


def _warn_of_sizes(file: str, image: Any) -> None:
    sizes, said = np.linalg.norm(image.affine[:3, :3], axis=0), np.asarray(image.header["pixdim"][1:4], dtype=float)
    rank = min(len(image.shape), 3)
    if int(image.header["sform_code"]) and not np.allclose(sizes[:rank], np.abs(said[:rank]), rtol=1e-3, atol=1e-4):
        logger.warning(
            "%s: the sform's voxels are %s, pixdim says %s; the sform is kept.", file, _times(sizes), _times(said)
        )


def _times(sizes: np.ndarray) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes)


def nifti_units(image: Any) -> str:
    """The unit of length of nibabel's image: "mm", "micron", "meter" or "unknown"."""
    try:
        return str(image.header.get_xyzt_units()[0])
    except KeyError:  # a code that no standard defines
        return "unknown"


def affine_in_mm(affine: np.ndarray, units: str) -> np.ndarray:
    """An affine in millimetres, float64, of one in the units that :py:func:`nifti_units` names; unknown ones are mm."""
    scaled = np.array(affine, dtype=np.float64)
    scaled[:-1] *= _MILLIMETRES.get(units, 1.0)
    return scaled
