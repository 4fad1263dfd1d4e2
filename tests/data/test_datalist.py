from __future__ import annotations

import hashlib
import json
import logging
import os

import nibabel
import numpy as np
import pytest
from dicom_images import image
from PIL import Image
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalXRayImageStorageForPresentation,
    XRayAngiographicImageStorage,
)

from monai_cdiff.data import DicomError, DicomSeriesReader, make_datalist, summarize_datalist, write_datalist

X_RAYS = {
    "CR": ComputedRadiographyImageStorage,
    "DX": DigitalXRayImageStorageForPresentation,
    "MG": DigitalMammographyXRayImageStorageForPresentation,
    "XA": XRayAngiographicImageStorage,
}
SAGITTAL = (0, 1, 0, 0, 0, -1)


def write_nifti(path, shape=(3, 4, 5)):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.uint8), np.eye(4)), path)
    return path


def write_json(path, **lists):
    path.write_text(json.dumps(lists))
    return path


def split_of(datalist):
    return {item["subject"]: split for split, items in datalist.items() for item in items}


@pytest.fixture
def patients(tmp_path):
    """Ten patient folders of one NIfTI file each."""
    for i in range(10):
        write_nifti(tmp_path / "data" / f"p{i}" / "scan" / "t2.nii.gz")
    return tmp_path / "data"


class TestSplit:
    def test_every_subject_once_in_the_given_shares(self, patients):
        datalist = make_datalist(patients, fractions=(0.5, 0.2, 0.3))
        assert {split: len(items) for split, items in datalist.items()} == {"training": 5, "validation": 2, "test": 3}
        assert set(split_of(datalist)) == {f"p{i}" for i in range(10)}
        for item in datalist["training"]:
            assert item["image"] == str(patients / item["subject"] / "scan" / "t2.nii.gz")

    def test_depends_on_the_seed_and_the_subjects_only(self, patients, tmp_path):
        first = make_datalist(str(patients), seed=3)
        assert make_datalist(patients, seed=3) == first
        assert any(split_of(make_datalist(patients, seed=seed)) != split_of(first) for seed in range(3))
        (tmp_path / "more").mkdir()
        for name in ("p1", "p8"):
            os.rename(patients / name, tmp_path / "more" / name)
        for folders in ([patients, tmp_path / "more"], [tmp_path / "more", patients]):
            assert split_of(make_datalist(folders, seed=3)) == split_of(first)

    @pytest.mark.parametrize("count", range(3, 9))
    @pytest.mark.parametrize("fractions", [(0.7, 0.15, 0.15), (0.02, 0.49, 0.49), (0.98, 0.01, 0.01)])
    def test_no_split_is_empty(self, tmp_path, count, fractions):
        for i in range(count):
            write_nifti(tmp_path / f"s{i}.nii")
        datalist = make_datalist(tmp_path, fractions=fractions)
        assert all(datalist.values()) and len(split_of(datalist)) == count

    def test_fewer_than_three_subjects(self, tmp_path):
        for name in ("a/1.nii", "a/2.nii", "b/1.nii"):
            write_nifti(tmp_path / name)
        with pytest.raises(ValueError, match=r"3 image\(s\) of 2 subject\(s\).*at least 3.*datalist JSON"):
            make_datalist(tmp_path)

    @pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.5, 0.4, 0.2), (1.0, 0.0, 0.0), (0.5, "x", 0.5), "abc", 0.7])
    def test_bad_fractions(self, patients, fractions):
        with pytest.raises(ValueError, match="fractions="):
            make_datalist(patients, fractions=fractions)

    def test_bad_seed(self, patients):
        with pytest.raises(ValueError, match="seed='x' must be a whole number"):
            make_datalist(patients, seed="x")


