"""The two scripts for prostate MRI."""

from __future__ import annotations

import json

import numpy as np
import pydicom
import pytest
import SimpleITK

from monai_cdiff.data import make_datalist

SAGITTAL = (0, 1, 0, 0, 0, -1)
T2 = {"ScanningSequence": "SE", "EchoTime": 104, "RepetitionTime": 5660, "ImageType": ["ORIGINAL", "PRIMARY", "M"]}
VIBE = {
    **{"ScanningSequence": "GR", "SequenceVariant": ["SP", "OSP"], "EchoTime": 1.4, "RepetitionTime": 3.85},
    **{"FlipAngle": 12, "ImageType": ["ORIGINAL", "PRIMARY", "M"]},
}


@pytest.fixture
def write(write_series):
    """``write(folder, description, elements, ...)`` writes a series with elements of its header."""

    def written(folder, description, elements, size=(7, 5, 8), **keywords):
        def change(k, dataset):
            for keyword, value in elements.items():
                setattr(dataset, keyword, value)

        return write_series(folder, description=description, size=size, change=change, **keywords)

    return written


def study(write, folder, patient, **keywords):
    """An axial and a sagittal T2w, an ADC, and a localizer."""
    here = {"patient": patient, "study": f"1.{sum(map(ord, patient))}", **keywords}
    adc = {**T2, "ScanningSequence": "EP", "EchoTime": 63, "ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]}
    write(folder / "3", "t2_tse_sag", T2, number=3, orientation=SAGITTAL, **here)
    files = write(folder / "4", "t2_tse_tra", T2, number=4, **here)
    write(folder / "5", "ep2d_diff_ADC", adc, number=5, **here)
    write(folder / "1", "localizer", VIBE, number=1, **{**here, "size": (7, 5, 1)})
    return files


@pytest.fixture
def studies(tmp_path, write):
    for name in ("Anna", "Bert", "Cleo"):
        study(write, tmp_path / "mri" / name, f"ID-{name}")
    return tmp_path / "mri"


def reasons(report):
    return {(skip["path"].split("/")[-2], skip["path"].split("/")[-1]): skip["reason"] for skip in report["skipped"]}


class TestT2:
    def test_series_by_geometry_and_header(self, studies, listed, tmp_path):
        datalist, report = listed("prostate_sr", studies)
        items = [item for split in ("training", "validation", "test") for item in datalist[split]]
        assert len(items) == 3 and all("/4/" in file for item in items for file in item["image"])
        why = reasons(report)
        assert why["Anna", "3"] == "plane sagittal, not axial"
        assert why["Anna", "5"].startswith("diffusion, ADC, dynamic or localizer; derived from other images")
        assert why["Anna", "1"].startswith("1 slice(s), fewer than --min-slices 8; diffusion, ADC, dynamic")
        assert "gradient echo, not spin echo; echo time 1.4 ms, below 60 ms" in why["Anna", "1"]
        read = make_datalist(tmp_path / "out" / "list.json")
        assert read == make_datalist(studies, series="t2*", plane="axial", fractions=(0.7, 0.15, 0.15))

    def test_no_identity_of_a_header(self, studies, write, prepare, tmp_path):
        out = tmp_path / "list.json"
        code, printed, _ = prepare("prostate_sr", studies, out, "--test-subjects", "ID-Bert", "--validation", "0.4")
        assert code == 0
        written = out.read_text() + (tmp_path / "list.report.json").read_text() + printed
        assert "ID-" not in written and "--test-subjects sub-" in json.loads(out.read_text())["command"]
        (item,) = json.loads(out.read_text())["test"]
        assert "/Bert/4/" in item["image"][0]

    def test_reasons(self, studies, write, listed):
        cases = [
            ("t2_tse_tra", {"EchoTime": 20}, "echo time 20 ms, below 60 ms"),
            ("t2_tse_tra", {"RepetitionTime": 700}, "repetition time 700 ms, below 1500 ms"),
            ("t2_star", {"ScanningSequence": "GR"}, "gradient echo, not spin echo"),
            ("t2 dwi b-val", {}, "diffusion, ADC, dynamic or localizer"),
            ("t2_tse_tra", {"ImageType": ["DERIVED", "SECONDARY"]}, "derived from other images"),
            ("anatomy", {"EchoTime": None}, "neither an echo time nor a description with t2"),
        ]
        for i, (description, change, _) in enumerate(cases):
            write(studies / f"{i}" / "7", description, {**T2, **change}, patient=f"ID-{i}", study=f"1.9.{i}", number=7)
        _, report = listed("prostate_sr", studies)
        assert [reasons(report)[str(i), "7"] for i in range(len(cases))] == [reason for _, _, reason in cases]

    def test_the_description_serves_where_the_header_is_silent(self, studies, write, listed):
        write(studies / "Dora" / "7", "AX T2 FRFSE", {}, patient="ID-Dora", study="1.9", number=7)
        datalist, _ = listed("prostate_sr", studies)
        assert sum(len(datalist[split]) for split in ("training", "validation", "test")) == 4

    def test_best_of_a_study(self, studies, write, listed, prepare, tmp_path):
        here = {"patient": "ID-Anna", "study": f"1.{sum(map(ord, 'ID-Anna'))}"}
        write(studies / "Anna" / "8", "t2_tse_tra", T2, number=8, spacing=(0.4, 0.4, 3.0), **here)
        datalist, report = listed("prostate_sr", studies)
        taken = [file for split in ("training", "validation", "test") for i in datalist[split] for file in i["image"]]
        assert any("/Anna/8/" in file for file in taken) and not any("/Anna/4/" in file for file in taken)
        assert reasons(report)["Anna", "4"].startswith("matches too, but of its study 8: 't2_tse_tra'")
        code, printed, _ = prepare("prostate_sr", studies, tmp_path / "all.json", "--all-series")
        assert code == 0 and sum(int(line.split()[3]) for line in printed.splitlines()[:3]) == 4

    def test_a_slice_is_missing(self, studies, listed):
        sorted((studies / "Anna" / "4").iterdir())[3].unlink()
        _, report = listed("prostate_sr", studies, "--min-slices", "3", "--allow-empty")
        assert "is no volume: " in reasons(report)["Anna", "4"] and "missing" in reasons(report)["Anna", "4"]

    def test_one_patient_in_two_folders_stays_one(self, studies, write, listed):
        write(studies / "Other" / "4", "t2_tse_tra", T2, patient="ID-Anna", study="1.77", number=4)
        datalist, report = listed("prostate_sr", studies)
        where = {
            split: {file.split("/")[-3] for item in datalist[split] for file in item["image"]}
            for split in ("training", "validation", "test")
        }
        assert any({"Anna", "Other"} <= names for names in where.values())
        assert sum(counts["subjects"] for counts in report["splits"].values()) == 3

    def test_one_series_in_two_folders(self, studies, listed, tmp_path):
        (tmp_path / "again").mkdir()
        for file in (studies / "Anna" / "4").iterdir():
            (tmp_path / "again" / file.name).write_bytes(file.read_bytes())
            (studies / "Anna" / "4" / f"copy-{file.name}").write_bytes(file.read_bytes())
        datalist, report = listed("prostate_sr", studies, tmp_path / "again")
        assert {len(item["image"]) for split in ("training", "validation", "test") for item in datalist[split]} == {8}
        (why,) = [skip["reason"] for skip in report["skipped"] if skip["path"].endswith("again")]
        assert why.startswith("the series is also in ") and why.endswith("/Anna/4, which is taken instead")

    def test_no_patient_id(self, studies, write, listed):
        write(studies / "Dora" / "7", "t2_tse_tra", T2, patient="", study="1.9", number=7)
        _, report = listed("prostate_sr", studies)
        assert reasons(report)["Dora", "7"] == "the header has no PatientID, so nothing tells whose image it is"

    def test_zones_on_the_grid(self, studies, write, listed):
        files = sorted((studies / "Anna" / "4").iterdir())
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(files[0].parent)))
        zones = SimpleITK.Cast(reader.Execute() > 1000, SimpleITK.sitkUInt8)
        SimpleITK.WriteImage(zones, str(studies / "Anna" / "zones.nrrd"))
        SimpleITK.WriteImage(zones[:, :, :6], str(studies / "Bert" / "zones.nrrd"))
        datalist, report = listed("prostate_sr", studies)
        items = [item for split in ("training", "validation", "test") for item in datalist[split]]
        assert [item["zones"].split("/")[-2:] for item in items if "zones" in item] == [["Anna", "zones.nrrd"]]
        assert reasons(report)["Bert", "zones.nrrd"] == "no DICOM image, and no segmentation of a series that is taken"

    def test_zones_of_a_dicom_segmentation(self, studies, listed):
        from dicom_images import image, item

        first = pydicom.dcmread(next((studies / "Cleo" / "4").iterdir()))
        series = [item(SeriesInstanceUID=first.SeriesInstanceUID)]
        kind = pydicom.uid.SegmentationStorage
        zones = image((4, 5), SOPClassUID=kind, Modality="SEG", ReferencedSeriesSequence=series)
        zones.save_as(studies / "Cleo" / "zones.dcm", enforce_file_format=True)
        datalist, report = listed("prostate_sr", studies)
        items = [item for split in ("training", "validation", "test") for item in datalist[split]]
        (zoned,) = [item for item in items if "zones" in item]
        assert zoned["zones"] == "../mri/Cleo/zones.dcm" and "/Cleo/4/" in zoned["image"][0]

    def test_header_of_an_enhanced_image(self, tmp_path):
        from dicom_images import enhanced, item

        from data_prep.series import MrHeader

        dataset = enhanced()
        shared = dataset.SharedFunctionalGroupsSequence[0]
        shared.MREchoSequence = [item(EffectiveEchoTime=101.0)]
        shared.MRTimingAndRelatedParametersSequence = [item(RepetitionTime=4000, FlipAngle=150)]
        dataset.EchoPulseSequence, dataset.PulseSequenceName = "SPIN", "TSE"
        dataset.save_as(tmp_path / "image.dcm", enforce_file_format=True)
        header = MrHeader.read(str(tmp_path / "image.dcm"))
        assert (header.echo, header.echo_time_ms, header.repetition_time_ms) == ("spin", 101.0, 4000.0)
        assert (header.flip_angle, header.sequence, header.planar, header.contrast) == (150.0, "tse", False, False)

    def test_real_patients(self, shared_data, listed):
        roots = [shared_data / name for name in ("prostate3t_dicom", "prostatex_dicom", "prostatex0004_zones")]
        split = ("--validation-subjects", "Prostate3T-03-0005", "--test-subjects", "ProstateX-0218")
        datalist, report = listed("prostate_sr", *roots, *split)
        assert [len(datalist[split]) for split in ("training", "validation", "test")] == [7, 1, 1]
        assert "ProstateX-0218" in datalist["test"][0]["image"][0]
        (zones,) = [item["zones"] for item in datalist["training"] if "zones" in item]
        assert zones.endswith("prostatex0004_zones/labels.nrrd")
        (hole,) = [skip["reason"] for skip in report["skipped"] if "ProstateX-missing-slice" in skip["path"]]
        assert "diffusion" in hole and "1 slice(s) missing" in hole


