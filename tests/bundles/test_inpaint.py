"""Inpainting: a mask of the user in, every measured voxel out as it was stored, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image

from contracts.bundle_commands import AFFINE, bundle, read_metrics, small, write_inputs
from contracts.dicom_sources import write_projection, write_stack
from contracts.untrained_bundles import write_untrained
from monai_cdiff.cli import main
from monai_cdiff.data import read_series
from monai_cdiff.handlers import read_checkpoint
from monai_cdiff.utils import root_cause

SIZE = (24, 20, 4)


@pytest.fixture(scope="module")
def words(small_bundle: Callable[[str], tuple[Path, Path]]) -> list[str]:
    checkpoint = small_bundle("inpaint")[1] / "checkpoints" / "model.pt"
    return ["--bundle", str(bundle("inpaint")), "--checkpoint", str(checkpoint), "--device", "cpu"]


def write_nifti(path: Path, values: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


def box(shape: tuple[int, ...] = SIZE) -> np.ndarray:
    mask = np.zeros(shape, dtype=np.uint8)
    mask[5:11, 6:15] = 1
    return mask


@pytest.mark.parametrize(("modality", "elements"), [("MR", {}), ("CT", {}), ("MR", {"RescaleSlope": "0.37"})])
def test_dicom_outside_the_mask_is_stored_as_it_was(
    modality: str, elements: dict[str, str], tmp_path: Path, words: list[str]
) -> None:
    if elements:
        elements = {**elements, "RescaleIntercept": "-3", "RescaleType": "US"}
    values, affine, record = write_stack(tmp_path / "in" / "s", modality, (16, 14, 3), **elements)
    mask = box((16, 14, 3))
    turned = affine @ np.array([[-1, 0, 0, 15], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    file = write_nifti(tmp_path / "mask.nii.gz", mask[::-1].copy(), turned)  # as another program would store it
    assert main(["restore", str(tmp_path / "in" / "s"), str(tmp_path / "out"), "--mask", str(file), *words]) == 0
    original, _, _ = read_series(tmp_path / "in" / "s")
    restored, there, found = read_series(tmp_path / "out")
    np.testing.assert_allclose(there, affine, atol=1e-5)
    assert np.array_equal(restored[mask == 0], original[mask == 0])
    assert (restored[mask == 1] != original[mask == 1]).mean() > 0.5  # the image is smooth, and so is the filling
    for old, new in zip(record.files, found.files):
        first, second = pydicom.dcmread(old), pydicom.dcmread(new)
        outside = mask[:, :, record.files.index(old)].T == 0
        same = first.get("RescaleSlope", 1) == second.get("RescaleSlope", 1)
        assert same and np.array_equal(first.pixel_array[outside], second.pixel_array[outside])
        assert "inpainting" in second.DerivationDescription and second.SyntheticData == "YES"


def test_the_mean_of_samples_keeps_what_was_measured(tmp_path: Path, words: list[str]) -> None:
    values = np.random.default_rng(0).random(SIZE).astype(np.float32) * 1000
    file, mask = write_nifti(tmp_path / "in.nii.gz", values), write_nifti(tmp_path / "mask.nii.gz", box())
    several = ["--uncertainty", "--samples", "2", "--mask", str(mask), *words]
    assert main(["restore", str(file), str(tmp_path / "out"), *several]) == 0
    written = [tmp_path / "out" / f"in_{label}.nii.gz" for label in ("inpaint", "inpaint-std")]
    mean, std = (nibabel.load(path).get_fdata() for path in written)
    assert np.array_equal(mean[box() == 0], values[box() == 0])
    assert (std[box() == 0] == 0).all() and (std[box() == 1] > 0).all()


def test_a_mask_as_a_dicom_series(tmp_path: Path, words: list[str]) -> None:
    values, _, record = write_stack(tmp_path / "in" / "s", "MR", (16, 14, 3))
    _, _, masks = write_stack(tmp_path / "masks" / "s", "MR", (16, 14, 3))
    for n, file in enumerate(masks.files):
        dataset = pydicom.dcmread(file)
        dataset.PixelData = (box((16, 14, 3))[:, :, n].T * 1).astype(np.uint16).tobytes()
        dataset.save_as(file)
    mask = str(tmp_path / "masks")
    assert main(["restore", str(tmp_path / "in"), str(tmp_path / "out"), "--mask", mask, *words]) == 0
    restored, _, _ = read_series(tmp_path / "out")
    assert np.array_equal(restored != values, box((16, 14, 3)) * (restored != values))
    assert (restored != values).sum() > 0


def test_a_regression_keeps_what_was_measured_and_says_what_it_is(tmp_path: Path) -> None:
    values, affine, _ = write_stack(tmp_path / "in" / "s", "MR", (16, 14, 3))
    mask = write_nifti(tmp_path / "mask.nii.gz", box((16, 14, 3)), affine)
    weights = write_untrained("inpaint", tmp_path / "regression.pt", method="regression")
    words = ["--bundle", str(bundle("inpaint")), "--checkpoint", str(weights), "--device", "cpu", "--mask", str(mask)]
    assert main(["restore", str(tmp_path / "in"), str(tmp_path / "out"), *words]) == 0
    restored, _, found = read_series(tmp_path / "out")
    covered = box((16, 14, 3)) > 0
    assert np.array_equal(restored[~covered], values[~covered]) and (restored[covered] != values[covered]).any()
    told = pydicom.dcmread(found.files[0]).ContributingEquipmentSequence[-1].ContributionDescription
    assert "method=regression" in told and "network=ConditionalUNet" in told
    assert not any(word in told for word in ("seed=", "sampler=", "num_inference_steps="))


def test_an_xray_with_a_picture_as_mask(tmp_path: Path, words: list[str]) -> None:
    write_projection(tmp_path / "x", "CR")
    before, _, _ = read_series(tmp_path / "x" / "image.dcm")
    mask = np.zeros(before.shape[::-1], np.uint8)
    mask[1:4, 2:5] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    arguments = [str(tmp_path / "x" / "image.dcm"), str(tmp_path / "out"), "--mask", str(tmp_path / "mask.png")]
    assert main(["restore", *arguments, *words]) == 0
    after, _, _ = read_series(tmp_path / "out")
    assert np.array_equal(after[mask.T == 0], before[mask.T == 0]) and (after != before).any()


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_nifti_outside_the_mask_is_bit_exact(dtype: type, tmp_path: Path, words: list[str]) -> None:
    values = (np.random.default_rng(0).random((*SIZE[:2], 1)) * 1000).astype(dtype)  # a patient with one slice
    image = write_nifti(tmp_path / "in" / "a.nii.gz", values)
    mask = write_nifti(tmp_path / "masks" / "a.nii.gz", box((*SIZE[:2], 1)) * 7)
    assert main(["restore", str(image), str(tmp_path / "out"), "--mask", str(mask), *words]) == 0
    restored = np.asarray(nibabel.load(tmp_path / "out" / "a_inpaint.nii.gz").dataobj)
    covered = box((*SIZE[:2], 1)) > 0
    assert np.array_equal(restored[~covered], values.astype(np.float32)[~covered])
    assert (restored[covered] != values.astype(np.float32)[covered]).all()


def test_two_masks_of_one_noise_differ_only_where_they_differ(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is filled hangs on the mask; what is measured does not."""
    values = np.random.default_rng(1).random(SIZE).astype(np.float32)
    image = write_nifti(tmp_path / "a.nii.gz", values)
    whole = np.zeros(SIZE, np.uint8)
    for name, mask in (("box", box()), ("empty", whole)):
        file = write_nifti(tmp_path / f"{name}.nii.gz", mask)
        assert main(["restore", str(image), str(tmp_path / name), "--mask", str(file), *words]) == 0
        said = capsys.readouterr().err.count(f"{image}: the mask {file} is 0 everywhere, so nothing is filled")
        assert said == (1 if name == "empty" else 0)
    assert np.array_equal(np.asarray(nibabel.load(tmp_path / "empty" / "a_inpaint.nii.gz").dataobj), values)


