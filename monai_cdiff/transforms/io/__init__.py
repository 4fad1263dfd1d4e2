"""What reads and writes files, as MONAI transforms."""

from __future__ import annotations

from .array import LoadDicomSeries, SaveDicomSeries
from .dictionary import (
    LoadDicomSeriesD,
    LoadDicomSeriesd,
    LoadDicomSeriesDict,
    SaveDicomSeriesD,
    SaveDicomSeriesd,
    SaveDicomSeriesDict,
)
from .same_format import SaveLikeInputD, SaveLikeInputd, SaveLikeInputDict, check_outputs, list_outputs

__all__ = [
    "LoadDicomSeries",
    "LoadDicomSeriesD",
    "LoadDicomSeriesDict",
    "LoadDicomSeriesd",
    "SaveDicomSeries",
    "SaveDicomSeriesD",
    "SaveDicomSeriesDict",
    "SaveDicomSeriesd",
    "SaveLikeInputD",
    "SaveLikeInputDict",
    "SaveLikeInputd",
    "check_outputs",
    "list_outputs",
]