class TestOtherLayouts:
    @pytest.fixture
    def prostate158(self, tmp_path, write_nifti):
        for i in range(4):
            folder = tmp_path / "prostate158_train" / "train" / f"{i:03d}"
            write_nifti(folder / "t2.nii.gz", 10 * i)
            write_nifti(folder / "adc.nii.gz", 10 * i + 1)
            if i:
                write_nifti(folder / "t2_anatomy_reader1.nii.gz", 10 * i + 2)
        return tmp_path / "prostate158_train"

    @pytest.fixture
    def picai(self, tmp_path):
        for patient, visit in (("10000", "1000000"), ("10001", "1000001"), ("10001", "1000009"), ("10002", "1000002")):
            for kind in ("t2w", "adc", "sag"):
                values = np.random.default_rng(int(visit) + len(kind) * (kind != "t2w")).random((5, 4, 3))
                image = SimpleITK.GetImageFromArray(values.astype(np.float32))
                image.SetSpacing((0.5, 0.5, 3.0))
                folder = tmp_path / "picai" / patient
                folder.mkdir(parents=True, exist_ok=True)
                SimpleITK.WriteImage(image, str(folder / f"{patient}_{visit}_{kind}.mha"))
        return tmp_path / "picai"

    def test_prostate158(self, prostate158, listed, tmp_path, write_nifti):
        write_nifti(prostate158 / "train" / "005" / "t2.nii.gz", 90, affine=np.eye(4)[[0, 2, 1, 3]])
        write_nifti(prostate158 / "train" / "006" / "t2.nii.gz", 91, shape=(3, 4))
        datalist, report = listed("prostate_sr", prostate158)
        items = {item["subject"]: item for split in ("training", "validation", "test") for item in datalist[split]}
        assert list(sorted(items)) == [f"prostate158-{i:03d}" for i in range(4)]
        assert "zones" not in items["prostate158-000"]
        assert items["prostate158-003"]["zones"].endswith("/003/t2_anatomy_reader1.nii.gz")
        assert items["prostate158-003"]["image"].endswith("/003/t2.nii.gz")
        why = reasons(report)
        assert why["005", "t2.nii.gz"] == "the slices are not axial"
        assert why["006", "t2.nii.gz"] == "size (3, 4), no volume"
        assert "no segmentation" in why["003", "adc.nii.gz"]
        assert len(make_datalist(tmp_path / "out" / "list.json")["training"]) == len(datalist["training"]) == 2

    def test_picai_needs_conversion(self, picai, prepare, tmp_path):
        code, _, err = prepare("prostate_sr", picai, tmp_path / "list.json")
        assert code == 2 and "MHA is not read by the bundles; --convert DIR converts such files to NIfTI there." in err

    def test_picai(self, picai, listed, prepare, tmp_path, write_nifti):
        write_nifti(tmp_path / "labels" / "10001_1000001.nii.gz")
        words = ("--convert", tmp_path / "nifti", "--labels", str(tmp_path / "labels"))
        code, printed, _ = prepare("prostate_sr", picai, tmp_path / "out" / "list.json", *words, "--dry-run")
        assert code == 0 and "would be written" in printed and not (tmp_path / "nifti").exists()
        datalist, _ = listed("prostate_sr", picai, *map(str, words))
        items = [item for split in ("training", "validation", "test") for item in datalist[split]]
        assert sorted(item["subject"] for item in items) == ["picai-10000", *["picai-10001"] * 2, "picai-10002"]
        (zoned,) = [item for item in items if "zones" in item]
        assert zoned["zones"] == "../labels/10001_1000001.nii.gz"
        assert zoned["image"] == "../nifti/10001_1000001_t2w.nii.gz"
        assert make_datalist(tmp_path / "out" / "list.json")
        source = SimpleITK.ReadImage(str(picai / "10001" / "10001_1000001_t2w.mha"))
        target = SimpleITK.ReadImage(str(tmp_path / "nifti" / "10001_1000001_t2w.nii.gz"))
        assert np.array_equal(*map(SimpleITK.GetArrayFromImage, (source, target)))
        assert np.allclose(source.GetSpacing(), target.GetSpacing())

    def test_conversion_again(self, picai, prepare, tmp_path):
        words = ("prostate_sr", picai, tmp_path / "list.json", "--convert", tmp_path / "nifti")
        assert prepare(*words)[0] == 0
        files = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in (tmp_path / "nifti").iterdir()}
        code, printed, _ = prepare(*words)
        assert code == 0 and "there already, the same" in printed
        assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in (tmp_path / "nifti").iterdir()} == files
        first = min(files)
        first.write_bytes(max(files).read_bytes())
        code, _, err = prepare(*words)
        assert code == 2 and f"{first}: there, and not what " in err and "--overwrite replaces it" in err
        assert prepare(*words, "--overwrite")[0] == 0 and first.read_bytes() == files[first][0]

    def test_damaged_mha(self, picai, prepare, tmp_path):
        file = picai / "10000" / "10000_1000000_t2w.mha"
        file.write_bytes(file.read_bytes()[:-50])
        words = ("prostate_sr", picai, tmp_path / "list.json", "--convert", tmp_path / "nifti")
        code, _, err = prepare(*words)
        assert code == 2 and f"{file}: cannot be read: " in err and "--skip-unreadable leaves out" in err
        code, printed, _ = prepare(*words, "--skip-unreadable", "--allow-empty")
        assert code == 0 and "cannot be read" in printed and "picai-10000" not in printed


