from __future__ import annotations

import json

import numpy as np
import pydicom
import pytest
from PIL import Image

from monai_cdiff.data import make_datalist

SAGITTAL = (0, 1, 0, 0, 0, -1)
SPLITS = ("training", "validation", "test")


@pytest.fixture
def patients(tmp_path, write_nifti):
    """Six patient folders with a T1 and a T2 each."""
    for i in range(6):
        for j, kind in enumerate(("t1", "t2")):
            write_nifti(tmp_path / "nifti" / f"p{i}" / "scan" / f"{i}_{kind}.nii.gz", 10 * i + j)
    return tmp_path / "nifti"


@pytest.fixture
def studies(tmp_path, write_series):
    for name in "abcd":
        write_series(tmp_path / "dicom" / name / "4", patient=f"ID-{name}", study=f"1.{ord(name)}")
        here = {"patient": f"ID-{name}", "study": f"1.{ord(name)}", "number": 5, "description": "t1"}
        write_series(tmp_path / "dicom" / name / "5", orientation=SAGITTAL, **here)
    return tmp_path / "dicom"


def items_of(datalist):
    return [item for split in SPLITS for item in datalist[split]]


class TestNifti:
    def test_the_split_is_that_of_make_datalist(self, patients, listed, tmp_path):
        datalist, _ = listed("folder", patients, "--seed", "3")
        read = make_datalist(tmp_path / "out" / "list.json")
        assert read == make_datalist(patients, seed=3) and len(items_of(datalist)) == 12

    def test_name_and_plane(self, patients, listed, write_nifti):
        sagittal = [[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
        write_nifti(patients / "p7" / "7_t2.nii.gz", 70, affine=sagittal)
        datalist, report = listed("folder", patients, "--name", "*_T2.nii.gz", "--plane", "axial")
        assert all(item["image"].endswith("_t2.nii.gz") for item in items_of(datalist)) and len(items_of(datalist)) == 6
        reasons = {skip["path"].split("/")[-1]: skip["reason"] for skip in report["skipped"]}
        assert reasons["7_t2.nii.gz"] == "the slices are not axial"
        assert reasons["1_t1.nii.gz"] == "not of --name '*_T2.nii.gz'"

    def test_time_series(self, patients, listed, write_nifti):
        write_nifti(patients / "p7" / "time.nii.gz", 70, shape=(3, 4, 5, 2))
        _, report = listed("folder", patients)
        assert [skip["reason"] for skip in report["skipped"]] == ["size (3, 4, 5, 2); allowed are two or three axes"]

    def test_subject_pattern(self, patients, listed, write_nifti):
        write_nifti(patients / "odd.nii.gz", 80)
        datalist, report = listed("folder", patients, "--subject-pattern", r"(\d)_t")
        assert {item["subject"] for item in items_of(datalist)} == set("012345")
        assert "finds no patient in the path" in report["skipped"][0]["reason"]

    def test_loose_files_are_patients(self, tmp_path, listed, write_nifti):
        for i, name in enumerate(["a.nii.gz", "b.c.nii", "d.nii", "e.nii.gz"]):
            write_nifti(tmp_path / "loose" / name, i)
        datalist, _ = listed("folder", tmp_path / "loose")
        assert {item["subject"] for item in items_of(datalist)} == {"a", "b.c", "d", "e"}

    def test_decathlon_folders(self, tmp_path, listed, prepare, write_nifti):
        for i in range(4):
            write_nifti(tmp_path / "task" / "imagesTr" / f"case_{i}.nii.gz", i)
            write_nifti(tmp_path / "task" / "labelsTr" / f"case_{i}.nii.gz", 100 + i)
        code, _, err = prepare("folder", tmp_path / "task", tmp_path / "list.json")
        assert code == 2 and "the folder 'imagesTr' is no patient. Give it as ROOT, where each file is a patient" in err
        datalist, report = listed("folder", tmp_path / "task", "--subject-pattern", r"case_(\d+)")
        assert {item["subject"] for item in items_of(datalist)} == set("0123")
        assert {skip["reason"] for skip in report["skipped"]} == {"in a folder of labels"}
        read = items_of(make_datalist(tmp_path / "out" / "list.json", required=["label"]))
        for item in read:
            assert item["label"] == item["image"].replace("imagesTr", "labelsTr")

    @pytest.mark.parametrize("images, labels", [("images", "labels"), ("imagesTr", "labelsTr"), ("Images", "Labels")])
    def test_labels_beside_the_folder_that_is_given(self, images, labels, tmp_path, listed, write_nifti, capsys):
        for i in range(4):
            write_nifti(tmp_path / "task" / images / "site" / f"case_{i}.nii.gz", i)
        for i in range(3):
            write_nifti(tmp_path / "task" / labels / "site" / f"case_{i}.nii.gz", 100 + i)
        datalist, _ = listed("folder", tmp_path / "task" / images, "--subject-pattern", r"case_(\d+)")
        found = {item["subject"]: item.get("label") for item in items_of(datalist)}
        assert found.pop("3") is None
        assert found == {str(i): f"../task/{labels}/site/case_{i}.nii.gz" for i in range(3)}

    def test_a_label_is_no_label_of_images_elsewhere(self, patients, listed, write_nifti):
        write_nifti(patients.parent / "labels" / "p0" / "scan" / "0_t1.nii.gz", 7)
        datalist, _ = listed("folder", patients)
        assert not any("label" in item for item in items_of(datalist))

    def test_real_images(self, shared_data, listed, tmp_path):
        datalist, _ = listed("folder", shared_data / "msd_hippocampus" / "images")
        assert [len(datalist[split]) for split in SPLITS] == [22, 4, 4]
        assert len(make_datalist(tmp_path / "out" / "list.json", required=["label"])["training"]) == 22


class TestDicom:
    def test_filters(self, studies, listed, tmp_path):
        datalist, report = listed("folder", studies, "--series", "T2*", "--plane", "axial", "--modality", "MR")
        assert all("/4/" in item["image"][0] and len(item["image"]) == 4 for item in items_of(datalist))
        assert {skip["reason"] for skip in report["skipped"]} == {"not of --series 'T2*'; plane sagittal, not axial"}
        assert make_datalist(tmp_path / "out" / "list.json") == make_datalist(studies, series="t2*", plane="axial")

    def test_modality(self, studies, prepare, tmp_path):
        code, _, err = prepare("folder", studies, tmp_path / "list.json", "--modality", "CT")
        assert code == 2 and "no matching image." in err and "8 x modality MR, not CT" in err

    def test_all_series_of_a_patient_stay_together(self, studies, listed):
        datalist, report = listed("folder", studies)
        assert len(items_of(datalist)) == 8 and sum(s["subjects"] for s in report["splits"].values()) == 4

    def test_subject_pattern_where_there_is_no_patient_id(self, studies, listed, write_series):
        write_series(studies / "nobody" / "4", patient="", study="1.5")
        _, report = listed("folder", studies)
        assert "the header has no PatientID" in report["skipped"][0]["reason"]
        datalist, _ = listed("folder", studies, "--subject-pattern", "^(nobody)/", "--overwrite")
        assert sorted({item["subject"][:4] for item in items_of(datalist)}) == ["nobo", "sub-"]

    def test_each_x_ray_of_a_series_is_an_image(self, tmp_path, listed):
        from dicom_images import image

        for i in range(6):
            place = tmp_path / "cr" / f"{i}.dcm"
            place.parent.mkdir(exist_ok=True)
            kind = pydicom.uid.ComputedRadiographyImageStorage
            who = i // 2
            patient = {"PatientID": f"p{who}", "SeriesInstanceUID": f"1.2.{who}", "StudyInstanceUID": f"1.{who}"}
            picture = image((4, 5), SOPClassUID=kind, Modality="CR", PixelSpacing=[1, 1], **patient)
            picture.PixelData = bytes([i]) + picture.PixelData[1:]
            picture.save_as(place, enforce_file_format=True)
        datalist, _ = listed("folder", tmp_path / "cr")
        assert len(items_of(datalist)) == 6 and all(isinstance(item["image"], str) for item in items_of(datalist))
        assert len(make_datalist(tmp_path / "out" / "list.json")["test"]) == 2

    def test_damaged_files(self, studies, prepare, tmp_path):
        pixels = sorted((studies / "a" / "4").iterdir())[0]
        pixels.write_bytes(pixels.read_bytes()[:-20])
        words = ("folder", studies, tmp_path / "list.json", "--series", "t2*")
        code, _, err = prepare(*words)
        assert code == 2 and str(pixels) in err and "--skip-unreadable leaves out its series." in err
        header = sorted((studies / "b" / "4").iterdir())[0]
        header.write_bytes(header.read_bytes()[:400])
        code, _, err = prepare(*words)
        assert code == 2 and f"{header}: " in err and "--skip-unreadable leaves it out." in err
        assert prepare(*words, "--skip-unreadable", "--allow-empty")[0] == 0
        report = json.loads((tmp_path / "list.report.json").read_text())
        reasons = {skip["path"]: skip["reason"] for skip in report["skipped"]}
        assert reasons[str(header)].startswith("cannot be read: ")
        assert reasons[str(header.parent)].endswith(f"cannot be read, perhaps one of its slices: {header}")
        assert reasons[str(pixels.parent)].startswith("cannot be read: ")
        assert {taken["path"].split("/")[-3] for taken in report["taken"]} == {"c", "d"}


class TestPictures:
    def test_every_format_that_the_bundles_read(self, tmp_path, listed, write_jpeg):
        for i in range(8):
            write_jpeg(tmp_path / "flat" / f"p{i // 2}" / f"{i}.{('png', 'jpeg', 'tif', 'bmp')[i % 4]}", i)
        datalist, _ = listed("folder", tmp_path / "flat")
        assert sorted(item["subject"] for item in items_of(datalist)) == sorted(["p0", "p1", "p2", "p3"] * 2)
        assert len(make_datalist(tmp_path / "out" / "list.json")["test"]) == 2

    def test_colour_is_found_before_the_training_does(self, tmp_path, prepare, write_jpeg):
        for i in range(3):
            write_jpeg(tmp_path / "flat" / f"p{i}" / "a.png", i)
        colours = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(colours).save(tmp_path / "flat" / "p0" / "b.png")
        code, _, err = prepare("folder", tmp_path / "flat", tmp_path / "list.json")
        assert code == 2 and "b.png: cannot be read: " in err and "colour" in err
        assert prepare("folder", tmp_path / "flat", tmp_path / "list.json", "--skip-unreadable")[0] == 0

    def test_no_plane_no_series(self, tmp_path, prepare, write_jpeg):
        write_jpeg(tmp_path / "flat" / "a.png")
        for option, reason in [("--plane", "has no plane to match"), ("--modality", "no series and modality to match")]:
            code, _, err = prepare("folder", tmp_path / "flat", tmp_path / "list.json", option, "axial")
            assert code == 2 and reason in err


class TestFormats:
    def test_several_need_a_choice(self, patients, studies, listed, prepare, tmp_path):
        code, _, err = prepare("folder", patients, studies, tmp_path / "list.json")
        assert code == 2 and "there are images of the formats dicom and nifti; choose one by --format." in err
        datalist, report = listed("folder", patients, studies, "--format", "nifti")
        assert len(items_of(datalist)) == 12
        assert {skip["reason"] for skip in report["skipped"]} == {"not of --format nifti"}

    def test_mixed_dimensions(self, patients, prepare, tmp_path, write_nifti):
        write_nifti(patients / "p7" / "flat.nii.gz", 70, shape=(3, 4))
        code, _, err = prepare("folder", patients, tmp_path / "list.json")
        assert code == 2 and "images of two and three dimensions are mixed: " in err and "flat.nii.gz and " in err

    @pytest.mark.parametrize(("pattern", "message"), [("(", "is no regular expression"), (r"p\d", "has no group")])
    def test_bad_pattern(self, patients, prepare, tmp_path, pattern, message):
        code, _, err = prepare("folder", patients, tmp_path / "list.json", "--subject-pattern", pattern)
        assert code == 2 and f"--subject-pattern {pattern!r} {message}" in err