class TestNifti:
    def test_all_files_of_a_patient_stay_together(self, patients):
        write_nifti(patients / "p3" / "deep" / "er" / "second.nii")
        datalist = make_datalist(patients)
        split = split_of(datalist)["p3"]
        assert [item["subject"] for item in datalist[split]].count("p3") == 2

    def test_loose_files_are_subjects(self, tmp_path):
        for name in ("a.nii.gz", "b.c.nii", "d.NII"):
            write_nifti(tmp_path / name)
        assert set(split_of(make_datalist(tmp_path))) == {"a", "b.c", "d"}

    def test_two_and_three_dimensions(self, patients):
        flat = write_nifti(patients / "p2" / "flat.nii", shape=(3, 4))
        with pytest.raises(ValueError, match=f"two and of three dimensions are mixed: {flat} and {patients}"):
            make_datalist(patients)

    def test_single_slice_volumes_are_volumes(self, patients):
        write_nifti(patients / "p2" / "thin.nii", shape=(3, 4, 1))
        write_nifti(patients / "p2" / "channel.nii", shape=(3, 4, 2, 1))
        assert len(split_of(make_datalist(patients))) == 10

    def test_time_series(self, patients):
        write_nifti(patients / "p2" / "time.nii", shape=(3, 4, 5, 2))
        with pytest.raises(ValueError, match=r"time.nii: has shape \(3, 4, 5, 2\); allowed are two or three axes"):
            make_datalist(patients)

    def test_damaged_header(self, patients):
        (patients / "p2" / "bad.nii").write_bytes(b"no header")
        with pytest.raises(ValueError, match="bad.nii: the NIfTI header cannot be read"):
            make_datalist(patients)

    def test_decathlon_folders_are_no_patients(self, tmp_path):
        for name in ("imagesTr/a.nii", "imagesTs/b.nii", "labelsTr/a.nii"):
            write_nifti(tmp_path / name)
        with pytest.raises(ValueError, match="imagesTr: a folder of this name is no patient folder.*dataset_dir"):
            make_datalist(tmp_path)


