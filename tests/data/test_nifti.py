"""NIfTI in and out: what the header says about place, units and type survives."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from monai.transforms import LoadImage, SaveImage

from monai_cdiff.data import NiftiReader, NiftiWriter

SHAPE = (5, 4, 3)
TURN = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) @ np.diag([0.5, 0.7, 3.0])
OBLIQUE = np.block([[TURN, np.array([[-7.0], [11.0], [2.5]])], [np.zeros((1, 3)), np.ones((1, 1))]])
LEFT_HANDED = OBLIQUE @ np.diag([-1.0, 1, 1, 1])
SHEARED = OBLIQUE @ np.array([[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def values() -> np.ndarray:
    return np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)


def nifti(
    path: Path, sform: tuple[Any, int] = (None, 0), qform: tuple[Any, int] = (None, 0), units: str = "mm"
) -> Path:
    image = nibabel.Nifti1Image(values(), np.eye(4))
    image.set_sform(*sform)
    image.set_qform(*qform)
    image.header.set_xyzt_units(units)
    image.to_filename(path)
    return path


def again(path: Path, **options: Any) -> nibabel.Nifti1Image:
    """What reader and writer make of a file."""
    loaded = LoadImage(reader=NiftiReader(), ensure_channel_first=True)(path)
    writer = NiftiWriter(**options)
    writer.set_data_array(loaded, channel_dim=0)
    writer.set_metadata(loaded.meta, resample=False)
    target = path.with_name("again.nii.gz")
    writer.write(target)
    return nibabel.load(target)


@pytest.mark.parametrize("affine", [OBLIQUE, LEFT_HANDED], ids=["oblique", "left-handed"])
@pytest.mark.parametrize("code", [1, 2, 3, 4])
@pytest.mark.parametrize("forms", ["both", "sform", "qform"])
def test_row24_place_and_codes_survive(affine: np.ndarray, code: int, forms: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {name: (affine, code) for name in ("sform", "qform") if forms in ("both", name)}
    written = again(nifti(tmp_path / "a.nii.gz", **given))
    np.testing.assert_allclose(written.get_sform(), affine, atol=1e-5)
    np.testing.assert_allclose(written.get_qform(), affine, atol=1e-4)
    assert int(written.header["sform_code"]) == int(written.header["qform_code"]) == code
    np.testing.assert_array_equal(written.get_fdata(), values())


def test_row24_sform_is_kept_where_pixdim_disagrees(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = nifti(tmp_path / "a.nii", sform=(OBLIQUE, 2), qform=(np.diag([9.0, 9, 9, 1]), 1))
    with caplog.at_level(logging.WARNING):
        written = again(path)
    np.testing.assert_allclose(written.affine, OBLIQUE, atol=1e-5)
    np.testing.assert_allclose(written.header.get_zooms(), [0.5, 0.7, 3.0], rtol=1e-5)
    (warning,) = [record.getMessage() for record in caplog.records if "nifti_reader" in record.name]
    assert "pixdim says 9 x 9 x 9" in warning and "the sform is kept" in warning


def test_row24_a_shear_stays_in_the_sform_alone(tmp_path: Path) -> None:
    written = again(nifti(tmp_path / "a.nii.gz", sform=(SHEARED, 1)))
    np.testing.assert_allclose(written.get_sform(), SHEARED, atol=1e-5)
    assert int(written.header["sform_code"]) == 1 and int(written.header["qform_code"]) == 0


def test_row24_a_file_that_lies_nowhere_is_aligned(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii.gz")
    assert int(again(path).header["sform_code"]) == 2


@pytest.mark.parametrize("units", ["mm", "micron", "meter", "unknown"])
def test_row24_units_survive(units: str, tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii.gz", sform=(OBLIQUE, 1), units=units)
    assert LoadImage(reader=NiftiReader())(path).meta["space_units"] == units
    assert again(path).header.get_xyzt_units()[0] == units


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", "float64"])
def test_row24_the_type_is_a_choice(dtype: str, tmp_path: Path) -> None:
    written = again(nifti(tmp_path / "a.nii.gz", sform=(OBLIQUE, 1)), output_dtype=dtype)
    assert written.get_data_dtype() == np.dtype(dtype)
    np.testing.assert_array_equal(written.get_fdata(), values())


@pytest.mark.parametrize(
    ("value", "dtype", "sentence"),
    [(40000.0, "int16", "from -32768 to 32767"), (-1.0, "uint8", "from 0 to 255"), (np.nan, "int16", "NaN")],
)
def test_row24_integers_never_wrap(value: float, dtype: str, sentence: str, tmp_path: Path) -> None:
    writer = NiftiWriter(dtype)
    writer.set_data_array(np.full((1, *SHAPE), value))
    with pytest.raises(ValueError, match=sentence):
        writer.write(tmp_path / "a.nii.gz")
    assert not list(tmp_path.iterdir())


def test_integers_are_rounded(tmp_path: Path) -> None:
    writer = NiftiWriter("int16")
    writer.set_data_array(np.full((1, *SHAPE), -7.6))
    writer.write(tmp_path / "a.nii.gz")
    assert np.unique(nibabel.load(tmp_path / "a.nii.gz").get_fdata()) == [-8]


def test_an_existing_file_is_refused_unless_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_text("precious")
    writer = NiftiWriter()
    writer.set_data_array(values()[None])
    with pytest.raises(FileExistsError, match="a.nii.gz exists"):
        writer.write(path)
    assert path.read_text() == "precious"
    save = SaveImage(tmp_path, output_postfix="", separate_folder=False, writer=NiftiWriter, print_log=False)
    save.set_options(init_kwargs={"overwrite": True})(values()[None], {"filename_or_obj": "a.nii.gz"})
    np.testing.assert_array_equal(nibabel.load(path).get_fdata(), values())
    assert [file.name for file in tmp_path.iterdir()] == ["a.nii.gz"]


def test_slices_and_trailing_axes_of_one(tmp_path: Path) -> None:
    for shape, left in [((6, 5), (6, 5)), ((6, 5, 1, 1), (6, 5, 1)), ((6, 5, 4, 1, 1), (6, 5, 4))]:
        nibabel.Nifti1Image(np.zeros(shape, np.int16), OBLIQUE).to_filename(tmp_path / "a.nii")
        assert LoadImage(reader=NiftiReader(), ensure_channel_first=True)(tmp_path / "a.nii").shape == (1, *left)


def broken(kind: str, path: Path) -> Path:
    whole = nibabel.Nifti1Image(np.random.default_rng(0).random((20, 20, 20)), np.eye(4))
    data = whole.to_bytes()
    if kind == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "cut gz":
        path = path.with_suffix(".nii.gz")
        packed = gzip.compress(data)
        path.write_bytes(packed[: len(packed) // 2])
    elif kind == "text":
        path.write_text("not an image")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "nowhere":
        whole.set_sform(np.diag([1.0, 0, 1, 1]), 1)
        path.write_bytes(whole.to_bytes())
    else:
        shape, dtype = {"time": ((4, 4, 4, 2), "f4"), "vector": ((4, 4, 4, 1, 3), "f4"), "complex": (SHAPE, "c8")}[kind]
        nibabel.Nifti1Image(np.zeros(shape, dtype), np.eye(4)).to_filename(path)
    return path


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("cut", "the voxels cannot be read"),
        ("cut gz", "the voxels cannot be read"),
        ("text", "the NIfTI header cannot be read"),
        ("empty", "the NIfTI header cannot be read"),
        ("nowhere", "places the voxels nowhere"),
        ("time", r"axis 4 \(time\) has 2 entries"),
        ("vector", r"axis 5 \(vector components\) has 3 entries"),
        ("complex", "allowed are real numbers"),
    ],
)
def test_damaged_files_are_named(kind: str, sentence: str, tmp_path: Path) -> None:
    path = broken(kind, tmp_path / "hurt.nii")
    with pytest.raises(ValueError, match=sentence) as caught:
        LoadImage(reader=["NibabelReader", NiftiReader()])(path)
    assert str(path) in str(caught.value)


def test_other_files_and_types_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no NIfTI file"):
        NiftiReader().read("a.dcm")
    with pytest.raises(FileNotFoundError, match="gone.nii"):
        NiftiReader().get_data(("gone.nii",))
    with pytest.raises(ValueError, match="output_dtype"):
        NiftiWriter("complex64")
