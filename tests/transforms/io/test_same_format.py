"""Each image goes out in the format it came in, to a place that was checked before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, decollate_batch
from monai.transforms import LoadImaged
from PIL import Image

from monai_cdiff.data import Derivation, NiftiReader, RasterReader, SourceRecord, list_inputs
from monai_cdiff.transforms import SaveLikeInputd, check_outputs, list_outputs

DERIVATION = Derivation("blurred", "blur")


def nifti(path: Path, value: float = 3.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(np.full((4, 3, 2), value, np.float32), np.diag([1, 2, 3, 1.0])).to_filename(path)
    return path


def load(path: Path) -> dict[str, Any]:
    return LoadImaged("image", reader=NiftiReader(), ensure_channel_first=True)({"image": str(path)})


def test_row21_folders_are_repeated_through_a_batch(tmp_path: Path) -> None:
    for n in range(2):
        nifti(tmp_path / "in" / f"p{n}" / "t2.nii.gz", float(n))
    save = SaveLikeInputd("image", DERIVATION, tmp_path / "out", data_root_dir=tmp_path / "in")
    load_image = LoadImaged("image", reader=NiftiReader(), ensure_channel_first=True)
    loader = DataLoader(Dataset(list_inputs(tmp_path / "in"), load_image), batch_size=2)
    for batch in loader:
        for item in decollate_batch(batch):
            save(item)
    for n in range(2):
        written = nibabel.load(tmp_path / "out" / f"p{n}" / "t2_blur.nii.gz")
        assert np.unique(written.get_fdata()) == [n]
        np.testing.assert_array_equal(written.affine, np.diag([1, 2, 3, 1.0]))
    assert len(list_outputs(save).splitlines()) == 2


def test_the_type_is_passed_on_and_nothing_is_overwritten(tmp_path: Path) -> None:
    data = load(nifti(tmp_path / "a.nii.gz"))
    options: dict[str, Any] = {"derivation": DERIVATION, "output_dir": tmp_path, "output_dtype": "int16"}
    SaveLikeInputd("image", **options)(data)
    assert nibabel.load(tmp_path / "a_blur.nii.gz").get_data_dtype() == np.int16
    with pytest.raises(FileExistsError, match="a_blur.nii.gz exists"):
        SaveLikeInputd("image", **options)(data)
    SaveLikeInputd("image", overwrite=True, **options)(data)


def test_row22_outputs_are_checked_before(tmp_path: Path) -> None:
    save = SaveLikeInputd("image", DERIVATION, tmp_path / "out", data_root_dir=tmp_path)
    items = [{"image": str(nifti(tmp_path / name))} for name in ("a.nii", "a.nii.gz")]
    check_outputs(save, items[:1])
    with pytest.raises(ValueError, match="would both be written to"):
        check_outputs(save, items)
    nifti(tmp_path / "out" / "a_blur.nii.gz")
    with pytest.raises(FileExistsError, match="a_blur.nii.gz exists"):
        check_outputs(save, items[:1])
    check_outputs(SaveLikeInputd("image", DERIVATION, tmp_path / "out", tmp_path, overwrite=True), items[:1])


def test_row22_a_series_gets_a_folder_and_an_x_ray_a_file(tmp_path: Path) -> None:
    save = SaveLikeInputd("image", DERIVATION, tmp_path, data_root_dir="/data")
    options: dict[str, Any] = {"series_uid": "1.2.3", "number": 5, "files": (), "frames": (), "positions": ()}
    series = SourceRecord(modality="MR", shape=(4, 3, 2), spacing_mm=(1, 1, 1), orientation=(), **options)
    x_ray = SourceRecord(modality="DX", shape=(4, 3), spacing_mm=(1, 1, 1), orientation=(), **options)
    assert save.target("/data/p/1.dcm", "blur", series) == tmp_path / "p" / "series-5-27a1303c_blur"
    first, second = save.target("/data/p/1.dcm", "blur", x_ray), save.target("/data/p/2.dcm", "blur", x_ray)
    assert first != second and first.suffix == ".dcm" and first.parent == tmp_path / "p"
    assert save.target("/elsewhere/a.nii", "blur") == tmp_path / "a_blur.nii.gz"  # not below data_root_dir


def test_what_cannot_be_saved_is_refused(tmp_path: Path) -> None:
    save = SaveLikeInputd("image", DERIVATION, tmp_path)
    with pytest.raises(ValueError, match="image does not know its input"):
        save({"image": torch.zeros(1, 4, 3, 2)})
    data = load(nifti(tmp_path / "a.nii.gz"))
    with pytest.raises(ValueError, match=r"image has shape \(2, 4, 3, 2\)"):
        save({"image": torch.cat([data["image"]] * 2)})
    with pytest.raises(ValueError, match="output_dtype"):
        SaveLikeInputd("image", DERIVATION, tmp_path, output_dtype="bool")


def test_each_key_has_its_derivation(tmp_path: Path) -> None:
    data = load(nifti(tmp_path / "a.nii.gz"))
    save = SaveLikeInputd(("image", "std"), [DERIVATION, Derivation("spread", "std")], tmp_path)
    save({"image": data["image"], "std": data["image"] * 2})
    for label, value in [("blur", 3), ("std", 6)]:
        assert np.unique(nibabel.load(tmp_path / f"a_{label}.nii.gz").get_fdata()) == [value]
    with pytest.raises(FileExistsError, match="a_blur.nii.gz exists"):
        check_outputs(save, [{"image": str(tmp_path / "a.nii.gz")}])


def test_row21_a_series_named_by_its_folder_is_written_below_it(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "p0" / "t2"
    folder.mkdir(parents=True)
    save = SaveLikeInputd("image", DERIVATION, tmp_path / "out", data_root_dir=tmp_path / "in")
    assert save.target(str(folder), "blur").parent == tmp_path / "out" / "p0" / "t2"


def picture(path: Path, value: int = 3, mode: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (5, 4), value).save(path)
    return path


def test_pictures_become_png_of_their_depth_in_their_folder(tmp_path: Path) -> None:
    for name, mode in [("a.jpg", "L"), ("p/b.PNG", "I;16"), ("p/c.d.tif", "I;16")]:
        picture(tmp_path / "in" / name, 60, mode)
    save = SaveLikeInputd("image", DERIVATION, tmp_path / "out", data_root_dir=tmp_path / "in")
    items = list_inputs(tmp_path / "in")
    check_outputs(save, items)
    load_image = LoadImaged("image", reader=[NiftiReader(), RasterReader()], ensure_channel_first=True)
    for batch in DataLoader(Dataset(items, load_image), batch_size=1):
        for item in decollate_batch(batch):
            save({"image": item["image"] * 2})
    for name, mode in [("a_blur.png", "L"), ("p/b_blur.png", "I;16"), ("p/c.d_blur.png", "I;16")]:
        with Image.open(tmp_path / "out" / name) as image:
            assert image.mode == mode and image.getextrema() == (120, 120)
            assert image.text["Description"] == "blurred"
    assert [path for _, path in save.written] == sorted((tmp_path / "out").rglob("*.png"))
    with pytest.raises(FileExistsError, match="a_blur.png exists"):
        check_outputs(save, items)


def test_pictures_that_cannot_be_read_or_written_are_found_before(tmp_path: Path) -> None:
    save = SaveLikeInputd("image", DERIVATION, tmp_path / "out", data_root_dir=tmp_path)
    items = [{"image": str(picture(tmp_path / name))} for name in ("a.png", "a.jpg")]
    check_outputs(save, items[:1])
    with pytest.raises(ValueError, match="a.jpg and .*a.png would both be written to .*a_blur.png"):
        check_outputs(save, items)
    Image.new("RGB", (5, 4), (200, 0, 0)).save(tmp_path / "red.png")
    (tmp_path / "text.png").write_text("no image")
    for name, sentence in [("red.png", "is a colour image"), ("text.png", "is no PNG"), ("gone.png", "not exist")]:
        with pytest.raises((ValueError, FileNotFoundError), match=f"{name}.* {sentence}"):
            check_outputs(save, [*items[:1], {"image": str(tmp_path / name)}])


def test_a_template_is_not_for_pictures(tmp_path: Path) -> None:
    file = str(picture(tmp_path / "a.png"))
    save = SaveLikeInputd("image", DERIVATION, tmp_path)
    save.template = SourceRecord(  # only whether there is one counts
        modality="DX", shape=(5, 4), spacing_mm=(1, 1), orientation=(), series_uid="1.2.3", number=5, files=(),
        frames=(), positions=(),
    )
    with pytest.raises(ValueError, match="template: .*a.png is a picture"):
        check_outputs(save, [{"image": file}])
    with pytest.raises(ValueError, match="a template is for NIfTI"):
        save(LoadImaged("image", reader=RasterReader(), ensure_channel_first=True)({"image": file}))


def test_a_picture_read_otherwise_tells_no_depth(tmp_path: Path) -> None:
    file = str(picture(tmp_path / "a.png"))
    data = LoadImaged("image", reader="PILReader", ensure_channel_first=True)({"image": file})
    with pytest.raises(ValueError, match="the image did not come from RasterReader"):
        SaveLikeInputd("image", DERIVATION, tmp_path)(data)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
