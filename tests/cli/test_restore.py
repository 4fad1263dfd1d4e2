"""The command ``restore``: NIfTI from end to end, and what it refuses before the network runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from contracts.untrained_bundles import write_untrained
from monai_cdiff.cli import main
from monai_cdiff.operators import upsample

ROOT = Path(__file__).resolve().parent.parent.parent
BUNDLE = str(ROOT / "bundles" / "sr")
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


@pytest.fixture
def image(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).random((13, 11, 2)).cumsum(0).cumsum(1).astype(np.float32)
    nifti = nibabel.Nifti1Image(values, AFFINE)
    nifti.set_sform(AFFINE, 4)
    nifti.header.set_xyzt_units("mm")
    nifti.to_filename(tmp_path / "knee.left.nii.gz")
    return tmp_path / "knee.left.nii.gz"


def restore(image: Path, *words: str) -> int:
    output = str(image.parent / "out")
    return main(["restore", str(image), output, "--bundle", BUNDLE, "--device", "cpu", "--steps", "1", *words])


def test_row24_nifti_gives_nifti(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # the bundle is found from anywhere
    assert restore(image) == 0
    written = tmp_path / "out" / "knee.left_sr.nii.gz"
    assert f"{image} -> {written}" in capsys.readouterr().out
    low, fine = nibabel.load(image), nibabel.load(written)
    assert fine.shape == (52, 44, 2) and fine.header.get_xyzt_units()[0] == "mm" and int(fine.header["sform_code"]) == 4
    np.testing.assert_allclose(fine.affine @ [-0.5, -0.5, 0, 1], low.affine @ [-0.5, -0.5, 0, 1], atol=1e-5)
    assert fine.get_fdata().mean() == pytest.approx(low.get_fdata().mean(), rel=0.05)
    before = written.read_bytes()
    assert restore(image) == 2 and "exists" in capsys.readouterr().err and written.read_bytes() == before
    assert restore(image, "--overwrite", "--seed", "1", "--samples", "2") == 0 and written.read_bytes() != before


def test_uncertainty_writes_mean_and_standard_deviation(image: Path, tmp_path: Path) -> None:
    assert restore(image, "--uncertainty", "--samples", "2") == 0
    mean, std = (nibabel.load(tmp_path / "out" / f"knee.left_{label}.nii.gz") for label in ("sr", "sr-std"))
    np.testing.assert_array_equal(mean.affine, std.affine)
    assert mean.shape == std.shape == (52, 44, 2)
    assert 0 <= std.get_fdata().min() and 0 < std.get_fdata().mean() < 0.05 * mean.get_fdata().max()


def test_the_weights_of_a_regression(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = write_untrained("sr", tmp_path / "regression.pt", method="regression", factor=4.0)
    words = ["restore", str(image), str(tmp_path / "out"), "--bundle", BUNDLE, "--checkpoint", str(weights)]
    assert main([*words, "--device", "cpu"]) == 0
    fine = nibabel.load(tmp_path / "out" / "knee.left_sr.nii.gz")
    values = torch.from_numpy(nibabel.load(image).get_fdata(dtype=np.float32)).movedim(2, 0)[:, None]
    low = upsample(values, (52, 44))[:, 0].movedim(0, 2)
    np.testing.assert_allclose(fine.get_fdata(), low.numpy(), rtol=1e-4)  # one that was never trained predicts nothing
    for option in (["--steps", "2"], ["--samples", "2"], ["--seed", "0"], ["--uncertainty"]):
        assert main([*words, "--overwrite", *option]) == 2
        assert f"{option[0]}: these weights are of a regression" in capsys.readouterr().err


@pytest.mark.parametrize(("ending", "dtype"), [("png", np.uint16), ("jpeg", np.uint8)])
def test_a_picture_gives_a_png(ending: str, dtype: type, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    levels = np.add.outer(np.arange(9) ** 2, 3 * np.arange(12)) * (200 if dtype == np.uint16 else 2)
    path = tmp_path / f"chest.{ending}"
    Image.fromarray(levels.astype(dtype)).save(path)
    assert restore(path) == 0
    written = tmp_path / "out" / "chest_sr.png"
    assert f"{path} -> {written}" in capsys.readouterr().out
    with Image.open(written) as image:
        fine = np.asarray(image).astype(float)
        assert image.text["Warning"].startswith("Synthetic content") and "sampler=DDIM" in image.text["Comment"]
    assert fine.shape == (36, 48) and image.mode == ("I;16" if dtype == np.uint16 else "L")
    coarse = fine.reshape(9, 4, 12, 4).mean((1, 3))
    assert np.abs(coarse - levels).mean() < 0.05 * levels.max()
    assert restore(path) == 2 and f"{written} exists" in capsys.readouterr().err
    assert restore(path, "--overwrite", "--uncertainty", "--samples", "2") == 0
    with Image.open(tmp_path / "out" / "chest_sr-std.png") as image:
        assert image.mode == "I;16" and "x standard deviation" in image.text["Comment"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--mask", "m.nii.gz"], "--mask: this bundle takes none"),
        (["--device", "toaster"], "--device toaster: there is no such device"),
        (["--checkpoint", "gone.pt"], "gone.pt' does not exist"),
        (["--steps", "5000"], "--steps=5000 must be a whole number, from 1 to 2000"),
        (["--factor", "0.5"], "factor=0.5 must be a finite number, more than 1"),
        (["--samples", "0"], "--samples=0 must be at least 1"),
        (["--uncertainty", "--samples", "1"], "--samples=1 must be a whole number, at least 2"),
        (["--bundle", "/nowhere"], "give the folder of a bundle"),
        (["--select", "EchoTime"], "give TAG=VALUE"),
        (["--series", "$print(1)"], "which a configuration would evaluate"),
        (["--template", "/nowhere"], "template='/nowhere' must be a DICOM series"),
        (["--device", "meta"], "--device meta: there is no such device"),
        (["--select", "EchoTime=$print(1)"], "which a configuration would evaluate"),
        (["--select", "EchoTime=1", "--select", "EchoTime=2"], "give each TAG once"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(
    image: Path, tmp_path: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert restore(image, *words) == 2
    shown = capsys.readouterr().err.strip()
    assert shown.startswith("error: ") and sentence in shown and "Traceback" not in shown
    assert "restoring" not in shown and not (tmp_path / "out").exists()


def test_wrong_inputs_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    hurt = tmp_path / "hurt.nii.gz"
    hurt.write_bytes(b"not an image")
    Image.new("RGB", (9, 9), (90, 20, 20)).save(tmp_path / "red.png")
    for path, sentence in [
        (tmp_path / "gone", "does not exist"),
        (tmp_path / "empty", "holds no images"),
        (hurt, f"{hurt}: the NIfTI header cannot be read"),
        (tmp_path / "red.png", "red.png: is a colour image"),
    ]:
        assert restore(path) == 2, path
        assert sentence in capsys.readouterr().err
    for output in ("out.nii.gz", "out.TIF", "out.dcm"):
        assert main(["restore", str(hurt), output, "--bundle", BUNDLE]) == 2
        assert "names a file; give a folder" in capsys.readouterr().err


def test_empty_words_are_not_the_folder_one_is_in(
    image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(image.parent)
    for words, name in [(["", "out"], "INPUT"), ([str(image), " "], "OUTPUT")]:
        assert main(["restore", *words, "--bundle", BUNDLE, "--device", "cpu", "--steps", "1"]) == 2
        assert f"{name} is empty" in capsys.readouterr().err
    assert [path.name for path in image.parent.iterdir()] == [image.name]


def test_row22_an_output_that_cannot_be_written_is_refused_first(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    words = ["--bundle", BUNDLE, "--device", "cpu", "--steps", "1"]
    assert main(["restore", str(image), str(tmp_path / "file" / "out"), *words]) == 2
    shown = capsys.readouterr().err
    assert f"{tmp_path / 'file'} is a file" in shown and "restoring" not in shown


def test_debug_shows_where(image: Path) -> None:
    with pytest.raises(ValueError, match="factor=0.5"):
        restore(image, "--factor", "0.5", "--debug")


def test_help_and_version_import_no_torch() -> None:
    code = (
        "import sys, monai_cdiff.cli as cli\n"
        "for words in (['--help'], ['--version'], ['restore', '--help'], ['dicom', 'scan', '--help']):\n"
        "    try: cli.main(words)\n"
        "    except SystemExit as end: print('code', end.code, 'torch' in sys.modules)\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    shown = " ".join(shown.split())
    assert shown.count("code 0 False") == 4 and "not a medical device" in shown and "monai_cdiff 0." in shown


def test_wrong_words_end_with_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["restore", "only-input"])
    assert caught.value.code == 2 and "usage:" in capsys.readouterr().err