class TestDicom:
    @pytest.fixture
    def studies(self, tmp_path, write_series):
        """Four patients with two series each; two folders belong to one of them."""
        folder = tmp_path / "dicom"
        for name, patient in (("a", "Jane"), ("b", "John"), ("c", "Jim"), ("d", "June"), ("e", "Jane")):
            write_series(folder / name / "4", patient=patient, study=f"1.{ord(name)}", number=4)
            write_series(folder / name / "5", patient=patient, study=f"1.{ord(name)}", number=5, orientation=SAGITTAL)
        return folder

    def test_one_series_of_each_study_and_no_identity(self, studies):
        datalist = make_datalist(studies, series="t2*", plane="axial")
        items = [item for split in datalist.values() for item in split]
        assert len(items) == 5 and len(split_of(datalist)) == 4
        assert all(sorted(item["image"]) == item["image"] and len(item["image"]) == 4 for item in items)
        assert all(os.path.basename(os.path.dirname(item["image"][0])) == "4" for item in items)
        subjects = {item["image"][0].split(os.sep)[-3]: item["subject"] for item in items}
        for name, patient in (("a", "Jane"), ("b", "John"), ("c", "Jim"), ("d", "June"), ("e", "Jane")):
            assert subjects[name] == "sub-" + hashlib.blake2b(patient.encode(), digest_size=4).hexdigest()

    def test_ambiguous_patient_folder_lists_its_series(self, studies):
        with pytest.raises(DicomError, match=f"{studies}/a: several series match") as caught:
            make_datalist(studies, series="t2*")
        for line in ("4: 't2_tse_tra', MR, axial, 7x5x4, ", "5: 't2_tse_tra', MR, sagittal, 7x5x4, "):
            assert line in str(caught.value)

    def test_filters_that_leave_nothing_name_what_there_is(self, studies):
        with pytest.raises(DicomError, match=f"{studies}/a: no series matches series='adc'") as caught:
            make_datalist(studies, series="adc")
        assert "4: 't2_tse_tra'" in str(caught.value)

    def test_wrong_plane(self, studies):
        with pytest.raises(ValueError, match="plane='tra' is not supported"):
            make_datalist(studies, plane="tra")

    def test_every_study_of_a_patient_counts(self, studies, write_series, caplog):
        write_series(studies / "b" / "follow-up", patient="John", study="1.9", number=4)
        write_series(studies / "c" / "follow-up", patient="Jim", study="1.8", number=2, description="scout")
        datalist = make_datalist(studies, series="t2*", plane="axial")
        assert sum(map(len, datalist.values())) == 6
        assert f"{studies}/c: 1 studies have no matching series" in caplog.text

    def test_empty_patient_folder(self, studies):
        (studies / "z").mkdir()
        (studies / "z" / "notes.txt").write_text("nothing")
        with pytest.raises(ValueError, match=f"{studies}/z: an empty patient folder"):
            make_datalist(studies, plane="axial")

    def test_nifti_and_dicom_in_one_patient_folder(self, studies):
        write_nifti(studies / "b" / "x.nii")
        with pytest.raises(ValueError, match=f"{studies}/b: holds both NIfTI .*x.nii. and DICOM"):
            make_datalist(studies, plane="axial")

    def test_files_beside_the_patient_folders(self, studies, write_series):
        write_series(studies)
        with pytest.raises(ValueError, match="DICOM files beside its patient folders"):
            make_datalist(studies, plane="axial")

    def test_no_patient_id(self, studies, write_series):
        write_series(studies / "f", patient="")
        with pytest.raises(ValueError, match='no PatientID.*datalist JSON.*"subject"'):
            make_datalist(studies, plane="axial")

    def test_dicom_and_flat_images_do_not_mix(self, studies, tmp_path):
        write_nifti(tmp_path / "flat" / "s.nii", shape=(3, 4))
        with pytest.raises(ValueError, match="two and of three dimensions"):
            make_datalist([studies, tmp_path / "flat"], plane="axial")

    @pytest.mark.parametrize(("modality", "sop_class"), X_RAYS.items())
    def test_each_file_of_an_x_ray_series_is_an_image(self, modality, sop_class, tmp_path):
        for patient in "abc":
            for side in ("left", "right"):
                x_ray = image((6, 5), SOPClassUID=sop_class, Modality=modality, PatientID=patient)
                x_ray.StudyInstanceUID = x_ray.SeriesInstanceUID = f"1.2.{ord(patient)}"
                (tmp_path / "x" / patient / side).mkdir(parents=True)
                x_ray.save_as(tmp_path / "x" / patient / side / "1.dcm", enforce_file_format=True)
        entries = {"training": [{"image": f"x/{patient}"} for patient in "abc"]}
        (tmp_path / "list.json").write_text(json.dumps(entries))
        for source in (tmp_path / "x", tmp_path / "list.json"):
            items = [item for split in make_datalist(source).values() for item in split]
            assert sorted(item["image"] for item in items) == sorted([str(f)] for f in tmp_path.rglob("*.dcm"))
            assert len({item["subject"] for item in items}) == 3 and len({item["key"] for item in items}) == 6
            reader = DicomSeriesReader()
            assert {reader.get_data(reader.read(item["image"]))[0].shape for item in items} == {(5, 6)}

    def test_real_patients(self, shared_data):
        folders = [shared_data / "prostate3t_dicom", shared_data / "prostatex_dicom" / "ProstateX"]
        datalist = make_datalist(folders, series="t2*", plane="axial")
        assert summarize_datalist(datalist).splitlines()[0] == "training: 6 subjects, 6 images"
        assert len(split_of(datalist)) == 8
        with pytest.raises(DicomError, match="ProstateX-0000: several series match") as caught:
            make_datalist(folders)
        assert all(word in str(caught.value) for word in ("'t2_tse_sag', MR, sagittal", "'t2_tse_cor', MR, coronal"))