def bad_mask(kind: str, folder: Path) -> str:
    shift = AFFINE + np.array([[0, 0, 0, 9.0]] + [[0] * 4] * 3)
    makers = {
        "missing": lambda: folder / "none.nii.gz",
        "size": lambda: write_nifti(folder / "m.nii.gz", box((24, 20, 5))),
        "place": lambda: write_nifti(folder / "m.nii.gz", box(), shift),
        "all": lambda: write_nifti(folder / "m.nii.gz", np.ones(SIZE, np.uint8)),
        "nan": lambda: write_nifti(folder / "m.nii.gz", np.full(SIZE, np.nan, np.float32)),
        "name": lambda: write_nifti(folder / "other" / "b.nii.gz", box()).parent,
    }
    return str(makers[kind]())


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "--mask='.*none.nii.gz' does not exist"),
        ("size", "mask of 24 x 20 x 5 does not fit the image of 24 x 20 x 4"),
        ("place", "do not lie on one grid: their voxels are up to 18 apart"),
        ("all", "covers the whole image"),
        ("nan", "mask holds 1920 NaN or infinite values"),
        ("name", "no mask named 'a' for .*a.nii.gz"),
    ],
)
def test_a_wrong_mask_is_refused_before_anything_is_written(
    kind: str, message: str, tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    image = write_nifti(tmp_path / "in" / "a.nii.gz", np.random.default_rng(0).random(SIZE).astype(np.float32))
    mask = bad_mask(kind, tmp_path)
    assert main(["restore", str(image.parent), str(tmp_path / "out"), "--mask", mask, *words]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert not (tmp_path / "out").exists()


def test_no_mask_is_an_error(tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    image = write_nifti(tmp_path / "a.nii.gz", np.random.default_rng(0).random(SIZE).astype(np.float32))
    assert main(["restore", str(image), str(tmp_path / "out"), *words]) == 2
    assert "--mask=None: give what is to be filled, as --mask PATH" in capsys.readouterr().err


def test_nan_in_what_was_measured_is_an_error(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.random.default_rng(0).random(SIZE).astype(np.float32)
    values[0, 0, 0] = np.nan
    image, mask = write_nifti(tmp_path / "a.nii.gz", values), write_nifti(tmp_path / "m.nii.gz", box())
    assert main(["restore", str(image), str(tmp_path / "out"), "--mask", str(mask), *words]) == 2
    error = capsys.readouterr().err
    assert f"{image}: img outside the mask holds 1 NaN or infinite values" in error and not (tmp_path / "out").exists()


def test_what_is_to_be_filled_may_be_nan(tmp_path: Path, words: list[str]) -> None:
    """Voxels under the mask take no part: the result is that of any other values there."""
    values = np.random.default_rng(0).random(SIZE).astype(np.float32) * 100
    results = []
    for name, hidden in (("finite", 1e6), ("nan", np.nan), ("inf", -np.inf)):
        image = write_nifti(tmp_path / name / "a.nii.gz", np.where(box() == 1, np.float32(hidden), values))
        mask = write_nifti(tmp_path / "m.nii.gz", box())
        assert main(["restore", str(image), str(tmp_path / name / "out"), "--mask", str(mask), *words]) == 0
        results.append(np.asarray(nibabel.load(tmp_path / name / "out" / "a_inpaint.nii.gz").dataobj))
    assert np.isfinite(results[1]).all() and np.array_equal(results[1][box() == 0], values[box() == 0])
    assert np.array_equal(results[1], results[0]) and np.array_equal(results[2], results[0])


def test_what_the_network_begins_with_comes_from_the_checkpoint(tmp_path: Path, run: Callable[..., Any]) -> None:
    data, output = write_inputs("inpaint", tmp_path / "data"), tmp_path / "out"
    common = {"dataset_dir": str(data), "device": "cpu"}
    training = {**small("inpaint"), **common, "output_dir": str(output)}
    run("training", "inpaint/train", **training, fill="harmonic")
    weights = str(output / "checkpoints" / "model.pt")
    assert read_checkpoint(weights)["settings"]["fill"] == "harmonic"
    run("run", "inpaint/evaluate", **common, checkpoint=weights, output_dir=str(tmp_path / "score"))
    harmonic = read_metrics(tmp_path / "score")["baseline"]
    run("run", "inpaint/evaluate", **common, checkpoint=weights, output_dir=str(tmp_path / "mean"), fill="mean")
    mean = read_metrics(tmp_path / "mean")["baseline"]
    assert (harmonic["name"], mean["name"]) == ("harmonic fill", "mean fill")
    assert harmonic["psnr"] > mean["psnr"] + 10  # the images are smooth
    with pytest.raises(RuntimeError) as caught:  # MONAI wraps it
        run("training", "inpaint/train", **training, fill="median")
    assert "fill='median'" in str(root_cause(caught.value))
