"""A real series through the shipped weights: low resolution in, a derived series out that other readers agree on."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.metrics import PSNRMetric
from monai.transforms import LoadImage

from contracts.bundle_commands import BUNDLE
from monai_cdiff.cli import main
from monai_cdiff.data import Derivation, DicomSeriesReader, read_series, write_derived
from monai_cdiff.operators import downsample, upsample

FACTOR = 4


@pytest.fixture(scope="module")
def restored(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, np.ndarray, Path, Path]:
    """Eight slices of the test patient, their affine, the low-resolution series made of them, and the restored one."""
    folder = tmp_path_factory.mktemp("dicom")
    study = shared_data / "prostatex_dicom" / "ProstateX" / "ProstateX-0218"
    original, affine, record = read_series(study, series="t2*", plane="axial")
    original, affine = original[..., 6:14], affine.copy()
    affine[:3, 3] += 6 * affine[:3, 2]
    low = downsample(torch.from_numpy(original.copy())[None, None], FACTOR)[0, 0].numpy()
    coarse = affine.copy()
    coarse[:3, 3] += (FACTOR - 1) / 2 * (affine[:3, 0] + affine[:3, 1])
    coarse[:3, :2] *= FACTOR
    made = Derivation("low resolution for a test", "low", synthetic=False)
    series = write_derived(low, coarse, record, folder / "in", made)
    assert main(["restore", str(series), str(folder / "out"), "--bundle", str(BUNDLE), "--device", "cpu"]) == 0
    (out,) = (folder / "out").iterdir()
    return original, affine, series, out


@pytest.mark.slow
def test_the_restored_series_is_closer_to_the_original_than_interpolation(restored) -> None:
    original, affine, series, out = restored
    result, there, record = read_series(out)
    assert np.abs(there - affine).max() < 1e-5 and result.shape == original.shape
    low = torch.from_numpy(read_series(series)[0].copy())[None, None]
    bilinear = upsample(low, original.shape[:2], "bilinear")[0, 0].numpy()
    peak = float(np.ptp(np.percentile(original, [0.5, 99.5])))
    truth = torch.from_numpy(original.copy())[None, None]
    ours, theirs = (
        float(PSNRMetric(peak)(torch.from_numpy(image.copy())[None, None], truth)) for image in (result, bilinear)
    )
    print(f"restored {ours:.2f} dB, bilinear {theirs:.2f} dB")
    assert ours > theirs + 1.5


@pytest.mark.slow
def test_other_readers_see_the_same_place_and_values(restored) -> None:
    sitk = pytest.importorskip("SimpleITK")
    out = restored[3]
    volume, affine, _ = read_series(out)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(out)))
    image = reader.Execute()
    seen = np.eye(4)
    directions = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    seen[:3] = np.diag([-1, -1, 1]) @ np.column_stack([directions, image.GetOrigin()])
    assert np.abs(seen - affine).max() < 1e-5
    assert np.array_equal(sitk.GetArrayFromImage(image).T.astype(np.float32), volume)

    loaded = LoadImage(reader=DicomSeriesReader())(str(out))
    assert np.array_equal(loaded.numpy(), volume) and np.abs(loaded.affine.numpy() - affine).max() < 1e-9

    if shutil.which("dcm2niix") is None:
        pytest.skip("dcm2niix is not installed")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["dcm2niix", "-o", folder, "-f", "x", str(out)], check=True, capture_output=True)
        nifti = nibabel.load(next(Path(folder).glob("x.nii*")))
        # dcm2niix turns the rows around: where a voxel lies decides, not its index
        index = np.linalg.inv(nifti.affine) @ affine
        assert np.abs(index[:3, :3] - np.rint(index[:3, :3])).max() < 1e-3
        for voxel in ([0, 0, 0], [100, 37, 3], [319, 319, 7]):
            i, j, k = np.rint((index @ [*voxel, 1])[:3]).astype(int)
            assert np.asanyarray(nifti.dataobj)[i, j, k] == volume[tuple(voxel)]
