"""DICOM series in and derived DICOM series out, as dictionary transforms."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

from ...data import Derivation
from .array import LoadDicomSeries, SaveDicomSeries

__all__ = [
    "LoadDicomSeriesD",
    "LoadDicomSeriesDict",
    "LoadDicomSeriesd",
    "SaveDicomSeriesD",
    "SaveDicomSeriesDict",
    "SaveDicomSeriesd",
]


class LoadDicomSeriesd(MapTransform):
    """Dictionary form of :py:class:`LoadDicomSeries`.

    Args:
        keys: entries that hold a folder or files.
        allow_missing_keys: pass over keys that the data does not have.
        options: as for :py:class:`monai_cdiff.data.DicomSeriesReader`.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False, **options: Any) -> None:
        super().__init__(keys, allow_missing_keys)
        self.load = LoadDicomSeries(**options)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The data with images in place of paths."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.load(d[key])
        return d


class SaveDicomSeriesd(MapTransform):
    """Dictionary form of :py:class:`SaveDicomSeries`.

    Args:
        keys: images of one channel.
        output_dir: as there, and so the others.
        derivation: what was done.
        template: DICOM series of the same patient.
        overwrite: replace what an earlier call wrote.
        allow_missing_keys: pass over keys that the data does not have.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | os.PathLike[str],
        derivation: Derivation,
        template: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.save = SaveDicomSeries(output_dir, derivation, template, overwrite)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the images; the data passes unchanged."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.save(d[key])
        return d


LoadDicomSeriesD = LoadDicomSeriesDict = LoadDicomSeriesd
SaveDicomSeriesD = SaveDicomSeriesDict = SaveDicomSeriesd
