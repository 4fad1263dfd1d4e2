"""Images in and out of files: DICOM series, lists of data sets, and sample data."""

from __future__ import annotations

from .checked_dataset import CheckedDataset
from .datalist import make_datalist, summarize_datalist, write_datalist
from .derivation import Derivation
from .dicom_derived import check_writable, write_derived
from .dicom_reader import DicomSeriesReader
from .dicom_record import DicomError, DicomFileError, DicomGeometryError, DicomSelectionError, SourceRecord
from .dicom_series import (
    SeriesInfo,
    list_files,
    matching_series,
    read_series,
    scan_series,
    select_series,
    series_problems,
    source_record,
)
from .dicom_writer import DicomSeriesWriter
from .inputs import list_inputs, output_name, output_stem
from .items import ItemDataset, spacing_range, with_factors, with_labels
from .keyed import IterationSampler, KeyedDataset, ignore_interrupt
from .label_reader import read_label
from .mapped_dataset import MappedCacheDataset, find_cache_dir
from .mask_inputs import with_masks
from .nifti_reader import NiftiReader, check_nifti
from .nifti_writer import NiftiWriter
from .patient_folders import image_dimensions, is_jpeg, is_nifti, is_raster, subject_of
from .raster_reader import RasterReader, read_raster
from .raster_writer import RasterWriter
from .sample import prepare_sample_data
from .unseen import check_unseen, image_hashes

__all__ = [
    "CheckedDataset",
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
    "RasterReader",
    "RasterWriter",
    "SeriesInfo",
    "SourceRecord",
    "check_nifti",
    "check_unseen",
    "check_writable",
    "find_cache_dir",
    "ignore_interrupt",
    "image_dimensions",
    "image_hashes",
    "is_jpeg",
    "is_nifti",
    "is_raster",
    "list_files",
    "list_inputs",
    "make_datalist",
    "matching_series",
    "output_name",
    "output_stem",
    "prepare_sample_data",
    "read_label",
    "read_raster",
    "read_series",
    "scan_series",
    "select_series",
    "series_problems",
    "source_record",
    "spacing_range",
    "subject_of",
    "summarize_datalist",
    "with_factors",
    "with_labels",
    "with_masks",
    "write_datalist",
    "write_derived",
]
