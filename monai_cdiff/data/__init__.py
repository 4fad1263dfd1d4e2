"""Images in and out of files: DICOM series, lists of data sets, and sample data."""

from __future__ import annotations

from .datalist import check_unseen, make_datalist, summarize_datalist, write_datalist
from .derivation import Derivation
from .dicom_derived import check_writable, write_derived
from .dicom_reader import DicomSeriesReader
from .dicom_record import DicomError, DicomFileError, DicomGeometryError, DicomSelectionError, SourceRecord
from .dicom_series import SeriesInfo, read_series, scan_series, select_series, series_problems, source_record
from .dicom_writer import DicomSeriesWriter
from .inputs import list_inputs, output_name, output_stem
from .items import ItemDataset, spacing_range
from .keyed import IterationSampler, KeyedDataset, ignore_interrupt
from .mapped_dataset import MappedCacheDataset
from .nifti_reader import NiftiReader, check_nifti
from .nifti_writer import NiftiWriter
from .sample import prepare_sample_data

__all__ = [
    "Derivation",
    "DicomError",
    "DicomFileError",
    "DicomGeometryError",
    "DicomSelectionError",
    "DicomSeriesReader",
    "DicomSeriesWriter",
    "ItemDataset",
    "IterationSampler",
    "KeyedDataset",
    "MappedCacheDataset",
    "NiftiReader",
    "NiftiWriter",
    "SeriesInfo",
    "SourceRecord",
    "check_nifti",
    "check_unseen",
    "check_writable",
    "ignore_interrupt",
    "list_inputs",
    "make_datalist",
    "output_name",
    "output_stem",
    "prepare_sample_data",
    "read_series",
    "scan_series",
    "select_series",
    "series_problems",
    "source_record",
    "spacing_range",
    "summarize_datalist",
    "write_datalist",
    "write_derived",
]
