"""The acceptance table of DICOM in, rows 1 to 14, where no other file holds them: docs/dicom.md."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImaged
from pydicom.uid import ComputedRadiographyImageStorage, generate_uid

from monai_cdiff.data import (
    DicomError,
    DicomFileError,
    DicomGeometryError,
    DicomSelectionError,
    DicomSeriesReader,
    SourceRecord,
    read_series,
    scan_series,
    series_problems,
    source_record,
)
from monai_cdiff.transforms import ScaleIntensityPatientwise


def everywhere(**elements):
    """A change of the phantom: elements of all slices, from their index where the value is a function."""

    def change(k, dataset):
        for keyword, value in elements.items():
            setattr(dataset, keyword, value(k) if callable(value) else value)

    return change


def xray(folder: Path, stored: np.ndarray, **elements) -> Path:
    """A single CR image without a place in space."""
    folder.mkdir(parents=True, exist_ok=True)
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "1.2.3.4", "1.2.3"
    dataset.Modality, dataset.PatientID, dataset.SeriesNumber = "CR", "p", 1
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.PixelData = stored.astype("<u2").tobytes()
    dataset.update(elements)
    file = folder / f"{len(list(folder.iterdir()))}.dcm"
    dataset.save_as(file, enforce_file_format=True)
    return file


@pytest.mark.parametrize("number", [lambda k: k, lambda k: -k, lambda k: (7, 1, 9, 3)[k], lambda k: None])
def test_row01_instance_numbers_do_not_matter(tmp_path, write_series, phantom_values, number):
    write_series(tmp_path, change=everywhere(InstanceNumber=number))
    volume, affine, _ = read_series(tmp_path)
    assert np.abs(volume - phantom_values(affine, volume.shape)).max() < 0.003


def test_row02_modality_look_up_table(tmp_path, write_series):
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTData = [4, 0, 16], np.array([10, 20, 40, 80], "<u2").tobytes()

    def change(k, dataset):
        del dataset.RescaleSlope, dataset.RescaleIntercept
        dataset.ModalityLUTSequence, dataset.PixelRepresentation = [table], 0
        dataset.PixelData = np.full((5, 7), k, "<u2").tobytes()

    write_series(tmp_path, change=change)
    assert read_series(tmp_path)[0][3, 2].tolist() == [10, 20, 40, 80]


class TestRow03Selection:
    def test_row03_the_error_lists_what_there_is(self, tmp_path, write_series):
        write_series(tmp_path / "a", number=3)
        write_series(tmp_path / "b" / "c", number=12, description="t1_vibe")
        with pytest.raises(DicomSelectionError) as caught:
            read_series(tmp_path)
        for info in scan_series(tmp_path):
            line = f"{info.number}: '{info.description}', MR, axial, 7x5x4, {info.series_uid}"
            assert line in str(caught.value)

    def test_row03_by_uid_number_and_pattern(self, tmp_path, write_series):
        write_series(tmp_path, number=3)
        write_series(tmp_path, number=12, description="t1_vibe")
        wanted = scan_series(tmp_path)[1].series_uid
        for choice in ({"series_uid": wanted}, {"series": wanted}, {"series": "12"}, {"series": 12}, {"series": "T1*"}):
            record = read_series(tmp_path, **choice)[2]
            assert record.series_uid == wanted and len(record.files) == 4
        with pytest.raises(DicomSelectionError, match="no series matches.*series_uid='1.2'"):
            read_series(tmp_path, series_uid="1.2")

    def test_row03_a_dicomdir_stands_for_its_folder(self, tmp_path, write_series):
        write_series(tmp_path / "IMAGES")
        shutil.copy(pydicom.data.get_testdata_file("DICOMDIR"), tmp_path / "DICOMDIR")
        assert read_series(tmp_path / "DICOMDIR")[0].shape == (7, 5, 4)


class TestRow06Gaps:
    def missing(self, tmp_path, write_series):
        files = write_series(tmp_path, size=(7, 5, 6))
        files[2].unlink()

    def test_row06_refused_with_positions(self, tmp_path, write_series):
        self.missing(tmp_path, write_series)
        with pytest.raises(DicomGeometryError, match=r"1 slice\(s\) missing.*1 between 33\.00 and 39\.00 mm.*on_gap"):
            read_series(tmp_path)
        assert "1 slice(s) missing" in series_problems(scan_series(tmp_path)[0])[0]

    def test_row06_resampled_onto_the_regular_grid(self, tmp_path, write_series, phantom_values, caplog):
        self.missing(tmp_path, write_series)
        volume, affine, record = read_series(tmp_path, on_gap="resample")
        assert volume.shape == record.shape == (7, 5, 6) and affine[2, 2] == pytest.approx(3)
        assert np.abs(volume - phantom_values(affine, volume.shape)).max() < 0.005
        assert len(record.files) == len(record.positions) == 5 and "slice(s) missing" in caplog.text

    def test_row06_taken_as_they_are(self, tmp_path, write_series, caplog):
        self.missing(tmp_path, write_series)
        volume, affine, _ = read_series(tmp_path, on_gap="warn")
        assert volume.shape == (7, 5, 5) and affine[2, 2] == pytest.approx(15 / 4) and "on_gap='warn'" in caplog.text

    def test_row06_uneven_gaps_resampled(self, tmp_path, write_series, phantom_values):
        write_series(tmp_path, change=None)
        files = sorted(tmp_path.iterdir())
        for file in files:
            dataset = pydicom.dcmread(file)
            if dataset.InstanceNumber == 2:  # a slice that was acquired 1 mm too far
                dataset.ImagePositionPatient[2] += 1
                dataset.RescaleIntercept = float(dataset.RescaleIntercept) + 5
                dataset.save_as(file)
        volume, affine, _ = read_series(tmp_path, on_gap="resample")
        assert np.abs(volume - phantom_values(affine, volume.shape)).max() < 0.005

    def test_row06_unknown_word(self, tmp_path):
        with pytest.raises(ValueError, match="on_gap='ignore'.*allowed"):
            read_series(tmp_path, on_gap="ignore")


def test_row07_gantry_tilt_is_an_exact_shear(tmp_path, write_series, caplog):
    def change(k, dataset):
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y + 0.5 * k, z]
        dataset.RescaleIntercept = round(float(dataset.RescaleIntercept) - k, 6)  # the phantom falls by 2 per mm of y

    write_series(tmp_path, change=change)
    volume, affine, _ = read_series(tmp_path)
    assert affine[:3, 2] == pytest.approx([0, -0.5, 3]) and "9.5 degrees" in caplog.text
    index = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), -1)
    lps = (index @ affine[:3, :3].T + affine[:3, 3]) * [-1, -1, 1]
    assert np.abs(volume - (1000 + lps @ [3, -2, 5])).max() < 0.005


class TestRow08SeveralAtOnePlace:
    def two_echoes(self, folder, write_series):
        for echo in (10.0, 90.0):
            write_series(folder / str(echo), change=everywhere(EchoTime=echo, SeriesInstanceUID="1.2.3.4"))
        for file in (folder / "90.0").iterdir():
            dataset = pydicom.dcmread(file)
            dataset.RescaleIntercept = 2000
            dataset.save_as(file)

    def test_row08_identical_copies_are_dropped(self, tmp_path, write_series, caplog):
        files = write_series(tmp_path)
        dataset = pydicom.dcmread(files[1])
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.save_as(tmp_path / "copy.dcm")
        assert read_series(tmp_path)[0].shape == (7, 5, 4) and "1 copies of slices are passed over" in caplog.text

    def test_row08_what_differs_is_named(self, tmp_path, write_series):
        self.two_echoes(tmp_path, write_series)
        with pytest.raises(DicomGeometryError, match=r"EchoTime: 10(\.0)? and 90.*--select EchoTime=10"):
            read_series(tmp_path)

    @pytest.mark.parametrize("select", [{"EchoTime": 90}, {"EchoTime": "90.0"}, {"00180081": 90.0}])
    def test_row08_a_choice_reads_one(self, tmp_path, write_series, select):
        self.two_echoes(tmp_path, write_series)
        volume, _, record = read_series(tmp_path, select=select)
        assert volume.min() > 1900 and all("/90.0/" in file for file in record.files)

    def test_row08_a_choice_that_leaves_nothing_lists_the_values(self, tmp_path, write_series):
        self.two_echoes(tmp_path, write_series)
        with pytest.raises(DicomSelectionError, match=r"no slice has EchoTime=5; there are: 10.*\(4 slices\), 90"):
            read_series(tmp_path, select={"EchoTime": 5})
        with pytest.raises(ValueError, match="'EchoTim' is no element"):
            read_series(tmp_path, select={"EchoTim": 5})

    def test_row08_localizer_by_plane(self, tmp_path, write_series):
        for name, orientation in {"a": (1, 0, 0, 0, 1, 0), "c": (1, 0, 0, 0, 0, -1)}.items():
            write_series(tmp_path / name, orientation=orientation, change=everywhere(SeriesInstanceUID="1.2.3.4"))
        with pytest.raises(DicomGeometryError, match=r"ImageOrientationPatient differs.*4 axial, 4 coronal"):
            read_series(tmp_path)
        assert all("/c/" in file for file in read_series(tmp_path, plane="coronal")[2].files)
        with pytest.raises(DicomSelectionError, match="no series matches"):
            read_series(tmp_path, plane="sagittal")

    def test_row08_real_series(self, shared_data):
        study = shared_data / "prostatex_dicom" / "ProstateX"
        volume, _, record = read_series(study / "ProstateX-0000", series="6", select={"SequenceName": "*ep_b400t"})
        assert volume.shape[2] == len(record.files) == 19
        assert read_series(study / "ProstateX-0218", series="7", select={"EchoTime": 4.8})[0].shape[2] == 36
        with pytest.raises(DicomGeometryError, match="differ in nothing but numbers of instances"):
            read_series(shared_data / "hard_dicom" / "dicom2nifti" / "ge" / "fmri" / "001")


class TestRow09MultiFrame:
    @pytest.mark.parametrize("part", ["hyperfine", "siemens_multiframe"])
    def test_row09_equal_to_simpleitk(self, shared_data, part):
        sitk = pytest.importorskip("SimpleITK")
        (file,) = [f for f in (shared_data / "hard_dicom" / "dicom2nifti" / part).rglob("*") if f.is_file()]
        volume, affine, record = read_series(file)
        image = sitk.ReadImage(str(file))
        values = sitk.GetArrayFromImage(image).T
        if affine[:3, 2] @ (np.array(image.GetDirection()).reshape(3, 3)[:, 2] * [-1, -1, 1]) < 0:
            values = values[..., ::-1]
        assert np.array_equal(volume, values.astype(np.float32)) and record.files == (str(file),) * volume.shape[2]
        spacing = np.array(image.GetSpacing())
        assert np.linalg.norm(affine[:3, :2], axis=0) == pytest.approx(spacing[:2], rel=1e-4)

    def test_row09_values_and_places_of_each_frame(self, shared_data):
        (file,) = (shared_data / "hard_dicom" / "dicom2nifti" / "hyperfine").rglob("*.dcm")
        dataset = pydicom.dcmread(file)
        volume, affine, record = read_series(file)
        for k, frame in enumerate(record.frames):
            group = dataset.PerFrameFunctionalGroupsSequence[frame - 1]
            place = [float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient]
            assert record.positions[k] == pytest.approx(place)
            assert (affine @ [0, 0, k, 1])[:3] * [-1, -1, 1] == pytest.approx(place, abs=0.01)
            assert np.allclose(volume[..., k], dataset.pixel_array[frame - 1].T, rtol=0.2)

    def test_row09_several_volumes(self, shared_data):
        enhanced = shared_data / "hard_dicom" / "dcm_qa_enh"
        with pytest.raises(DicomGeometryError, match="lie at one position.*EchoTime: 1.52 and 0"):
            read_series(enhanced / "Philips")
        assert read_series(enhanced / "Philips", select={"EffectiveEchoTime": 1.52})[0].shape == (64, 64, 32)
        xa10 = read_series(enhanced / "Siemens" / "XA10", select={"TemporalPositionIndex": 2})
        assert xa10[0].shape[2] == 6 and len(set(xa10[2].files)) == 1


@pytest.mark.filterwarnings("ignore")
def test_row05_every_test_file_of_pydicom_is_an_image_or_refused_by_name():
    outcomes = []
    for file in sorted(Path(pydicom.data.__file__).parent.rglob("test_files/*")):
        if file.is_file():
            try:
                outcomes.append(np.isfinite(read_series(file)[0]).all())
            except DicomError as error:
                assert file.name in str(error)
    assert all(outcomes) and len(outcomes) > 15


class TestRow11XRays:
    STORED = np.arange(12).reshape(3, 4)

    @pytest.mark.parametrize(
        ("elements", "spacing"),
        [
            ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.4, 0.4]}, (0.1, 0.2)),
            ({"ImagerPixelSpacing": [0.3, 0.15]}, (0.15, 0.3)),
            ({"NominalScannedPixelSpacing": [0.5, 0.5]}, (0.5, 0.5)),
        ],
    )
    def test_row11_spacing_in_the_affine(self, tmp_path, elements, spacing):
        image, affine, record = read_series(xray(tmp_path, self.STORED, **elements))
        assert np.array_equal(image, self.STORED.T) and record.shape == (4, 3) and record.positions == ()
        assert np.array_equal(affine, np.diag([-spacing[0], -spacing[1], 1, 1]))

    def test_row11_without_spacing_warns(self, tmp_path, caplog):
        assert np.array_equal(read_series(xray(tmp_path, self.STORED))[1], np.diag([-1.0, -1, 1, 1]))
        assert "1 mm is taken" in caplog.text

    def test_row11_monochrome1_is_inverted_in_its_stored_range(self, tmp_path):
        file = xray(tmp_path, self.STORED, PhotometricInterpretation="MONOCHROME1", PixelSpacing=[1, 1])
        image, _, record = read_series(file)
        assert np.array_equal(image, 4095 - self.STORED.T) and record.photometric == "MONOCHROME1"

    def test_row11_two_images_are_no_volume(self, tmp_path):
        files = [xray(tmp_path, self.STORED, PixelSpacing=[1, 1]) for _ in range(2)]
        with pytest.raises(DicomSelectionError, match="2 images without a place in space.*Give one file"):
            read_series(tmp_path)
        assert series_problems(scan_series(tmp_path)[0]) == []
        assert read_series(files[1])[0].shape == (4, 3)

    def test_row11_through_loadimaged(self, tmp_path):
        file = xray(tmp_path, self.STORED, PixelSpacing=[0.2, 0.1])
        loaded = LoadImaged("image", reader=DicomSeriesReader(), ensure_channel_first=True)({"image": str(file)})
        assert loaded["image"].shape == (1, 4, 3) and loaded["image"].pixdim.tolist() == pytest.approx([0.1, 0.2])


class TestRow12WithAndWithoutItk:
    SCRIPT = (
        "import sys, hashlib; {block}\n"
        "from monai.transforms import LoadImaged; from monai_cdiff.data import DicomSeriesReader\n"
        "load = LoadImaged('image', reader=DicomSeriesReader(), ensure_channel_first=True)\n"
        "image = load({{'image': sys.argv[1]}})['image']\n"
        "print(hashlib.sha256(image.numpy().tobytes()).hexdigest(), image.affine.tolist())"
    )

    @pytest.mark.slow
    def test_row12_the_same_result(self, tmp_path, write_series):
        write_series(tmp_path / "series")
        outcomes = set()
        stub = tmp_path / "stub" / "itk"
        stub.mkdir(parents=True)
        (stub / "__init__.py").write_text("def __getattr__(name): raise RuntimeError('itk was used: ' + name)\n")
        for block in ("sys.modules['itk'] = None", f"sys.path.insert(0, {str(stub.parent)!r})"):
            words = [sys.executable, "-c", self.SCRIPT.format(block=block), str(tmp_path / "series")]
            outcomes.add(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        assert len(outcomes) == 1

    def test_row12_a_refusal_is_not_swallowed(self, tmp_path, write_series):
        write_series(tmp_path)[2].unlink()
        with pytest.raises(DicomGeometryError, match="missing"):
            LoadImaged("image", reader=DicomSeriesReader())({"image": str(tmp_path)})


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"ImagePositionPatient": ["nan", "0", "0"]}, "ImagePositionPatient.*malformed"),
        ({"ImagePositionPatient": ["1e9", "0", "0"]}, r"ImagePositionPatient.*beyond 1e\+06 mm"),
        ({"PixelSpacing": ["-1", "1"]}, "PixelSpacing.*greater than 0"),
        ({"PixelSpacing": ["abc", "1"]}, "PixelSpacing.*malformed"),
        ({"RescaleSlope": "nan"}, "RescaleSlope=.*must be a finite number"),
        ({"RescaleIntercept": "1e30"}, "RescaleIntercept=.*must be a finite number"),
        ({"Rows": 65535, "Columns": 65535}, "declares 8589672450 bytes of pixels"),
        ({"BitsStored": 17}, "BitsStored=17 must be from 1 to BitsAllocated"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_row13_hostile_values_name_file_element_and_value(tmp_path, write_series, elements, message):
    files = write_series(tmp_path)
    dataset = pydicom.dcmread(files[1])
    with pydicom.config.disable_value_validation():
        for keyword, value in elements.items():
            if isinstance(value, int):
                setattr(dataset, keyword, value)
            else:
                raw = "\\".join([value] if isinstance(value, str) else value).encode()
                tag = pydicom.tag.Tag(keyword)
                dataset._dict[tag] = pydicom.dataelem.RawDataElement(
                    tag, "DS", len(raw) + len(raw) % 2, raw + b" " * (len(raw) % 2), 0, False, True
                )
        dataset.save_as(files[1])
    with pytest.raises(DicomFileError, match=f"{files[1].name}: .*{message}"):
        read_series(tmp_path)


class TestRow14Padding:
    def padded(self, folder, write_series):
        def change(k, dataset):
            stored = np.full((5, 7), 100 + 10 * k, "<i2")
            stored[0], stored[1] = -2000, 900
            dataset.PixelData, dataset.PixelPaddingValue = stored.tobytes(), -2000
            dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024

        write_series(folder, change=change)

    def test_row14_is_told_apart(self, tmp_path, write_series):
        self.padded(tmp_path, write_series)
        volume, _, record = read_series(tmp_path)
        assert volume[0, 0, 0] == -3024  # left in the image
        assert record.padding == (-3024,) and record.valid_range == (-924, -124)
        assert source_record(tmp_path).valid_range is None  # headers alone do not tell
        assert SourceRecord.from_json(record.to_json()) == record

    def test_row14_is_out_of_the_statistics(self, tmp_path, write_series):
        self.padded(tmp_path, write_series)
        image = LoadImaged("image", reader=DicomSeriesReader(), ensure_channel_first=True)({"image": str(tmp_path)})
        assert json.loads(image["image"].meta["padding"]) == {"values": [-3024.0], "valid_range": [-924.0, -124.0]}
        assert ScaleIntensityPatientwise(0, 100).intensity_range(image["image"]) == (-924, -124)
        blended = MetaTensor(image["image"].clone(), meta=image["image"].meta)
        blended[0, 0, 0, 0] = -1500  # between padding and image, as interpolation makes it
        assert ScaleIntensityPatientwise(0, 100).intensity_range(blended) == (-924, -124)

    def test_row14_a_padding_value_that_is_given_counts(self):
        image = MetaTensor(torch.tensor([[[1.0, 5.0, 9.0]]]), meta={"padding": '{"values": [], "valid_range": [2, 9]}'})
        assert ScaleIntensityPatientwise(0, 100, padding_value=9).intensity_range(image) == (1, 5)

    def test_row14_no_padding_is_none(self, tmp_path, write_series):
        write_series(tmp_path)
        assert DicomSeriesReader().get_data((str(tmp_path),))[1]["padding"] == "none"
