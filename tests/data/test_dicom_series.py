from __future__ import annotations

import os
import shutil

import numpy as np
import pydicom
import pytest

from monai_cdiff.data import DicomError, SeriesInfo, read_series, scan_series, select_series
from monai_cdiff.data.dicom_series import list_files

COS, SIN = np.cos(0.4), np.sin(0.4)
ORIENTATIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "oblique axial": (1, 0, 0, 0, COS, -SIN),
    "double oblique": (COS, SIN * COS, SIN * SIN, -SIN, COS * COS, COS * SIN),
    "prone, feet first": (-1, 0, 0, 0, 1, 0),
}


def setting(**elements):
    """A change for ``write_series``: elements of the last slice, or of all if the name ends in ``_all``."""

    def change(k, dataset):
        for keyword, value in elements.items():
            if keyword.endswith("_all"):
                setattr(dataset, keyword[:-4], value)
            elif k == 3:
                setattr(dataset, keyword, value)

    return change


def info(number=1, description="t2_tse_tra", plane="axial"):
    return SeriesInfo(f"1.{number}", "p", "1", "MR", description, number, plane, (4, 3, 2), (1.0, 1.0, 3.0), ("f",))


class TestRead:
    @pytest.mark.parametrize("name", ORIENTATIONS)
    def test_every_voxel_lies_where_it_was_acquired(self, tmp_path, write_series, phantom_values, name):
        files = write_series(tmp_path, orientation=ORIENTATIONS[name])
        volume, affine, record = read_series(tmp_path)
        assert volume.shape == record.shape == (7, 5, 4) and volume.dtype == np.float32
        assert record.spacing_mm == pytest.approx((0.5, 0.75, 3.0), abs=1e-6)
        assert record.files == tuple(map(str, files))
        # Stored values are rounded to a step of at most 0.004; half a voxel along any axis is at least 0.5.
        assert np.abs(volume - phantom_values(affine, volume.shape)).max() < 0.003

    def test_first_voxel_and_axes_in_ras(self, tmp_path, write_series):
        write_series(tmp_path)
        affine = read_series(tmp_path)[1]
        assert affine == pytest.approx(
            np.array([[-0.5, 0, 0, 10], [0, -0.75, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]]), abs=1e-9
        )

    def test_files_record_and_folder_give_the_same(self, tmp_path, write_series):
        files = write_series(tmp_path)
        volume, affine, record = read_series(files[::-1])
        for source in (tmp_path, str(tmp_path), scan_series(tmp_path)[0], [str(file) for file in files]):
            again = read_series(source)
            assert np.array_equal(again[0], volume) and np.array_equal(again[1], affine) and again[2] == record

    @pytest.mark.parametrize(
        ("elements", "step"), [({"SpacingBetweenSlices": 3.6}, 3.6), ({}, 3.0), ({"SpacingBetweenSlices": -2.5}, 2.5)]
    )
    def test_single_slice_takes_the_step_its_header_claims(self, tmp_path, write_series, elements, step):
        def change(k, dataset):
            dataset.update(elements)

        write_series(tmp_path, size=(7, 5, 1), orientation=ORIENTATIONS["coronal"], change=change)
        volume, affine, record = read_series(tmp_path)
        assert volume.shape == (7, 5, 1) and record.spacing_mm[2] == pytest.approx(step)
        assert affine[:3, 2] == pytest.approx([0, -step, 0])

    def test_single_slice_without_thickness_warns(self, tmp_path, write_series, caplog):
        def change(k, dataset):
            del dataset.SliceThickness

        write_series(tmp_path, size=(7, 5, 1), change=change)
        assert read_series(tmp_path)[1][2, 2] == 1
        assert "1 mm is taken" in caplog.text

    def test_stored_values_without_rescale(self, tmp_path, write_series):
        def change(k, dataset):
            del dataset.RescaleSlope, dataset.RescaleIntercept
            dataset.PixelData = np.full((5, 7), -3 - k, np.int16).tobytes()

        write_series(tmp_path, change=change)
        assert read_series(tmp_path)[0][2, 3].tolist() == [-3, -4, -5, -6]

    def test_unsigned_values_above_int16(self, tmp_path, write_series):
        def change(k, dataset):
            dataset.PixelRepresentation, dataset.RescaleSlope, dataset.RescaleIntercept = 0, 1, 0
            dataset.PixelData = np.full((5, 7), 65000, np.uint16).tobytes()

        write_series(tmp_path, change=change)
        assert (read_series(tmp_path)[0] == 65000).all()


