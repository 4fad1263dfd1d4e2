"""NIfTI images written whole, with the place, the units and the type that were asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import DtypeLike, PathLike
from monai.data import NibabelWriter
from monai.data.utils import to_affine_nd
from monai.utils import get_equivalent_dtype

from ..utils import check_flag, replacing

__all__ = ["NiftiWriter"]

_SCANNER, _ALIGNED = 1, 2  # NIFTI_XFORM_SCANNER_ANAT and NIFTI_XFORM_ALIGNED_ANAT


class NiftiWriter(NibabelWriter):
    """Write a NIfTI file whose sform says where the voxels lie.

    It differs from MONAI's writer in this: the source's xform code and unit of length are kept (``sform_code``,
    ``qform_code`` and ``space_units`` of the metadata); the qform says the same or, where it cannot (shear), nothing;
    integers are rounded and never wrap; a file is written whole or not at all, and never over an existing one.

    Args:
        output_dtype: type of the voxels in the file.
        overwrite: replace a file that exists.
        kwargs: ignored; what ``SaveImage`` gives to every writer.

    Raises:
        ValueError: if ``output_dtype`` is no type of real numbers.

    Example:
        >>> import numpy as np, tempfile
        >>> writer = NiftiWriter("int16")
        >>> writer.set_data_array(np.full((1, 4, 3, 2), 7.4))
        >>> writer.set_metadata({"affine": np.eye(4)}, resample=False)
        >>> writer.write(tempfile.mkdtemp() + "/seven.nii.gz")
    """

    def __init__(self, output_dtype: DtypeLike = np.float32, overwrite: bool = False, **kwargs: Any) -> None:
        given = np.dtype(get_equivalent_dtype(output_dtype, np.ndarray) if output_dtype is not None else np.float32)
        if given.kind not in "iuf" or given == np.float16:
            raise ValueError(f"output_dtype={output_dtype!r}: allowed are integers, float32 and float64.")
        super().__init__(output_dtype=given)
        self.overwrite = check_flag("overwrite", overwrite)
        self.units, self.code = "mm", _SCANNER

    def set_data_array(self, data_array: Any, channel_dim: int | None = 0, *args: Any, **kwargs: Any) -> None:
        """As MONAI's, but a volume of one slice remains a volume."""
        super().set_data_array(data_array, channel_dim, *args, **kwargs)
        own: Any = self.data_obj
        if data_array.ndim - (channel_dim is not None) == 3 and data_array.shape[-1] == 1 and own.ndim == 2:
            self.data_obj = own[..., None]

    def set_metadata(self, meta_dict: Mapping | None, resample: bool = True, **options: Any) -> None:
        """As MONAI's, and keep the unit of length and the xform code of the source."""
        super().set_metadata(meta_dict, resample=resample, **options)
        meta = meta_dict or {}
        self.units = str(meta.get("space_units", "mm"))
        if "sform_code" in meta:
            self.code = int(meta["sform_code"]) or int(meta.get("qform_code", 0)) or _ALIGNED

    def write(self, filename: PathLike, verbose: bool = False, **kwargs: Any) -> None:
        """Write the file.

        Raises:
            FileExistsError: if it exists, unless ``overwrite``.
            ValueError: if values do not fit the integer type, or are not finite.
        """
        if Path(filename).exists() and not self.overwrite:
            raise FileExistsError(f"{filename} exists; remove it, or ask for overwrite.")
        array: Any = self.data_obj
        affine = to_affine_nd(r=3, affine=np.eye(4) if self.affine is None else np.asarray(self.affine))
        image = self.create_backend_obj(_as_type(array, self.output_dtype), affine=affine, dtype=self.output_dtype)
        image.set_sform(affine, code=self.code)
        _set_qform(image, affine, self.code)
        image.header.set_xyzt_units(xyz=self.units)
        self.data_obj = image
        with replacing(filename) as temporary:
            image.to_filename(temporary)
        if verbose:
            print(f"written: {filename}")


def _as_type(array: Any, dtype: Any) -> np.ndarray:
    values, kind = np.asarray(array), np.dtype(dtype)
    if kind.kind == "f":
        return values
    if not np.isfinite(values).all():
        raise ValueError(f"output_dtype={kind}: the image holds NaN or infinite voxels; integers cannot.")
    rounded, limits = np.rint(values), np.iinfo(kind)
    if values.size and (rounded.min() < limits.min or rounded.max() > limits.max):
        raise ValueError(
            f"output_dtype={kind}: the image reaches from {values.min():g} to {values.max():g}, the type from "
            f"{limits.min} to {limits.max}; take a wider one, or float32."
        )
    return rounded


def _set_qform(image: Any, affine: np.ndarray, code: int) -> None:
    """Let the qform say what the sform says; where it cannot, let it say nothing but the voxel sizes."""
    from nibabel.spatialimages import HeaderDataError

    try:
        image.set_qform(affine, code=code, strip_shears=False)
    except HeaderDataError:
        image.set_qform(None, code=0)
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
        image.header.set_zooms(sizes[: len(image.shape)])
