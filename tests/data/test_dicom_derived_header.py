"""What the header of a derived series says: whose it is, from what it was made, and how."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEGBaseline8Bit

from contracts.dicom_sources import write_projection, write_stack
from monai_cdiff.data import (
    Derivation,
    DicomError,
    check_writable,
    scan_series,
    series_problems,
    source_record,
    write_derived,
)

SETTINGS = {"bundle": "sr 0.1", "model_sha256": "ab" * 32, "num_inference_steps": 8, "seed": 3, "mask": None}
DONE = Derivation("in-plane super-resolution by factor 4", "sr", SETTINGS, codes=("SpatialResampling",))


def _headers(folder):
    return [pydicom.dcmread(file) for file in sorted(folder.glob("*.dcm"))]


def test_row16_patient_study_and_frame_stay_and_the_series_is_new(tmp_path):
    values, affine, record = write_stack(tmp_path / "in")
    new, old = _headers(write_derived(values, affine, record, tmp_path / "out", DONE)), _headers(tmp_path / "in")
    for name in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID", "AccessionNumber", "StudyID"):
        assert {dataset[name].value for dataset in new} == {old[0][name].value}
    assert len({dataset.SeriesInstanceUID for dataset in new}) == 1
    assert new[0].SeriesInstanceUID != old[0].SeriesInstanceUID and {dataset.SeriesNumber for dataset in new} == {1004}
    uids = {dataset.SOPInstanceUID for dataset in new}
    assert len(uids) == 5 and not uids & {dataset.SOPInstanceUID for dataset in old}
    for dataset in new:
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert dataset.file_meta.MediaStorageSOPClassUID == dataset.SOPClassUID == old[0].SOPClassUID


def test_row16_series_numbers_of_images_and_maps_differ(tmp_path):
    values, affine, record = write_stack(tmp_path / "in")
    spread = Derivation("spread of 4 samples", "std", quantity="standard deviation")
    folders = [write_derived(values, affine, record, tmp_path / "out", spread)]
    folders += [write_derived(values, affine, record, tmp_path / "out", DONE, name="x", series_number=7)]
    assert [_headers(folder)[0].SeriesNumber for folder in folders] == [2004, 7]
    with pytest.raises(DicomError, match="series_number=-1"):
        write_derived(values, affine, record, tmp_path / "out", DONE, name="y", series_number=-1)


def test_row16_private_elements_go_in_sequences_too(tmp_path):
    values, affine, record = write_stack(tmp_path / "in")
    for file in record.files:
        dataset = pydicom.dcmread(file)
        item = pydicom.Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "99X", "x"
        item.private_block(0x0029, "MAKER", create=True).add_new(1, "LO", "secret")
        dataset.ProcedureCodeSequence = [item]
        dataset.private_block(0x0029, "MAKER", create=True).add_new(1, "LO", "secret")
        dataset.save_as(file)
    for dataset in _headers(write_derived(values, affine, record, tmp_path / "out", DONE)):
        assert dataset.ProcedureCodeSequence[0].CodeValue == "1"
        assert not [element.tag for element in dataset.iterall() if element.tag.is_private]


@pytest.mark.parametrize(
    "modality, before, after",
    [
        ("MR", ["ORIGINAL", "PRIMARY", "M", "ND"], ["DERIVED", "SECONDARY", "M"]),
        ("MR", ["ORIGINAL", "PRIMARY"], ["DERIVED", "SECONDARY", "OTHER"]),
        ("CT", ["ORIGINAL", "PRIMARY", "LOCALIZER"], ["DERIVED", "SECONDARY", "LOCALIZER"]),
        ("CT", ["ORIGINAL"], ["DERIVED", "SECONDARY", "AXIAL"]),
    ],
)
def test_row17_image_type(tmp_path, modality, before, after):
    values, affine, record = write_stack(tmp_path / "in", modality, ImageType=before)
    assert list(_headers(write_derived(values, affine, record, tmp_path / "out", DONE))[0].ImageType) == after


def test_row17_image_type_of_dx_has_an_empty_third_value(tmp_path):
    values, affine, record = write_projection(tmp_path / "in", "DX")
    assert list(pydicom.dcmread(write_derived(values, affine, record, tmp_path, DONE)).ImageType[2:]) == [""]


def test_row17_what_was_done_by_what_and_from_what(tmp_path):
    values, affine, record = write_stack(tmp_path / "in")
    new, old = _headers(write_derived(values, affine, record, tmp_path / "out", DONE)), _headers(tmp_path / "in")
    for dataset, source in zip(new, old):
        (item,) = dataset.SourceImageSequence
        assert item.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert item.ReferencedSOPClassUID == source.SOPClassUID and "ReferencedFrameNumber" not in item
        assert item.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        assert dataset.DerivationDescription == DONE.description and dataset["SyntheticData"].value == "YES"
        assert dataset.DerivationCodeSequence[0].CodeMeaning == "Spatial resampling"
        (equipment,) = dataset.ContributingEquipmentSequence
        assert equipment.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Processing Equipment"
        assert (equipment.Manufacturer, equipment.SoftwareVersions) == (DONE.software, DONE.version)
        assert equipment.ContributionDescription == f"{DONE.description}; {DONE.settings_text()}"
        assert dataset.SeriesDescription == "t2 sr"


def test_row17_between_two_slices_both_are_named_and_across_many_all(tmp_path):
    values, affine, record = write_stack(tmp_path / "in")
    finer = affine.copy()
    finer[:3, 2] /= 2
    new = _headers(write_derived(values, finer, record, tmp_path / "finer", DONE))
    assert [len(dataset.SourceImageSequence) for dataset in new] == [1, 2, 1, 2, 1]
    across = affine[:, [0, 2, 1, 3]]
    new = _headers(write_derived(values.transpose(0, 2, 1), across, record, tmp_path / "same", DONE))
    assert [len(dataset.SourceImageSequence) for dataset in new] == [1] * 5
    turned = affine.copy()
    turned[1:3, :3] = np.array([[0.8, -0.6], [0.6, 0.8]]) @ affine[1:3, :3]
    new = _headers(write_derived(values, turned, record, tmp_path / "turned", DONE))
    assert max(len(dataset.SourceImageSequence) for dataset in new) > 1


def test_row17_nothing_synthetic_is_not_marked(tmp_path):
    values, affine, record = write_stack(tmp_path / "in")
    done = Derivation("resampled", "rs", synthetic=False)
    assert "SyntheticData" not in _headers(write_derived(values, affine, record, tmp_path / "out", done))[0]


def test_row17_long_settings_are_all_there(tmp_path):
    values, affine, record = write_stack(tmp_path / "in")
    settings = {f"name{i}": "v" * 90 for i in range(40)}
    done = Derivation("a" * 1024, "sr", settings)
    items = _headers(write_derived(values, affine, record, tmp_path / "out", done))[0].ContributingEquipmentSequence
    texts = [item.ContributionDescription for item in items]
    assert "; ".join(texts) == f"{'a' * 1024}; {done.settings_text()}" and max(map(len, texts)) <= 1024
    for wrong, word in ((Derivation("a" * 1025, "sr"), "1 to 1024"), (Derivation("a", "sr" * 9), "1 to 16")):
        with pytest.raises(DicomError, match=word):
            write_derived(values, affine, record, tmp_path / "other", wrong)
    with pytest.raises(DicomError, match="CID 7203"):
        write_derived(values, affine, record, tmp_path / "other", Derivation("a", "b", codes=("Nonsense",)))
    assert not (tmp_path / "other").exists()


def test_row17_loss_in_one_source_slice_is_told_in_all(tmp_path):
    values, affine, record = write_stack(tmp_path / "in")
    dataset = pydicom.dcmread(record.files[3])
    dataset.LossyImageCompression, dataset.LossyImageCompressionRatio = "01", 12
    dataset.LossyImageCompressionMethod = "ISO_10918_1"
    dataset.save_as(record.files[3])
    for dataset in _headers(write_derived(values, affine, record, tmp_path / "out", DONE)):
        assert dataset.LossyImageCompression == "01" and dataset.LossyImageCompressionRatio == 12
        assert dataset.LossyImageCompressionMethod == "ISO_10918_1"


def test_row17_a_lossy_syntax_tells_of_loss_though_the_header_does_not(tmp_path):
    values, affine, record = write_projection(tmp_path / "in", "CR")
    dataset = pydicom.dcmread(record.files[0])
    dataset.PixelData, dataset.file_meta.TransferSyntaxUID = pydicom.encaps.encapsulate([b"\0" * 8]), JPEGBaseline8Bit
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(record.files[0])
    dataset = pydicom.dcmread(write_derived(values, affine, record, tmp_path, DONE))
    assert (dataset.LossyImageCompression, dataset.LossyImageCompressionMethod) == ("01", "ISO_10918_1")


@pytest.mark.parametrize("burned", ["YES", "NO", None])
def test_row17_burned_in_annotation_is_copied_never_invented(tmp_path, burned):
    values, affine, record = write_stack(tmp_path / "in", **({"BurnedInAnnotation": burned} if burned else {}))
    dataset = _headers(write_derived(values, affine, record, tmp_path / "out", DONE))[0]
    assert dataset.get("BurnedInAnnotation") == burned


@pytest.mark.parametrize(
    "change, word",
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4.1", "NumberOfFrames": 5}, "Enhanced MR Image Storage with 5 fr"),
        ({"NumberOfFrames": 2}, "MR Image Storage with 2 frame"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.128"}, "Positron Emission Tomography"),
    ],
)
def test_row09_what_cannot_be_written_is_refused_with_what_can(tmp_path, change, word):
    values, affine, record = write_stack(tmp_path / "in", **change)
    for call in (check_writable, lambda source: write_derived(values, affine, source, tmp_path / "out", DONE)):
        with pytest.raises(DicomError, match=f"(?s){word}.*CT, MR and single images of CR, DX"):
            call(record)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_row09_real_enhanced_images_are_read_and_not_written(tmp_path, shared_data):
    files = sorted(path for path in (shared_data / "hard_dicom" / "dcm_qa_enh").rglob("*") if path.is_file())
    found = [info for file in files for info in scan_series(file) if info.shape[2] > 1 and not series_problems(info)]
    assert found
    for info in found[:3]:
        with pytest.raises(DicomError, match="Enhanced .*one frame in a file"):
            check_writable(source_record(info))
