"""Images in and out of files: DICOM series, lists of data sets, and sample data."""

from __future__ import annotations

from .datalist import check_unseen, make_datalist, summarize_datalist, write_datalist
from .dicom_reader import DicomSeriesReader
from .dicom_series import DicomError, SeriesInfo, read_series, scan_series, select_series
from .inputs import list_inputs, output_name
from .items import ItemDataset, spacing_range
from .keyed import IterationSampler, KeyedDataset, ignore_interrupt
from .nifti_reader import NiftiReader
from .nifti_writer import NiftiWriter
from .sample import prepare_sample_data

__all__ = [
    "DicomError",
    "DicomSeriesReader",
    "ItemDataset",
    "IterationSampler",
    "KeyedDataset",
    "NiftiReader",
    "NiftiWriter",
    "SeriesInfo",
    "check_unseen",
    "ignore_interrupt",
    "list_inputs",
    "make_datalist",
    "output_name",
    "prepare_sample_data",
    "read_series",
    "scan_series",
    "select_series",
    "spacing_range",
    "summarize_datalist",
    "write_datalist",
]