class TestJson:
    def test_three_lists_with_relative_paths(self, patients, tmp_path):
        path = write_json(
            tmp_path / "list.json",
            training=[{"image": "data/p0/scan/t2.nii.gz", "subject": "x", "note": "unused"}],
            validation=["data/p1/scan/t2.nii.gz"],
            test=[{"image": str(patients / "p2" / "scan" / "t2.nii.gz"), "subject": 7}],
        )
        assert make_datalist(path) == {
            "training": [{"image": str(patients / "p0" / "scan" / "t2.nii.gz"), "subject": "x"}],
            "validation": [{"image": str(patients / "p1" / "scan" / "t2.nii.gz"), "subject": "data/p1/scan/t2"}],
            "test": [{"image": str(patients / "p2" / "scan" / "t2.nii.gz"), "subject": "7"}],
        }

    @pytest.mark.parametrize("absent", [("validation",), ("test",), ("validation", "test")])
    def test_absent_lists_come_from_training(self, patients, tmp_path, absent, caplog):
        images = [f"data/p{i}/scan/t2.nii.gz" for i in range(10)]
        lists = {"training": images[:8], "validation": images[8:9], "test": images[9:]}
        path = write_json(tmp_path / "list.json", **{key: value for key, value in lists.items() if key not in absent})
        with caplog.at_level(logging.INFO, "monai_cdiff"):
            datalist = make_datalist(path)
        assert f"has no list for {' and '.join(absent)}; of its training list go" in caplog.text
        kept = [split for split in ("validation", "test") if split not in absent]
        assert all([item["image"] for item in datalist[split]] == [str(tmp_path / lists[split][0])] for split in kept)
        dealt = [item["image"] for split in ("training", *absent) for item in datalist[split]]
        assert sorted(dealt) == [str(tmp_path / image) for image in images[:8]] and all(datalist.values())
        assert list(datalist) == ["training", "validation", "test"]

    def test_dicom_folder_and_files(self, tmp_path, write_series):
        files = {name: [str(file) for file in write_series(tmp_path / name / "s", patient=name)] for name in "abc"}
        write_series(tmp_path / "a" / "other", patient="a", orientation=SAGITTAL)
        test = [{"image": files["c"], "subject": "me"}]
        path = write_json(tmp_path / "list.json", training=["a"], validation=[files["b"]], test=test)
        datalist = make_datalist(path, plane="axial")
        assert datalist["training"][0]["image"] == sorted(files["a"])
        assert datalist["validation"][0]["image"] == sorted(files["b"])
        assert datalist["validation"][0]["subject"].startswith("sub-") and datalist["test"][0]["subject"] == "me"
        with pytest.raises(DicomError, match=f"{tmp_path}/a: several series match"):
            make_datalist(path)

    def test_a_patient_in_two_splits(self, tmp_path, write_series):
        for name in "abc":
            write_series(tmp_path / name, patient="same" if name < "c" else "other")
        path = write_json(tmp_path / "list.json", training=["a"], validation=["b"], test=["c"])
        with pytest.raises(ValueError, match="subject 'sub-[0-9a-f]{8}' is in training and in validation"):
            make_datalist(path)

    def test_files_that_are_gone(self, patients, tmp_path):
        gone = [f"data/gone{i}.nii" for i in range(7)]
        path = write_json(tmp_path / "list.json", training=["data/p0/scan/t2.nii.gz", *gone])
        with pytest.raises(FileNotFoundError, match="names 8 files, of which 7 do not exist") as caught:
            make_datalist(path)
        assert "gone4.nii, ..." in str(caught.value) and "gone5" not in str(caught.value)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "is no valid JSON"),
            ("[]", "must hold a non-empty list training.* it holds: list"),
            ('{"test": []}', "must hold a non-empty list training.* it holds: test"),
            ('{"training": []}', "must hold a non-empty list training"),
            ('{"training": ["a"], "test": "b"}', "may hold lists validation and test"),
            ('{"training": [{"img": "a"}]}', r"training\[0\]=.*'img'.* must be a path"),
            ('{"training": ["a", [1]]}', r"training\[1\]=\[1\] must be a path"),
        ],
    )
    def test_malformed(self, tmp_path, text, message):
        (tmp_path / "list.json").write_text(text)
        (tmp_path / "a").mkdir()
        with pytest.raises(ValueError, match=message):
            make_datalist(tmp_path / "list.json")

    def test_a_test_alone_is_enough_to_score_it(self, patients, tmp_path):
        path = write_json(tmp_path / "list.json", test=["data/p0/scan/t2.nii.gz"])
        datalist = make_datalist(path, needed=["test"])
        assert {split: len(items) for split, items in datalist.items()} == {"training": 0, "validation": 0, "test": 1}
        with pytest.raises(ValueError, match="list training, and may hold .* it holds: test"):
            make_datalist(path)
        with pytest.raises(ValueError, match=r"list training \(or validation, which is enough here\)"):
            make_datalist(path, needed=["validation"])
        for wrong in ("test", ["tset"], []):
            with pytest.raises(ValueError, match="needed="):
                make_datalist(path, needed=wrong)

    def test_too_few_subjects_to_split(self, patients, tmp_path):
        path = write_json(tmp_path / "list.json", training=["data/p0/scan/t2.nii.gz"])
        with pytest.raises(ValueError, match=f"the training list of {path} holds 1 image.*at least 3"):
            make_datalist(path)