class TestRefusals:
    @pytest.mark.parametrize(
        ("elements", "message"),
        [
            ({"SeriesInstanceUID": "1.2.3.4"}, "several series match|belong to 2 series"),
            ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "ImageOrientationPatient differs within the series"),
            ({"PixelSpacing": [0.75, 0.6]}, r"PixelSpacing \(columns, rows\) differs.*0\.6, 0\.75"),
            ({"Rows": 4, "PixelData": bytes(56)}, r"the size \(columns, rows\) differs.*\(7, 4\)"),
            ({"ImagePositionPatient": [-10, 20, 36]}, "lie at one position.*several volumes.*RescaleIntercept"),
            ({"ImagePositionPatient": [-10, 20, 42]}, r"1 slice\(s\) missing.*between 36\.00 and 42\.00"),
            ({"ImagePositionPatient": [-10, 20, 39.5]}, "gaps between slices differ"),
            ({"ImagePositionPatient": [-10, 21, 39]}, "shifted against each other by up to 0.667 mm.*unevenly"),
            ({"ImagePositionPatient": None}, "ImagePositionPatient is absent, so"),
            ({"ImageOrientationPatient": [1, 0, 0, 0, 1]}, r"ImageOrientationPatient=\[1.*is malformed"),
            ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "ImageOrientationPatient=.*two orthogonal unit vectors"),
            ({"PixelSpacing": [0, 0.5]}, "PixelSpacing=.*must be greater than 0"),
            ({"NumberOfFrames": 2}, "multi-frame.*2 frames.*not supported"),
            ({"SamplesPerPixel": 3}, "SamplesPerPixel=3 must be 1"),
            ({"PhotometricInterpretation": "PALETTE COLOR"}, "'PALETTE COLOR' must be 'MONOCHROME1' or 'MONOCHROME2'"),
            ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, "mosaic"),
            ({"RescaleSlope": 0}, "the slope not 0"),
            ({"PixelData": bytes(40)}, "PixelData has 40 bytes, the header declares 70.*truncated"),
            ({"ModalityLUTSequence": [pydicom.Dataset()]}, "ModalityLUTSequence cannot be applied"),
        ],
    )
    def test_one_odd_slice(self, tmp_path, write_series, elements, message):
        write_series(tmp_path, change=setting(**elements))
        with pytest.raises(DicomError, match=message):
            read_series(tmp_path)

    def test_files_of_two_series(self, tmp_path, write_series):
        files = write_series(tmp_path / "a") + write_series(tmp_path / "b")
        with pytest.raises(DicomError, match="belong to 2 series"):
            read_series(files)

    @pytest.mark.parametrize("kept", [150, 400, 600, -1])
    def test_truncated_file_is_named(self, tmp_path, write_series, kept):
        file = write_series(tmp_path)[2]
        file.write_bytes(file.read_bytes()[:kept])
        with pytest.raises(DicomError, match=f"{file.name}.*(damaged|truncated)"):
            read_series(tmp_path)

    def test_what_is_no_dicom_is_named_when_asked_for(self, tmp_path, write_series):
        files = write_series(tmp_path)
        other = tmp_path / "notes.txt"
        other.write_text("no image")
        with pytest.raises(DicomError, match="notes.txt: no DICOM image"):
            read_series([*files, other])
        with pytest.raises(FileNotFoundError, match="gone.dcm"):
            read_series([*files, tmp_path / "gone.dcm"])
        with pytest.raises(DicomError, match="holds no file"):
            read_series([])


class TestScan:
    def test_one_record_for_each_series_in_any_folder(self, tmp_path, write_series):
        write_series(tmp_path / "b" / "c", number=9, orientation=ORIENTATIONS["sagittal"], description="t1")
        files = write_series(tmp_path / "a", number=2, patient="p7")
        first, second = scan_series(tmp_path)
        assert (first.number, first.description, first.plane, first.shape) == (2, "t2_tse_tra", "axial", (7, 5, 4))
        assert first.files == tuple(sorted(map(str, files))) and first.patient_id == "p7"
        assert first.spacing_mm == pytest.approx((0.5, 0.75, 3.0))
        assert (second.number, second.plane) == (9, "sagittal")
        assert str(first) == f"2: 't2_tse_tra', MR, axial, 7x5x4, {first.series_uid}" and "p7" not in repr(first)

    def test_row04_what_is_no_image_is_passed_over_with_one_warning(self, tmp_path, write_series, caplog):
        def structured_report(k, dataset):
            dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"

        write_series(tmp_path / "image")
        write_series(tmp_path / "report", size=(7, 5, 1), change=structured_report)
        (tmp_path / "empty.dcm").touch()
        (tmp_path / "LICENSE").write_text("text")
        (tmp_path / ".DS_Store").write_bytes(b"hidden")
        (tmp_path / "DICOMDIR").write_bytes(b"directory")
        assert len(scan_series(tmp_path)) == 1
        assert [record.getMessage()[:9] for record in caplog.records] == ["3 file(s)"]

    def test_a_real_dicomdir_is_passed_over(self, tmp_path):
        shutil.copy(pydicom.data.get_testdata_file("DICOMDIR"), tmp_path / "index")
        assert scan_series(tmp_path) == []

    def test_several_orientations_in_one_series_are_mixed(self, tmp_path, write_series):
        write_series(tmp_path, change=setting(ImageOrientationPatient=[1, 0, 0, 0, 0, -1]))
        assert scan_series(tmp_path)[0].plane == "mixed"

    def test_no_geometry(self, tmp_path, write_series):
        write_series(tmp_path, change=setting(ImageOrientationPatient_all=None, SeriesNumber_all=None))
        (record,) = scan_series(tmp_path)
        assert record.plane is None and record.spacing_mm is None and record.number is None
        assert str(record).startswith("no number") and "no geometry" in str(record)

    def test_links_are_followed_once(self, tmp_path, write_series):
        write_series(tmp_path / "elsewhere")
        (tmp_path / "patient").mkdir()
        os.symlink(tmp_path / "elsewhere", tmp_path / "patient" / "series")
        os.symlink(tmp_path / "patient", tmp_path / "elsewhere" / "back")
        assert len(list_files(tmp_path / "patient")) == 4

    def test_missing_path(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="path=.*nothing' does not exist"):
            scan_series(tmp_path / "nothing")


