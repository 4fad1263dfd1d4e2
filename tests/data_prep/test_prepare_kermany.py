from __future__ import annotations

import json
from collections import Counter

import pytest

from monai_cdiff.data import make_datalist

TRAIN = [f"PNEUMONIA/person{n}_{kind}_{10 * n + i}.jpeg" for n in range(20, 30) for kind in ("virus",) for i in (1, 2)]


@pytest.fixture
def chest(tmp_path, write_jpeg):
    """Ten persons and some others in train, three in the test, one of whom has a number of train."""
    names = [f"train/{name}" for name in TRAIN]
    names += ["train/PNEUMONIA/person5_bacteria_9.jpeg", "test/PNEUMONIA/person5_virus_4.jpeg"]
    names += ["train/NORMAL/IM-0115-0001.jpeg", "val/NORMAL/NORMAL2-IM-0115-0001-0002.jpeg"]
    names += ["test/NORMAL/NORMAL2-IM-0007-0001.jpeg", "test/PNEUMONIA/person1_virus_11_1.jpeg"]
    for seed, name in enumerate(names):
        write_jpeg(tmp_path / "chest" / name, seed)
    return tmp_path / "chest"


def subjects(datalist, split):
    return {item["subject"] for item in datalist[split]}


def test_classes_patients_and_the_official_test(chest, listed, tmp_path):
    datalist, report = listed("kermany", chest, "--validation", "0.3")
    assert {item["image"].split("/")[-1]: item["class"] for item in datalist["test"]} == {
        "person5_virus_4.jpeg": "viral",
        "NORMAL2-IM-0007-0001.jpeg": "normal",
        "person1_virus_11_1.jpeg": "viral",
    }
    assert len(subjects(datalist, "validation")) == 3 and len(datalist["training"] + datalist["validation"]) == 22
    assert not subjects(datalist, "training") & subjects(datalist, "validation")
    assert "IM-0115" in subjects(datalist, "training") | subjects(datalist, "validation")
    (skip,) = report["skipped"]
    assert skip["path"].endswith("person5_bacteria_9.jpeg") and "also in the test" in skip["reason"]
    assert report["notes"][0] == "note: the test has 3 images; the official one has 624"
    assert report["splits"]["test"] == {"subjects": 3, "images": 3, "classes": {"normal": 1, "viral": 2}}
    read = make_datalist(tmp_path / "out" / "list.json")
    assert [item["subject"] for item in read["training"]] == [item["subject"] for item in datalist["training"]]


def test_numbers_within_a_class(chest, listed):
    datalist, report = listed("kermany", chest, "--patients", "class")
    assert report["skipped"] == []
    known = subjects(datalist, "training") | subjects(datalist, "validation")
    assert {"bacterial-person5", "IM-0115", "NORMAL2-IM-0115"} <= known
    assert "viral-person5" in subjects(datalist, "test")


def test_names_of_the_third_version(tmp_path, write_jpeg, listed):
    for i, name in enumerate(["BACTERIA-7-0001", "BACTERIA-7-0002", "VIRUS-8-0001", "BACTERIA-9-0003"]):
        write_jpeg(tmp_path / "third" / ("test" if i == 3 else "train") / "PNEUMONIA" / f"{name}.jpeg", i)
    datalist, _ = listed("kermany", tmp_path / "third")
    counts = Counter(item["subject"] for split in ("training", "validation") for item in datalist[split])
    assert counts == {"patient7": 2, "patient8": 1} and subjects(datalist, "test") == {"patient9"}


def test_what_is_passed_over(chest, write_jpeg, listed):
    write_jpeg(chest / "train" / "NORMAL" / "person40_virus_1.jpeg", 80)
    write_jpeg(chest / "train" / "NORMAL" / "scan.jpeg", 81)
    write_jpeg(chest / "extra.jpeg", 82)
    (chest / "train" / "NORMAL" / "notes.txt").write_text("x")
    _, report = listed("kermany", chest)
    reasons = {skip["path"].split("/")[-1]: skip["reason"] for skip in report["skipped"]}
    assert reasons["person40_virus_1.jpeg"] == "the file name says viral, the folder NORMAL"
    assert reasons["scan.jpeg"] == "the file name tells no class and patient"
    assert reasons["extra.jpeg"] == "not in train, val or test, NORMAL or PNEUMONIA"
    assert reasons["notes.txt"] == "no JPEG or PNG file"


def test_an_image_of_the_test_under_another_name(chest, listed):
    copy = chest / "train" / "PNEUMONIA" / "person77_virus_1.jpeg"
    copy.write_bytes((chest / "test" / "PNEUMONIA" / "person1_virus_11_1.jpeg").read_bytes())
    datalist, report = listed("kermany", chest, "--patients", "class")
    assert "viral-person77" not in subjects(datalist, "training") | subjects(datalist, "validation")
    (skip,) = report["skipped"]
    assert "the same content is in test, as " in skip["reason"] and skip["reason"].endswith("person1_virus_11_1.jpeg")


def test_no_official_folders(chest, prepare, tmp_path):
    code, _, err = prepare("kermany", chest / "train", tmp_path / "list.json")
    assert code == 2 and "has no folder train and no test; give the one that holds both." in err


def test_the_test_cannot_be_renamed(chest, prepare, tmp_path):
    (tmp_path / "split.json").write_text(json.dumps({"validation": ["person1"]}))
    code, _, err = prepare("kermany", chest, tmp_path / "list.json", "--split-file", tmp_path / "split.json")
    assert code == 2 and "subject 'person1' is in test and in validation; allowed: one split only." in err


@pytest.mark.slow
def test_real_images(shared_data, listed, tmp_path):
    datalist, report = listed("kermany", shared_data / "kermany_chest_xray_224")
    assert report["splits"]["test"] == {
        "subjects": 404,
        "images": 624,
        "classes": {"bacterial": 242, "normal": 234, "viral": 148},
    }
    assert len(report["skipped"]) == 550 and len(datalist["training"] + datalist["validation"]) == 5080 - 550
    assert sum(map(len, make_datalist(tmp_path / "out" / "list.json").values())) == 5704 - 550