def write_picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (5, 4), 7).save(path)
    return path


class TestPictures:
    def test_in_a_flat_folder_each_is_a_subject(self, tmp_path):
        for name in ("a.png", "b.JPG", "c.tiff", "d.bmp"):
            write_picture(tmp_path / name)
        assert set(split_of(make_datalist(tmp_path))) == set("abcd")

    def test_in_a_patient_folder_the_folder_is_the_subject(self, tmp_path):
        for name in ("p1/a.png", "p1/deep/b.jpeg", "p2/a.png", "p3/a.png"):
            write_picture(tmp_path / name)
        items = [item for items in make_datalist(tmp_path).values() for item in items]
        assert sorted(item["subject"] for item in items) == ["p1", "p1", "p2", "p3"]

    def test_in_a_list_each_is_a_subject_unless_told(self, tmp_path):
        for name in ("x/a.png", "x/b.jpg", "x/c.png"):
            write_picture(tmp_path / name)
        path = write_json(tmp_path / "list.json", training=["x/a.png", "x/b.jpg", {"image": "x/c.png", "subject": 7}])
        assert set(split_of(make_datalist(path))) == {"x/a", "x/b", "7"}

    @pytest.mark.parametrize("folder", ["", "p"])
    def test_beside_nifti(self, tmp_path, folder):
        write_picture(tmp_path / folder / "a.png")
        write_nifti(tmp_path / folder / "b.nii")
        with pytest.raises(ValueError, match="holds both NIfTI .*b.nii. and PNG, JPEG, BMP or TIFF .*a.png.; keep one"):
            make_datalist(tmp_path)

    def test_beside_dicom(self, tmp_path, write_series):
        write_picture(tmp_path / "p" / "a.png")
        write_series(tmp_path / "p" / "deep")
        with pytest.raises(ValueError, match="p: holds both DICOM .series .* and PNG, JPEG, BMP or TIFF .*a.png."):
            make_datalist(tmp_path)
        (tmp_path / "p" / "DICOMDIR").touch()  # now it is the picture of a viewer
        with pytest.raises(ValueError, match="1 subject"):
            make_datalist(tmp_path)

    def test_beside_volumes_of_other_patients(self, tmp_path):
        for name in ("p1", "p2", "p3"):
            write_picture(tmp_path / name / "a.png")
        write_nifti(tmp_path / "p4" / "a.nii")
        with pytest.raises(ValueError, match="images of two and of three dimensions are mixed"):
            make_datalist(tmp_path)


