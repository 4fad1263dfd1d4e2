"""Where the slices of a derived series lie, on every grid that a volume may come back on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pydicom
import pytest

from contracts.dicom_sources import OBLIQUE, linear, write_projection, write_stack
from monai_cdiff.data import Derivation, DicomError, read_series, write_derived
from monai_cdiff.data.dicom_geometry import slice_normal

DONE = Derivation("resampled", "rs")


def _finer(factors, affine):
    """A grid that covers the same space with voxels smaller by ``factors``."""
    matrix = affine.copy()
    matrix[:3, :3] /= factors
    matrix[:3, 3] += affine[:3, :3] @ ((1 / np.array(factors) - 1) / 2)
    return matrix


def _turned(affine, angle=0.2):
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ affine


def _left_handed(affine):
    return affine @ np.diag([1.0, 1.0, -1.0, 1.0]) + np.outer(affine @ [0, 0, 4, 0], [0, 0, 0, 1])


GRIDS = {
    "same": ((8, 6, 5), lambda a: a),
    "finer in-plane": ((32, 24, 5), lambda a: _finer((4, 4, 1), a)),
    "finer through-plane": ((8, 6, 15), lambda a: _finer((1, 1, 3), a)),
    "cropped": ((4, 3, 2), lambda a: a @ np.array([[1, 0, 0, 2], [0, 1, 0, 3], [0, 0, 1, 1], [0, 0, 0, 1.0]])),
    "rotated": ((8, 6, 5), _turned),
    "permuted": ((5, 8, 6), lambda a: a[:, [2, 0, 1, 3]]),
    "left-handed": ((8, 6, 5), _left_handed),
}


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), OBLIQUE])
@pytest.mark.parametrize("grid", GRIDS)
def test_row18_values_are_those_of_their_places(tmp_path, grid, orientation):
    _, source, record = write_stack(tmp_path / "in", orientation=orientation)
    shape, change = GRIDS[grid]
    affine = change(source)
    folder = write_derived(linear(affine, shape), affine, record, tmp_path / "out", DONE)
    values, there = read_series(folder)[:2]
    assert values.size == np.prod(shape)
    assert np.abs(values - linear(there, values.shape)).max() <= 0.501  # rounded to whole numbers
    corner = np.abs(np.linalg.inv(affine) @ there[:, 3])
    assert np.allclose(corner, np.rint(corner), atol=1e-4)  # the centre of a voxel of the new grid
    for file in sorted(folder.glob("*.dcm")):
        _agrees(pydicom.dcmread(file), there)


def _agrees(dataset, affine):
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    normal = slice_normal([float(value) for value in dataset.ImageOrientationPatient])
    assert np.allclose(np.array(dataset.PixelSpacing, float), spacing[1::-1])
    assert np.isclose(dataset.SpacingBetweenSlices, spacing[2])
    assert np.isclose(dataset.SliceThickness, 2.5 * spacing[2] / 3)
    assert np.isclose(dataset.SliceLocation, normal @ np.array(dataset.ImagePositionPatient, float), atol=1e-5)


@pytest.mark.parametrize("descending", [False, True])
def test_row18_instance_numbers_run_as_those_of_the_source(tmp_path, descending):
    values, affine, record = write_stack(tmp_path / "in", descending=descending)
    folder = write_derived(values, affine, record, tmp_path / "out", DONE)
    depths = [pydicom.dcmread(file).ImagePositionPatient[2] for file in sorted(folder.glob("*.dcm"))]
    numbers = [pydicom.dcmread(file).InstanceNumber for file in sorted(folder.glob("*.dcm"))]
    assert numbers == [1, 2, 3, 4, 5] and depths == sorted(depths, reverse=descending)


def test_row07_a_tilted_stack_is_written_slice_by_slice(tmp_path):
    _, affine, record = write_stack(tmp_path / "in")
    affine = affine.copy()
    affine[1, 2] += 1.0  # each slice lies 1 mm further to the front
    folder = write_derived(linear(affine, (8, 6, 5)), affine, record, tmp_path / "out", DONE)
    for k, file in enumerate(sorted(folder.glob("*.dcm"))):
        dataset = pydicom.dcmread(file)
        assert np.allclose(np.array(dataset.ImagePositionPatient, float) * [-1, -1, 1], (affine @ [0, 0, k, 1])[:3])
        assert list(dataset.ImageOrientationPatient) == [1, 0, 0, 0, 1, 0] and dataset.SpacingBetweenSlices == 3


def test_row18_what_dicom_cannot_say_is_refused(tmp_path):
    values, affine, record = write_stack(tmp_path / "in")
    sheared = affine.copy()
    sheared[1, 0] += 0.1
    far = affine.copy()
    far[2, 3] += 100
    infinite = affine.copy()
    infinite[0, 3] = np.nan
    for matrix, word in ((sheared, "right angles"), (far, "do not overlap"), (infinite, "finite, invertible")):
        with pytest.raises(DicomError, match=word):
            write_derived(values, matrix, record, tmp_path / "out", DONE)
    assert not (tmp_path / "out").exists()


def test_row18_nifti_in_with_a_template(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    write_stack(tmp_path / "in")
    _, source, _ = write_stack(tmp_path / "other")
    affine = _left_handed(_finer((2, 2, 1), source))
    nibabel.save(nibabel.Nifti1Image(linear(affine, (16, 12, 5)), affine), tmp_path / "image.nii")
    image = nibabel.load(tmp_path / "image.nii")
    folder = write_derived(image.get_fdata(), image.affine, tmp_path / "in", tmp_path / "out", DONE)
    values, there = read_series(folder)[:2]
    assert np.abs(values - linear(there, values.shape)).max() <= 0.501


def test_row18_one_slice_of_a_template_file(tmp_path):
    values, affine, record = write_stack(tmp_path / "in", size=(8, 6, 1))
    folder = write_derived(values[..., 0], affine, record.files[0], tmp_path / "out", DONE)
    assert np.array_equal(read_series(folder)[0], values)
    single = dataclasses.replace(record, files=record.files[:1])
    assert single.shape == (8, 6, 1)


@pytest.mark.parametrize("modality", ["CR", "DX"])
def test_row18_spacing_of_a_finer_radiograph(tmp_path, modality):
    _, affine, record = write_projection(tmp_path / "in", modality, PixelSpacing=[0.3, 0.15])
    finer = _finer((2, 2, 1), affine)
    values = np.arange(16 * 12.0).reshape(16, 12)
    dataset = pydicom.dcmread(write_derived(values, finer, record, tmp_path, DONE))
    assert np.allclose(np.array(dataset.ImagerPixelSpacing, float), [0.2, 0.1])
    assert np.allclose(np.array(dataset.PixelSpacing, float), [0.15, 0.075])
    assert np.array_equal(dataset.pixel_array, values.T) and "ImagePositionPatient" not in dataset
    flipped = affine @ np.diag([-1.0, 1, 1, 1])
    dataset = pydicom.dcmread(write_derived(values, flipped, record, tmp_path, DONE, name="flipped"))
    assert np.array_equal(dataset.pixel_array, values[::-1].T)
    with pytest.raises(DicomError, match="right angles only"):
        write_derived(values, _turned(affine), record, tmp_path, DONE, name="turned")


@pytest.mark.parametrize("missing", [2, 3])
def test_row06_a_source_with_a_gap_that_was_filled(tmp_path, missing):
    write_stack(tmp_path / "in", size=(8, 6, 7))
    (tmp_path / "in" / f"0{missing}.dcm").unlink()
    values, affine, record = read_series(tmp_path / "in", on_gap="resample")
    assert values.shape == (8, 6, 7)
    folder = write_derived(values, affine, record, tmp_path / "out", DONE)
    again, there = read_series(folder)[:2]
    assert np.array_equal(again, values) and np.allclose(there, affine)
    datasets = [pydicom.dcmread(file) for file in sorted(folder.glob("*.dcm"))]
    assert {float(dataset.SliceThickness) for dataset in datasets} == {2.5}
    assert [len(dataset.SourceImageSequence) for dataset in datasets] == [1 + (k == missing) for k in range(7)]


def test_row07_a_tilted_series_comes_back_tilted(tmp_path):
    _, affine, record = write_stack(tmp_path / "in")
    affine = affine.copy()
    affine[1, 2] += 1.0
    tilted = write_derived(linear(affine, (8, 6, 5)), affine, record, tmp_path / "tilted", DONE)
    values, there, record = read_series(tilted)
    assert np.allclose(there, affine)
    again, there, _ = read_series(write_derived(values, there, record, tmp_path / "out", DONE))
    assert np.array_equal(again, values) and np.allclose(there, affine)
    assert {float(pydicom.dcmread(file).SliceThickness) for file in (tmp_path / "out").rglob("*.dcm")} == {2.5}


def test_row18_places_in_pixels_stay_on_the_grid_of_the_source_only(tmp_path):
    values, affine, record = write_projection(tmp_path / "in", ShutterShape="RECTANGULAR", ShutterLeftVerticalEdge=2)
    same = pydicom.dcmread(write_derived(values, affine, record, tmp_path, DONE, name="same"))
    finer = write_derived(values.repeat(2, axis=0), affine @ np.diag([0.5, 1, 1, 1]), record, tmp_path, DONE)
    assert same.ShutterLeftVerticalEdge == 2 and "ShutterShape" not in pydicom.dcmread(finer)
