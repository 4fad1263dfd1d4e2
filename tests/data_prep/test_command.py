"""What all four scripts promise: shown on the one for any folder."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from monai_cdiff.data import make_datalist

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ("prepare_kermany", "prepare_prostate_sr", "prepare_prostate_t1", "prepare_folder")


@pytest.fixture
def patients(tmp_path, write_nifti):
    for i in range(10):
        write_nifti(tmp_path / "data" / f"p{i}" / "t2.nii.gz", i)
    return tmp_path / "data"


def split_of(datalist):
    return {item["subject"]: split for split in ("training", "validation", "test") for item in datalist[split]}


class TestStart:
    @pytest.mark.parametrize("script", SCRIPTS)
    @pytest.mark.parametrize("form", ["module", "file"])
    def test_help(self, script, form, tmp_path):
        words = ["-m", f"data_prep.{script}"] if form == "module" else [str(ROOT / "data_prep" / f"{script}.py")]
        folder = ROOT if form == "module" else tmp_path
        done = subprocess.run([sys.executable, *words, "--help"], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0 and "datalist" in done.stdout and "--dry-run" in done.stdout

    @pytest.mark.slow
    def test_a_run_as_a_file(self, patients, tmp_path):
        words = [sys.executable, ROOT / "data_prep" / "prepare_folder.py", patients, "out/list.json"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "") and (tmp_path / "out" / "list.json").is_file()

    @pytest.mark.slow
    def test_a_reader_who_leaves_early(self, patients, tmp_path):
        words = [sys.executable, ROOT / "data_prep" / "prepare_folder.py", patients, "list.json"]
        with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdout.close()
            assert (process.stderr.read(), process.wait()) == (b"", 0)
        assert (tmp_path / "list.json").is_file()


class TestWrite:
    def test_content(self, patients, listed):
        datalist, report = listed("folder", patients)
        assert list(datalist)[:5] == ["name", "description", "licence", "command", "sha256"]
        options = "--validation 0.15 --test 0.15 --seed 0"
        assert datalist["command"] == f"python -m data_prep.prepare_folder ../data list.json {options}"
        (first, *_) = datalist["training"]
        digest = hashlib.sha256((patients / first["subject"] / "t2.nii.gz").read_bytes()).hexdigest()
        subject = first["subject"]
        assert first == {"image": f"../data/{subject}/t2.nii.gz", "subject": subject, "sha256": digest}
        items = [(split, item) for split in ("training", "validation", "test") for item in datalist[split]]
        text = "\n".join(f"{split} {item['subject']} {item['sha256']}" for split, item in items)
        assert datalist["sha256"] == hashlib.sha256(text.encode()).hexdigest()
        taken = {entry["path"] for entry in report["taken"]}
        assert taken == {str(patients / f"p{i}" / "t2.nii.gz") for i in range(10)}

    def test_checksum_of_a_series(self, tmp_path, listed, write_series):
        for name in "abc":
            write_series(tmp_path / "dicom" / name, patient=name, study=f"1.{ord(name)}")
        datalist, _ = listed("folder", tmp_path / "dicom")
        (item,) = datalist["test"]
        files = [tmp_path / "out" / file for file in item["image"]]
        digests = sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
        assert item["sha256"] == hashlib.sha256("\n".join(digests).encode()).hexdigest()

    def test_again_the_same(self, patients, prepare, tmp_path, monkeypatch):
        out = tmp_path / "list.json"
        assert prepare("folder", patients, out)[0] == 0
        before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in tmp_path.glob("list*")}
        monkeypatch.chdir(tmp_path)
        code, printed, _ = prepare("folder", "data", "list.json")
        assert code == 0 and f"{out} is there already, the same" in printed
        assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in tmp_path.glob("list*")} == before

    def test_again_with_another_file_left_out(self, patients, prepare, tmp_path):
        out, report = tmp_path / "list.json", tmp_path / "list.report.json"
        prepare("folder", patients, out, "--name", "t2*")
        before, reported = out.read_bytes(), report.read_bytes()
        (patients / "p3" / "other.nii.gz").write_bytes((patients / "p3" / "t2.nii.gz").read_bytes())
        dry = prepare("folder", patients, out, "--name", "t2*", "--dry-run")[1]
        assert "is there already, the same" in dry and report.read_bytes() == reported
        code, printed, _ = prepare("folder", patients, out, "--name", "t2*")
        assert code == 0 and f"{out} is there already, the same; its report is written anew" in printed
        assert out.read_bytes() == before and "other.nii.gz" in report.read_text() and report.read_bytes() != reported

    def test_a_report_without_its_list_is_not_replaced(self, patients, prepare, tmp_path):
        (tmp_path / "list.report.json").write_text("{}")
        code, _, err = prepare("folder", patients, tmp_path / "list.json")
        assert code == 2 and "list.report.json: there, with other content" in err

    def test_other_content_is_refused(self, patients, prepare, tmp_path):
        out = tmp_path / "list.json"
        prepare("folder", patients, out)
        before = out.read_bytes()
        code, _, err = prepare("folder", patients, out, "--seed", "1")
        assert code == 2 and "with other content (the images, options or checksums differ)" in err
        assert out.read_bytes() == before
        assert prepare("folder", patients, out, "--seed", "1", "--overwrite")[0] == 0 and out.read_bytes() != before

    def test_changed_images_are_noticed(self, patients, prepare, tmp_path, write_nifti):
        prepare("folder", patients, tmp_path / "list.json")
        write_nifti(patients / "p3" / "t2.nii.gz", 99)
        assert prepare("folder", patients, tmp_path / "list.json")[0] == 2

    def test_dry_run(self, patients, prepare, tmp_path):
        out = tmp_path / "new" / "list.json"
        code, printed, _ = prepare("folder", patients, out, "--dry-run")
        assert code == 0 and f"dry run, nothing is written: {out} would be written" in printed
        assert not out.parent.exists()
        prepare("folder", patients, out)
        assert "is there already, the same" in prepare("folder", patients, out, "--dry-run")[1]
        assert "would be replaced" in prepare("folder", patients, out, "--dry-run", "--seed", "1")[1]

    def test_the_list_moves_with_its_images(self, patients, prepare, tmp_path):
        prepare("folder", patients, patients / "list.json")
        os.rename(patients, tmp_path / "moved")
        assert len(split_of(make_datalist(tmp_path / "moved" / "list.json"))) == 10


class TestSplit:
    def test_shares_and_seed(self, patients, listed):
        first, _ = listed("folder", patients, "--validation", "0.2", "--test", "0.3")
        assert [len(first[split]) for split in ("training", "validation", "test")] == [5, 2, 3]
        other, _ = listed("folder", patients, "--validation", "0.2", "--test", "0.3", "--seed", "1", "--overwrite")
        assert split_of(other) != split_of(first)

    def test_named(self, patients, listed):
        datalist, _ = listed("folder", patients, "--test-subjects", "p3", "p4", "--validation", "0.25")
        split = split_of(datalist)
        assert [subject for subject in sorted(split) if split[subject] == "test"] == ["p3", "p4"]
        assert list(split.values()).count("validation") == 2

    def test_split_file(self, patients, listed, tmp_path):
        lists = {"training": ["p1", {"subject": "p2"}, "elsewhere"], "validation": ["p3"], "test": ["p4"]}
        (tmp_path / "split.json").write_text(json.dumps(lists))
        datalist, report = listed("folder", patients, "--split-file", str(tmp_path / "split.json"))
        assert split_of(datalist) == {"p1": "training", "p2": "training", "p3": "validation", "p4": "test"}
        assert {skip["reason"] for skip in report["skipped"]} == {"its subject is in none of the lists of --split-file"}
        again, _ = listed("folder", patients, "--split-file", str(tmp_path / "out" / "list.json"), "--overwrite")
        assert split_of(again) == split_of(datalist)

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--test-subjects", "px"], "'px' is no subject or PatientID of the 10 patients there are: p0, p1, p2"),
            (["--test-subjects", "p1", "--validation-subjects", "p1"], "subject 'p1' is in validation and in test"),
            (["--validation", "0.6", "--test", "0.4"], "something must be left for training"),
            (["--validation", "1.5"], "--validation=1.5 must be a finite number"),
            (["--validation", "nan"], "--validation=nan must be a finite number"),
            (["--validation", "0"], "nobody is left for validation: "),
            (["--seed", "-1"], "--seed=-1 must be"),
        ],
    )
    def test_wrong_splits(self, patients, prepare, tmp_path, words, message):
        code, _, err = prepare("folder", patients, tmp_path / "list.json", *words)
        assert code == 2 and message in err and not (tmp_path / "list.json").exists()

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "is no file"),
            ("{", "is no valid JSON"),
            ("[]", "must hold lists training, validation or test of subjects"),
            ('{"test": "p1"}', "must hold lists training, validation or test of subjects"),
            ('{"test": [["p1"]]}', "test holds ['p1']; allowed: names, items with one."),
        ],
    )
    def test_wrong_split_files(self, patients, prepare, tmp_path, content, message):
        if content is not None:
            (tmp_path / "split.json").write_text(content)
        words = ("--split-file", tmp_path / "split.json")
        code, _, err = prepare("folder", patients, tmp_path / "list.json", *words)
        assert code == 2 and message in err
        code, _, err = prepare("folder", patients, tmp_path / "list.json", *words, "--test-subjects", "p1")
        assert code == 2 and "--split-file names all subjects; leave out" in err

    def test_too_few_patients(self, tmp_path, prepare, write_nifti):
        for i in range(2):
            write_nifti(tmp_path / "data" / f"p{i}" / "t2.nii.gz", i)
        code, _, err = prepare("folder", tmp_path / "data", tmp_path / "list.json")
        assert code == 2 and "nobody is left for " in err and "2 patient(s) for training, validation, test" in err
        code, printed, _ = prepare("folder", tmp_path / "data", tmp_path / "list.json", "--allow-empty")
        assert code == 0 and printed.startswith("training: 1 subject, 1 image")

    def test_the_same_content_in_two_patients(self, patients, prepare, tmp_path):
        (patients / "p4" / "t2.nii.gz").write_bytes((patients / "p3" / "t2.nii.gz").read_bytes())
        words = ("--test-subjects", "p3", "--validation-subjects", "p4", "p5")
        code, printed, _ = prepare("folder", patients, tmp_path / "list.json", *words)
        assert code == 0 and "1 x the same content is in test, as " in printed
        assert "p4" not in split_of(json.loads((tmp_path / "list.json").read_text()))


class TestWrongInput:
    def test_folders(self, patients, prepare, tmp_path):
        (tmp_path / "empty").mkdir()
        (tmp_path / "hollow" / "a").mkdir(parents=True)
        for words, message in [
            ([tmp_path / "nowhere"], "nowhere' does not exist."),
            ([tmp_path / "empty"], "empty' is empty."),
            ([tmp_path / "hollow"], "hollow: no matching image.\nskipped: 0"),
            ([patients / "p1" / "t2.nii.gz"], "is a file; allowed: a folder."),
            ([patients, patients / "p1"], "which is given too; give one of them."),
        ]:
            for script in ("folder", "prostate_sr", "prostate_t1"):
                code, _, err = prepare(script, *words, tmp_path / "list.json")
                assert code == 2 and message in err

    def test_output_names(self, patients, prepare, tmp_path):
        (tmp_path / "dir.json").mkdir()
        (tmp_path / "file").write_text("x")
        for name, message in [
            ("list.txt", "must be the name of a file that ends in .json."),
            ("dir.json", "must be the name of a file that ends in .json."),
            ("file/list.json", "lies in a file; allowed: a folder, or one that can be made."),
        ]:
            code, _, err = prepare("folder", patients, tmp_path / name)
            assert code == 2 and message in err

    def test_damaged_images(self, patients, prepare, tmp_path, write_jpeg):
        bad = patients / "p3" / "t2.nii.gz"
        bad.write_bytes(bad.read_bytes()[:-30])
        code, _, err = prepare("folder", patients, tmp_path / "list.json")
        assert code == 2 and f"{bad}: cannot be read: " in err and "--skip-unreadable leaves out" in err
        (patients / "p4" / "t2.nii.gz").write_bytes(b"nothing")
        code, _, err = prepare("folder", patients, tmp_path / "list.json")
        assert code == 2 and "2 files are like that." in err
        code, printed, _ = prepare("folder", patients, tmp_path / "list.json", "--skip-unreadable")
        assert code == 0 and len(split_of(json.loads((tmp_path / "list.json").read_text()))) == 8

    def test_a_damaged_picture(self, tmp_path, prepare, write_jpeg):
        for i in range(4):
            write_jpeg(tmp_path / "flat" / f"{i}.jpeg", i)
        file = tmp_path / "flat" / "2.jpeg"
        file.write_bytes(file.read_bytes()[:-60])
        code, _, err = prepare("folder", tmp_path / "flat", tmp_path / "list.json")
        assert code == 2 and f"{file}: cannot be read: " in err

    def test_arguments(self, prepare, tmp_path):
        with pytest.raises(SystemExit) as ended:
            prepare("folder", tmp_path)
        assert ended.value.code == 2