class TestSelect:
    SERIES = [info(1), info(2, "T2_sag", "sagittal"), info(3, "dwi", "axial")]

    @pytest.mark.parametrize(
        ("description", "plane", "number"),
        [("T2*", "axial", 1), (None, "sagittal", 2), ("t?_SAG", None, 2), ("dwi", None, 3)],
    )
    def test_the_one_that_matches(self, description, plane, number):
        assert select_series(self.SERIES, description, plane).number == number

    def test_only_one_needs_no_choice(self):
        assert select_series(self.SERIES[:1]).number == 1

    def test_several_are_listed(self):
        with pytest.raises(DicomError, match="several series match series='t2\\*', plane=None") as caught:
            select_series(self.SERIES, "t2*")
        text = str(caught.value)
        assert "1: 't2_tse_tra', MR, axial, 4x3x2, 1.1\n  2: 'T2_sag', MR, sagittal, 4x3x2, 1.2" in text
        assert "dwi" not in text
        assert '--series "t2*"' in text and "--plane axial" in text

    def test_none_lists_what_there_is(self):
        with pytest.raises(DicomError, match="no series matches series='adc', plane='axial'") as caught:
            select_series(self.SERIES, "adc", "axial")
        assert all(description in str(caught.value) for description in ("t2_tse_tra", "T2_sag", "dwi"))

    def test_bad_arguments(self):
        with pytest.raises(DicomError, match="there is no DICOM image series"):
            select_series([])
        with pytest.raises(ValueError, match=r"series=\[5\] must be a pattern"):
            select_series(self.SERIES, [5])
        with pytest.raises(ValueError, match="plane='axail'.*Did you mean 'axial'"):
            select_series(self.SERIES, plane="axail")


class TestRealSeries:
    @pytest.mark.parametrize(
        ("folder", "pattern", "plane"),
        [
            ("prostate3t_dicom/Prostate3T-03-0001", "t2*", "axial"),
            ("prostatex_dicom/ProstateX/ProstateX-0000", "t2*", "sagittal"),
            ("prostatex_dicom/ProstateX/ProstateX-0000", "t2*", "coronal"),
            ("hard_dicom/dicom2nifti/generic/anatomical/002_non_isotropic", None, "axial"),
        ],
    )
    def test_equal_to_simpleitk(self, shared_data, folder, pattern, plane):
        sitk = pytest.importorskip("SimpleITK")
        record = select_series(scan_series(shared_data / folder), pattern, plane)
        reader = sitk.ImageSeriesReader()
        parent = os.path.dirname(record.files[0])
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(parent, record.series_uid))
        image = reader.Execute()
        direction = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
        expected = np.eye(4)
        expected[:3] = np.diag([-1, -1, 1]) @ np.column_stack([direction, image.GetOrigin()])

        volume, affine, _ = read_series(record)
        assert np.allclose(volume, sitk.GetArrayFromImage(image).T, rtol=1e-6, atol=0)
        assert np.abs(affine - expected).max() < 1e-4

    @pytest.mark.parametrize(
        ("folder", "message"),
        [
            ("ProstateX-missing-slice", r"1 slice\(s\) missing.*between -15\.88 and -9\.88 mm"),
            (
                "ProstateX/ProstateX-0000/07-07-2011/6.000000-ep2ddifftraDYNDIST-69284",
                "lie at one position.*among 57 slices.*SequenceName",
            ),
        ],
    )
    def test_refused(self, shared_data, folder, message):
        with pytest.raises(DicomError, match=message):
            read_series(shared_data / "prostatex_dicom" / folder)

    def test_truncated_test_file_of_pydicom(self):
        file = pydicom.data.get_testdata_file("MR_truncated.dcm")
        with pytest.raises(DicomError, match="MR_truncated.dcm: PixelData has 8130 bytes.*truncated"):
            read_series(file)
