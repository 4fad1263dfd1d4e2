"""Denoising of X-rays: pictures and DICOM in and out, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from monai.bundle import ConfigParser
from PIL import Image

from contracts.bundle_commands import bundle, config, read_metrics, small, write_patients, write_xrays
from contracts.dicom_sources import write_projection
from monai_cdiff.cli import main
from monai_cdiff.data import read_series


@pytest.fixture(scope="module")
def words(small_bundle: Callable[[str], tuple[Path, Path]]) -> list[str]:
    checkpoint = small_bundle("denoise")[1] / "checkpoints" / "model.pt"
    return ["--bundle", str(bundle("denoise")), "--checkpoint", str(checkpoint), "--device", "cpu"]


@pytest.mark.parametrize(("count", "expected"), [(209, list(range(0, 192, 3))), (10, list(range(10)))])
def test_validation_looks_through_the_whole_list(count: int, expected: list[int]) -> None:
    parser = ConfigParser({**config("denoise", "train"), "datalist": {"validation": list(range(count))}})
    assert parser.get_parsed_content("validate#volumes#data") == expected


def test_pictures_for_a_network_of_volumes_are_refused(tmp_path: Path, run: Callable[..., Any]) -> None:
    data = write_xrays(tmp_path / "in")
    with pytest.raises(RuntimeError) as caught:
        overrides = {**small("denoise"), "dataset_dir": str(data), "output_dir": str(tmp_path / "out")}
        run("training", "denoise/train", spatial_dims=3, **overrides)
    assert "an image of 2 dimensions; this bundle takes images of 3" in str(caught.value.__cause__)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("modality", ["CR", "DX"])
def test_an_xray_in_dicom_comes_back_as_one(modality: str, tmp_path: Path, words: list[str]) -> None:
    write_projection(tmp_path / "x", modality)
    assert main(["restore", str(tmp_path / "x" / "image.dcm"), str(tmp_path / "out"), *words]) == 0
    before, affine, _ = read_series(tmp_path / "x" / "image.dcm")
    after, there, record = read_series(tmp_path / "out")
    assert after.shape == before.shape and np.array_equal(there, affine) and not np.array_equal(after, before)
    source, derived = pydicom.dcmread(tmp_path / "x" / "image.dcm"), pydicom.dcmread(record.files[0])
    assert derived.PhotometricInterpretation == source.PhotometricInterpretation
    assert "denoising" in derived.DerivationDescription and derived.SeriesInstanceUID != source.SeriesInstanceUID
    assert after.mean() == pytest.approx(before.mean(), rel=0.1)


def test_monochrome1_is_restored_as_what_a_viewer_shows(tmp_path: Path, words: list[str]) -> None:
    """The same picture kept with white as zero gives the same restoration."""
    write_projection(tmp_path / "two", "CR", size=(20, 24))
    dataset = pydicom.dcmread(tmp_path / "two" / "image.dcm")
    top = 2**dataset.BitsStored - 1
    dataset.PixelData = (top - dataset.pixel_array).astype(dataset.pixel_array.dtype).tobytes()
    other = {"MONOCHROME1": "MONOCHROME2", "MONOCHROME2": "MONOCHROME1"}[dataset.PhotometricInterpretation]
    dataset.PhotometricInterpretation = other
    dataset.PresentationLUTShape = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}[other]
    (tmp_path / "one").mkdir()
    dataset.save_as(tmp_path / "one" / "image.dcm")
    restored = []
    for name in ("one", "two"):
        assert main(["restore", str(tmp_path / name), str(tmp_path / "out" / name), *words]) == 0
        restored.append(read_series(tmp_path / "out" / name)[0])
    assert np.abs(restored[0] - restored[1]).max() <= 1


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_a_picture_keeps_its_depth(dtype: type, top: int, tmp_path: Path, words: list[str]) -> None:
    values = (np.random.default_rng(0).random((20, 24)).cumsum(0) / 20 * top).astype(dtype)
    Image.fromarray(values).save(tmp_path / "x.png")
    assert main(["restore", str(tmp_path / "x.png"), str(tmp_path / "out"), *words]) == 0
    restored = np.asarray(Image.open(tmp_path / "out" / "x_denoise.png"))
    assert restored.dtype == dtype and restored.shape == (20, 24)
    assert restored.mean() == pytest.approx(values.mean(), rel=0.1)


def test_grey_kept_in_three_channels_is_one(tmp_path: Path, words: list[str]) -> None:
    grey = (np.random.default_rng(0).random((20, 24)) * 255).astype(np.uint8)
    for name, values in (("grey", grey), ("rgb", np.stack([grey] * 3, -1))):
        Image.fromarray(values).save(tmp_path / f"{name}.png")
        assert main(["restore", str(tmp_path / f"{name}.png"), str(tmp_path / name), *words, "--seed", "3"]) == 0
    one, other = (np.asarray(Image.open(tmp_path / n / f"{n}_denoise.png")) for n in ("grey", "rgb"))
    assert one.ndim == other.ndim == 2 and np.abs(one.astype(int) - other).mean() < 40


def test_colour_is_refused_before_anything_is_written(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for n, channels in enumerate((1, 3)):
        values = (np.random.default_rng(n).random((20, 24, channels)) * 255).astype(np.uint8)
        Image.fromarray(values.squeeze()).save(tmp_path / "in" / f"{n}.png")
    assert main(["restore", str(tmp_path / "in"), str(tmp_path / "out"), *words]) == 2
    assert "1.png" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_two_xrays_of_one_series_are_trained_on_as_two(tmp_path: Path, run: Callable[..., Any]) -> None:
    for n in range(3):
        for side in ("left", "right"):
            folder = tmp_path / "data" / f"patient{n}" / side
            write_projection(folder, "DX", (24, 20), PatientID=f"P{n}", StudyInstanceUID=f"1.2.{n}")
            file = folder / "image.dcm"
            x_ray = pydicom.dcmread(file)
            x_ray.SeriesInstanceUID = f"1.2.{n}.1"
            x_ray.save_as(file)
    overrides = {**small("denoise"), "dataset_dir": str(tmp_path / "data"), "output_dir": str(tmp_path / "out")}
    run("training", "denoise/train", **overrides)
    assert read_metrics(tmp_path / "out")["n_images"] == 2


def test_images_smaller_than_a_patch_are_trained_on(tmp_path: Path, run: Callable[..., Any]) -> None:
    data = write_xrays(tmp_path / "data", size=(13, 12))
    overrides = {**small("denoise"), "patch_size": 32, "dataset_dir": str(data), "output_dir": str(tmp_path / "out")}
    run("training", "denoise/train", **overrides)
    assert np.isfinite(read_metrics(tmp_path / "out")["psnr"])


def test_volumes_are_refused(tmp_path: Path, run: Callable[..., Any]) -> None:
    data = write_patients(tmp_path / "data")
    with pytest.raises(RuntimeError) as caught:
        run("training", "denoise/train", dataset_dir=str(data), output_dir=str(tmp_path / "out"), **small("denoise"))
    error: BaseException = caught.value
    while error.__cause__ is not None:
        error = error.__cause__
    assert "an image of 3 dimensions; this bundle takes images of 2" in str(error)