class TestT1:
    @pytest.fixture
    def spoiled(self, studies, write):
        for name in ("Anna", "Bert", "Cleo"):
            here = {"patient": f"ID-{name}", "study": f"1.{sum(map(ord, f'ID-{name}'))}"}
            write(studies / name / "20", "fl3d_vibe_10deg", VIBE, number=20, **here)
            write(studies / name / "21", "fl3d_vibe_20deg", {**VIBE, "FlipAngle": 20}, number=21, **here)
            post = {**VIBE, "FlipAngle": 30, "ContrastBolusAgent": "Gd"}
            write(studies / name / "22", "fl3d_vibe_post", post, number=22, **here)
        return studies

    def test_series_by_header(self, spoiled, listed, tmp_path):
        datalist, report = listed("prostate_t1", spoiled)
        items = [item for split in ("training", "validation", "test") for item in datalist[split]]
        assert len(items) == 3 and all("/21/" in file for item in items for file in item["image"])
        assert reasons(report)["Anna", "22"].startswith("matches too")
        assert "spin echo, not gradient echo" in reasons(report)["Anna", "4"]
        assert len(make_datalist(tmp_path / "out" / "list.json")["test"]) == 1

    def test_reasons(self, spoiled, write, listed):
        cases = [
            ("fl3d_vibe", {"FlipAngle": 5}, "flip angle 5 degrees, below 6.2 for its repetition time"),
            ("fl3d_vibe", {"EchoTime": 20}, "echo time 20 ms, above 10 ms"),
            ("gre", {"RepetitionTime": 900, "FlipAngle": 90}, "repetition time 900 ms, above 800 ms"),
            ("fl3d_PD", {}, "proton density, T2 or a map by its description"),
            ("gre", {"SequenceVariant": "SS"}, "no spoiled gradient echo by its header or names"),
            ("vibe_sub", {}, "diffusion, ADC, dynamic or localizer"),
        ]
        for i, (description, change, _) in enumerate(cases):
            write(spoiled / f"{i}" / "7", description, {**VIBE, **change}, patient=f"ID-{i}", study=f"1.9.{i}")
        _, report = listed("prostate_t1", spoiled)
        for i, (_, _, reason) in enumerate(cases):
            assert reason in reasons(report)[str(i), "7"]

    def test_names_serve_where_the_header_is_silent(self, spoiled, write, listed):
        water = {"ImageType": ["DERIVED", "PRIMARY", "DIXON", "WATER"]}
        write(spoiled / "Dora" / "7", "t1_vibe_dixon_W", water, patient="ID-Dora", study="1.9", number=7)
        datalist, _ = listed("prostate_t1", spoiled)
        assert sum(len(datalist[split]) for split in ("training", "validation", "test")) == 4

    def test_one_real_patient_is_no_split(self, shared_data, prepare, tmp_path):
        root = shared_data / "prostatex_dicom" / "ProstateX" / "ProstateX-0218"
        words = ("prostate_t1", root, tmp_path / "list.json")
        code, _, err = prepare(*words)
        assert code == 2 and "nobody is left for validation and test: 1 patient(s)" in err and "--allow-empty" in err
        assert list(tmp_path.iterdir()) == []
        code, printed, _ = prepare(*words, "--allow-empty")
        assert code == 0 and "26: 'fl3d_vibe_pre_flip_20deg_Wip403d', axial, 160x160x20" in printed
