"""Stored values in each transfer syntax, and refusals before memory is taken."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLSLossless, MRImageStorage, RLELossless, generate_uid

from monai_cdiff.data.dicom_pixels import check_pixel_size, open_dataset, stored_values
from monai_cdiff.data.dicom_record import DicomFileError


def image(stored: np.ndarray, **elements) -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = elements.pop("syntax", pydicom.uid.ExplicitVRLittleEndian)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    bits = stored.dtype.itemsize * 8
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def save(dataset: pydicom.Dataset, folder: Path) -> str:
    file = folder / "image.dcm"
    dataset.save_as(file, enforce_file_format=True)
    return str(file)


STORED = np.arange(-7, 8, dtype=np.int16).reshape(3, 5)


class TestDecoding:
    @pytest.mark.parametrize("number", range(2, 10))
    def test_row10_every_syntax_gives_the_same_integers(self, shared_data, number):
        folder = shared_data / "hard_dicom" / "dcm_qa_ts"
        expected = pydicom.dcmread(folder / "1.dcm").pixel_array[None]
        values = stored_values(str(folder / f"{number}.dcm"))
        assert values.dtype == expected.dtype
        np.testing.assert_array_equal(values, expected)

    @pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32])
    @pytest.mark.parametrize("deflated", [False, True])
    def test_row10_integers_of_every_width(self, tmp_path, dtype, deflated):
        stored = STORED.astype(dtype)
        syntax = DeflatedExplicitVRLittleEndian if deflated else pydicom.uid.ExplicitVRLittleEndian
        values = stored_values(save(image(stored, syntax=syntax), tmp_path))
        assert values.dtype == dtype
        np.testing.assert_array_equal(values[0], stored)

    def test_row10_bits_above_the_stored_ones_do_not_count(self, tmp_path):
        high = (STORED & 0x0FFF) | np.int16(0x5000)
        values = stored_values(save(image(high, BitsStored=12, HighBit=11), tmp_path))
        np.testing.assert_array_equal(values[0], STORED)

    def test_row10_high_bit_above_the_stored_bits(self, tmp_path):
        values = stored_values(save(image(STORED << 4, BitsStored=12, HighBit=15), tmp_path))
        np.testing.assert_array_equal(values[0], STORED)

    def test_row10_inverted_and_rescaled_stay_stored(self, tmp_path, shared_data):
        dataset = pydicom.dcmread(shared_data / "hard_dicom" / "dcm_qa_ts" / "5.dcm")
        expected = stored_values(str(shared_data / "hard_dicom" / "dcm_qa_ts" / "1.dcm"))
        dataset.PhotometricInterpretation, dataset.RescaleSlope, dataset.RescaleIntercept = "MONOCHROME1", "2.5", "-7"
        np.testing.assert_array_equal(stored_values(save(dataset, tmp_path)), expected)


class TestRefusals:
    @pytest.mark.parametrize(
        "element, value",
        [("Rows", 65535), ("Rows", 4), ("NumberOfFrames", 2**31 - 1), ("NumberOfFrames", 0), ("NumberOfFrames", -1)]
        + [("BitsStored", 17), ("BitsAllocated", 1), ("HighBit", 3), ("SamplesPerPixel", 3), ("Rows", [3, 3])],
    )
    def test_row13_sizes_that_do_not_fit(self, tmp_path, element, value):
        file = save(image(STORED, **{element: value}), tmp_path)
        tracemalloc.start()
        with pytest.raises(DicomFileError, match="image.dcm"):
            stored_values(file)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 * 2**20

    @pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
    def test_row13_small_compressed_file_of_a_huge_image(self, tmp_path, syntax):
        dataset = image(STORED, syntax=syntax, Rows=65535, Columns=65535, PixelData=encapsulate([b"\0" * 100]))
        dataset["PixelData"].is_undefined_length = True
        file = save(dataset, tmp_path)
        with pytest.raises(DicomFileError, match="image.dcm.*declares"):
            check_pixel_size(file, open_dataset(file))

    def test_row13_code_stream_of_another_size(self, tmp_path, shared_data):
        dataset = pydicom.dcmread(shared_data / "hard_dicom" / "dcm_qa_ts" / "7.dcm")
        dataset.Rows = 383
        with pytest.raises(DicomFileError, match="image.dcm.*384"):
            stored_values(save(dataset, tmp_path))

    def test_row13_deflated_file_stops_at_the_declared_size(self, tmp_path):
        dataset = image(STORED, syntax=DeflatedExplicitVRLittleEndian, PixelData=b"\0" * 2**27)
        file = save(dataset, tmp_path)
        assert Path(file).stat().st_size < 2**20
        tracemalloc.start()
        with pytest.raises(DicomFileError, match="image.dcm.*inflates"):
            open_dataset(file, pixels=True)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**26

    def test_row13_element_longer_than_the_file_takes_no_memory(self, tmp_path):
        file = Path(save(image(STORED), tmp_path))
        data = file.read_bytes()
        place = data.index(b"\xe0\x7f\x10\x00OW\0\0") + 8
        file.write_bytes(data[:place] + struct.pack("<I", 2**31) + data[place + 4 :])
        tracemalloc.start()
        values = stored_values(str(file))  # the pixels are all there, only their length is wrong
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        np.testing.assert_array_equal(values[0], STORED)
        assert peak < 4 * 2**20

    def test_row13_truncated_anywhere(self, tmp_path):
        file = Path(save(image(STORED), tmp_path))
        data = file.read_bytes()
        for length in range(132, len(data) - 2, 5):
            file.write_bytes(data[:length])
            with pytest.raises(DicomFileError, match="image.dcm"):
                stored_values(str(file))

    @pytest.mark.parametrize("content", [b"", b"text", b"\0" * 500])
    def test_row13_no_dicom(self, tmp_path, content):
        file = tmp_path / "image.dcm"
        file.write_bytes(content)
        with pytest.raises(pydicom.errors.InvalidDicomError):
            open_dataset(str(file))

    def test_row10_float_pixels_are_refused(self, tmp_path):
        dataset = image(STORED, FloatPixelData=np.zeros(15, np.float32).tobytes())
        del dataset.PixelData
        with pytest.raises(DicomFileError, match="image.dcm.*FloatPixelData"):
            stored_values(save(dataset, tmp_path))