class TestPaths:
    @pytest.mark.parametrize("value", [None, 5, [], [1], ""])
    def test_no_path(self, value, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ValueError, match="dataset_dir="):
            make_datalist(value)

    def test_missing_folder(self, tmp_path, patients):
        with pytest.raises(FileNotFoundError, match="dataset_dir='.*/nowhere' does not exist"):
            make_datalist([patients, tmp_path / "nowhere"])

    def test_empty_folder(self, tmp_path):
        with pytest.raises(ValueError, match=f"{tmp_path}: holds no images; allowed: patient folders"):
            make_datalist(tmp_path)

    def test_a_file_that_is_no_list(self, patients, tmp_path):
        with pytest.raises(ValueError, match="is a file; allowed: folders, or one datalist JSON"):
            make_datalist(patients / "p0" / "scan" / "t2.nii.gz")
        with pytest.raises(ValueError, match="is a file; allowed: folders, or one datalist JSON"):
            make_datalist([patients, write_json(tmp_path / "list.json", training=["a"])])


class TestWrite:
    def test_round_trip(self, patients, tmp_path):
        datalist = make_datalist(patients)
        write_datalist(datalist, tmp_path / "new" / "list.json")
        assert make_datalist(tmp_path / "new" / "list.json") == datalist
        assert os.listdir(tmp_path / "new") == ["list.json"]

    def test_a_failure_leaves_the_old_file(self, tmp_path):
        path = write_json(tmp_path / "list.json", training=["old"])
        with pytest.raises(TypeError):
            write_datalist({"training": [object()]}, path)
        assert json.loads(path.read_text()) == {"training": ["old"]} and os.listdir(tmp_path) == ["list.json"]


class TestFurtherEntries:
    @pytest.fixture
    def labelled(self, tmp_path):
        """A list beside images and labels, with a label, zones and a class for each."""
        items = []
        for n in range(3):
            write_nifti(tmp_path / "images" / f"{n}.nii.gz")
            write_nifti(tmp_path / "labels" / f"{n}.nii.gz")
            paths = {"image": f"images/{n}.nii.gz", "label": f"labels/{n}.nii.gz", "zones": "zones/../labels/0.nii.gz"}
            items.append({**paths, "class": "viral", "sha256": "0", "subject": n})
        write_json(tmp_path / "list.json", training=items[:1], validation=items[1:2], test=items[2:])
        return tmp_path

    def test_paths_are_relative_to_the_list(self, labelled, monkeypatch):
        monkeypatch.chdir(labelled / "images")
        (item,) = make_datalist("../list.json", required=["label", "zones", "class"])["test"]
        label, zones = (str(labelled / "labels" / f"{n}.nii.gz") for n in (2, 0))
        assert item == {
            "image": str(labelled / "images" / "2.nii.gz"), "subject": "2", "label": label, "zones": zones,
            "class": "viral",
        }  # fmt: skip

    def test_a_missing_file_is_named_where_it_is_needed(self, labelled):
        os.remove(labelled / "labels" / "1.nii.gz")
        assert make_datalist(labelled / "list.json", required=["class"])["validation"][0]["label"].endswith("1.nii.gz")
        with pytest.raises(FileNotFoundError, match=r"1.nii.gz: its label .*/labels/1.nii.gz does not exist"):
            make_datalist(labelled / "list.json", required=["label"])

    def test_an_absent_entry(self, labelled, patients):
        path = write_json(labelled / "bare.json", training=[f"images/{n}.nii.gz" for n in range(3)])
        assert set(make_datalist(path)["test"][0]) == {"image", "subject"}
        for name in ("label", "class"):
            with pytest.raises(ValueError, match=rf"nii.gz has no '{name}', which is needed here"):
                make_datalist(path, required=[name])
        with pytest.raises(ValueError, match="has no 'label'"):
            make_datalist(patients, required=["label"])
        with pytest.raises(ValueError, match="required='labels' is not supported.*Did you mean 'label'"):
            make_datalist(path, required=["labels"])

    def test_what_is_no_text(self, labelled):
        path = write_json(labelled / "odd.json", training=[{"image": "images/0.nii.gz", "label": ["a"]}])
        with pytest.raises(ValueError, match=r"training\[0\]: label=\['a'\] must be text"):
            make_datalist(path)
