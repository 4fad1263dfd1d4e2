"""Derived series of the linear phantom, as three readers that are not ours see them."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pydicom
import pytest

from contracts.dicom_sources import OBLIQUE, linear, write_stack
from monai_cdiff.data import Derivation, write_derived

pytestmark = pytest.mark.slow
DONE = Derivation("resampled", "rs")


@pytest.fixture(params=[("MR", (1, 0, 0, 0, 1, 0)), ("MR", OBLIQUE), ("CT", (0, 1, 0, 0, 0, -1))], ids=str)
def derived(request, tmp_path):
    """The folder of a series made finer, and what it holds less than the phantom."""
    modality, orientation = request.param
    _, affine, record = write_stack(tmp_path / "in", modality, orientation=orientation)
    finer = affine @ np.diag([0.5, 0.5, 1 / 3, 1.0])
    below = 1024 if modality == "CT" else 0
    return write_derived(linear(finer, (16, 12, 13)) - below, finer, record, tmp_path / "out", DONE), below


def _check(values, affine, below):
    assert values.size == 16 * 12 * 13
    assert np.abs(values + below - linear(affine, values.shape)).max() <= 0.51


def test_row18_simpleitk(derived):
    sitk = pytest.importorskip("SimpleITK")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(derived[0])))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    _check(sitk.GetArrayFromImage(image).T, np.diag([-1, -1, 1, 1]) @ affine, derived[1])


def test_row18_dcm2niix(derived, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    if shutil.which("dcm2niix") is None:
        pytest.skip("dcm2niix is not installed (Debian: apt-get install dcm2niix)")
    subprocess.run(["dcm2niix", "-f", "image", "-o", str(tmp_path), str(derived[0])], check=True, capture_output=True)
    image = nibabel.load(tmp_path / "image.nii")
    _check(image.get_fdata(), image.affine, derived[1])


def test_row18_highdicom(derived):
    highdicom = pytest.importorskip("highdicom")
    datasets = [pydicom.dcmread(file) for file in derived[0].glob("*.dcm")]
    volume = highdicom.get_volume_from_series(datasets, dtype=np.float64)
    _check(np.asarray(volume.array), np.diag([-1, -1, 1, 1]) @ volume.affine, derived[1])
