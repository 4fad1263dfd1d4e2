"""DICOM series in and derived DICOM series out, as array transforms."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.config import PathLike
from monai.data import MetaTensor
from monai.transforms import LoadImage, Transform

from ...data import Derivation, DicomSeriesReader, DicomSeriesWriter

__all__ = ["LoadDicomSeries", "SaveDicomSeries"]


class LoadDicomSeries(Transform):
    """Read one DICOM series, channel first; nothing but DICOM, and no other reader tries after a refusal.

    Args:
        options: as for :py:class:`monai_cdiff.data.DicomSeriesReader`.

    Example:
        >>> load = LoadDicomSeries(series="t2*", plane="axial")
    """

    def __init__(self, **options: Any) -> None:
        self.load = LoadImage(reader=DicomSeriesReader(**options), image_only=True, ensure_channel_first=True)

    def __call__(self, filename: Sequence[PathLike] | PathLike) -> MetaTensor:
        """The series in a folder, or of several files.

        Returns:
            Real values, float32, of shape (1, X, Y[, Z]), with the source in its metadata.
        """
        image: MetaTensor = self.load(filename)
        return image


class SaveDicomSeries(Transform):
    """Write an image as a derived series of its source's study.

    Args:
        output_dir: where the new folder (volume) or file (X-ray) goes; it is named by series number, hash and label.
        derivation: what was done.
        template: DICOM series of the same patient, for images that did not come in as DICOM.
        overwrite: replace what an earlier call wrote.

    Attributes:
        written: what was written, in order.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        derivation: Derivation,
        template: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
    ) -> None:
        self.output_dir = Path(output_dir).expanduser().absolute()
        self.writer = DicomSeriesWriter(derivation, template, overwrite)
        self.written: list[Path] = []

    def __call__(self, img: torch.Tensor) -> torch.Tensor:
        """Write; the image of shape (1, X, Y[, Z]) passes unchanged.

        Raises:
            DicomError: if it has several channels or no source, or cannot be written.
            FileExistsError: if the output exists, unless ``overwrite``.
        """
        self.writer.set_data_array(img, channel_dim=0)
        self.writer.set_metadata(img.meta if isinstance(img, MetaTensor) else None, resample=False)
        self.writer.write(self.output_dir / "series.dcm")
        if self.writer.written is not None:
            self.written.append(self.writer.written)
        return img
