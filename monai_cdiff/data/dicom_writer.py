"""Derived DICOM series for MONAI's ``SaveImaged``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import ImageWriter
from monai.data.utils import to_affine_nd
from monai.utils import MetaKeys, convert_data_type

from ..utils import check_flag
from .derivation import Derivation
from .dicom_derived import check_writable, write_derived
from .dicom_record import DicomError, SourceRecord
from .dicom_series import source_record
from .nifti_reader import affine_in_mm

__all__ = ["DicomSeriesWriter"]


class DicomSeriesWriter(ImageWriter):
    """Write a volume or X-ray as a derived series of its source's study.

    The source is the metadata's ``dicom_source``, which :py:class:`monai_cdiff.data.DicomSeriesReader` made, or a
    template. Values are written as they are: the type of the files follows from the values and the source, so
    ``SaveImage``'s ``output_dtype`` and ``scale`` do not count. Of the file name only its folder counts: the series
    gets the name of its number and a hash, since ``SaveImage`` cuts UIDs at their last dot.

    Args:
        derivation: what was done; by default no more than that the software processed the image.
        template: folder or file of a DICOM series of the same patient, for images that did not come in as DICOM.
        overwrite: replace what an earlier call wrote.
        kwargs: ignored; what ``SaveImage`` gives to every writer.

    Example:
        >>> from functools import partial
        >>> from monai.transforms import SaveImaged
        >>> writer = partial(DicomSeriesWriter, derivation=Derivation("denoised", "dn", {"seed": 0}))
        >>> save = SaveImaged("image", output_ext=".dcm", writer=writer, separate_folder=False)
    """

    def __init__(
        self,
        derivation: Derivation | None = None,
        template: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.derivation = derivation or Derivation("processed", "derived")
        self.template = None if template is None else source_record(template)
        self.overwrite = check_flag("overwrite", overwrite)
        self.affine: np.ndarray | None = None
        self.source: SourceRecord | None = None
        self.written: Path | None = None
        if self.template is not None:
            check_writable(self.template)

    def set_data_array(self, data_array: Any, channel_dim: int | None = 0, **kwargs: Any) -> None:
        """Take the image.

        Args:
            data_array: real values, shape (1, X, Y[, Z]) or without a channel.
            channel_dim: axis of the channel, None if there is none.
            kwargs: ignored.

        Raises:
            DicomError: if there are several channels.
        """
        array = convert_data_type(data_array, np.ndarray)[0]
        if channel_dim is not None and array.shape[channel_dim] != 1:
            raise DicomError(
                f"image of shape {array.shape} has {array.shape[channel_dim]} channels; a series holds one. Split them "
                "(SplitDimd) and give each a label of its own."
            )
        self.data_obj = array if channel_dim is None else np.take(array, 0, axis=channel_dim)

    def set_metadata(self, meta_dict: Mapping | None, resample: bool = True, **options: Any) -> None:
        """Take the place and the source of the image.

        Args:
            meta_dict: with ``affine`` (RAS) and ``dicom_source``.
            resample: bring the image back to the grid it was read on (``original_affine``, ``spatial_shape``); else
                it is written on its own.
            options: ``mode`` and ``padding_mode`` of that.

        Raises:
            DicomError: if the affine or the source is absent, or nothing can be derived from the source.
        """
        meta = meta_dict or {}
        text = str(meta.get("dicom_source") or "")
        if self.template is None and not text:
            raise DicomError(
                "the metadata holds no dicom_source: the image did not come from DicomSeriesReader. Give a DICOM "
                "series of the same patient as template."
            )
        original, affine, shape = self.get_meta_info(meta)
        if affine is None:
            raise DicomError(f"the metadata holds no {MetaKeys.AFFINE}, so the image has no place in space.")
        self.source = self.template or SourceRecord.from_json(text)
        check_writable(self.source)
        if resample and original is not None:
            known = {name: value for name, value in options.items() if name in ("mode", "padding_mode", "dtype")}
            self.data_obj, affine = self.resample_if_needed(
                self.data_obj, affine=affine, target_affine=original, output_spatial_shape=shape, **known
            )
        matrix = to_affine_nd(3, np.array(convert_data_type(affine, np.ndarray, dtype=np.float64)[0]))
        self.affine = affine_in_mm(matrix, str(meta.get("space_units", "mm")))

    def write(self, filename: PathLike, verbose: bool = False, **kwargs: Any) -> None:
        """Write the series into the folder of ``filename``; ``written`` then holds its path.

        Raises:
            DicomError: if there is no source or the image cannot be written; see :py:func:`write_derived`.
            FileExistsError: if it exists, unless ``overwrite``.
        """
        if self.source is None or self.affine is None:
            raise DicomError("set_metadata comes before write: it tells the place and the source of the image.")
        array: Any = self.data_obj
        self.written = write_derived(
            array, self.affine, self.source, Path(filename).parent, self.derivation, overwrite=self.overwrite
        )
        if verbose:
            print(f"written: {self.written}")
