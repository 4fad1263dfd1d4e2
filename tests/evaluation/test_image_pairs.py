"""Who is whose partner, what both look like, and which pairs are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from contracts.study_images import write_folders
from monai_cdiff.evaluation import ImagePair, list_pairs, read_pair

NOISE = np.random.default_rng(0).integers(0, 256, (9, 12), dtype=np.uint8)


def write(file: Path, values: np.ndarray) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(file)
    return str(file)


def write_nifti(file: Path, values: np.ndarray, affine: Any) -> str:
    nibabel.Nifti1Image(values.astype(np.float32), np.asarray(affine, dtype=float)).to_filename(file)
    return str(file)


def test_partners_by_name_ending_and_folder(tmp_path: Path) -> None:
    real, generated = tmp_path / "real", tmp_path / "generated"
    names = {"a.png": "a.png", "b.png": "b_sr.tif", "c.v1.bmp": "c.v1_denoise.png", "p/a.png": "p/a_inpaint.png"}
    names["d_sr.png"] = "d_sr.png"  # a real image may be called so
    for one, other in names.items():
        write(real / one, NOISE)
        write(generated / other, NOISE // 2)
    write(generated / "b_sr-std.png", NOISE)
    write(generated / ".hidden.png", NOISE)
    (generated / "metrics.json").write_text("{}")
    pairs = list_pairs(real, generated)
    assert [pair.name for pair in pairs] == ["a", "b", "c.v1", "d_sr", "p/a"]
    found = {Path(pair.real).relative_to(real).as_posix(): pair.generated for pair in pairs}
    assert found == {one: str(generated / other) for one, other in names.items()}


def test_wrong_folders(tmp_path: Path) -> None:
    real, generated = write_folders(tmp_path, 5)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="real='.*nowhere' is no folder"):
        list_pairs(tmp_path / "nowhere", generated)
    with pytest.raises(NotADirectoryError, match="generated='.*file' is no folder"):
        list_pairs(real, tmp_path / "file")
    with pytest.raises(ValueError, match="generated='.*empty' holds no PNG, JPEG, BMP, TIFF or NIfTI image"):
        list_pairs(real, tmp_path / "empty")
    with pytest.raises(ValueError, match="is the folder of the real images"):
        list_pairs(real, real / ".." / "real")
    (generated / "case3_sr.png").unlink()
    with pytest.raises(ValueError, match="generated='.*' has no image for case3; each image needs its partner"):
        list_pairs(real, generated)
    for number in range(4):
        (real / f"case{number}.png").unlink()
    with pytest.raises(ValueError, match="real='.*' has no image for case0_sr, case1_sr, case2_sr;"):
        list_pairs(real, generated)
    (real / "case4.png").rename(real / "other.png")
    with pytest.raises(ValueError, match="generated='.*' has no image for other;"):
        list_pairs(real, generated)


def test_two_of_one_name(tmp_path: Path) -> None:
    real, generated = write_folders(tmp_path, 2)
    again = write(generated / "case1_denoise.png", NOISE)
    with pytest.raises(ValueError, match="case1_sr.png: .*case1_denoise.png has the same name, 'case1'"):
        list_pairs(real, generated)
    Path(again).unlink()
    write(real / "case0.bmp", NOISE)
    with pytest.raises(ValueError, match="has the same name, 'case0'; allowed is one image of a name"):
        list_pairs(real, generated)


def test_pictures_of_eight_bits_are_shown_as_stored(tmp_path: Path) -> None:
    pair = ImagePair("a", write(tmp_path / "a.png", NOISE), write(tmp_path / "b.bmp", NOISE // 2))
    real, generated, aspect = read_pair(pair)
    assert np.array_equal(real, NOISE) and np.array_equal(generated, NOISE // 2) and aspect == 1
    assert real.dtype == generated.dtype == np.uint8


def test_other_values_share_one_window(tmp_path: Path) -> None:
    values = np.linspace(1000, 3000, 108).reshape(9, 12).astype(np.uint16)
    pair = ImagePair("a", write(tmp_path / "a.png", values), write(tmp_path / "b.png", values + 500))
    real, generated, _ = read_pair(pair)
    low, high = np.percentile(np.stack([values, values + 500]), (0.5, 99.5))
    for shown, stored in ((real, values), (generated, values + 500)):
        assert np.abs(shown - ((stored - low) / (high - low) * 255).clip(0, 255)).max() <= 0.5
    assert real.min() == 0 and generated.max() == 255 and real.max() < 230 and generated.min() > 20


@pytest.mark.parametrize("flip", [False, True])
def test_the_middle_slice_of_a_volume_as_a_radiologist_sees_it(flip: bool, tmp_path: Path) -> None:
    # RAS: the first axis runs to the right, the second to the front, the third, of thick slices, to the head
    volume = np.zeros((6, 8, 5))
    volume[:, :, 2] = np.arange(48).reshape(6, 8)
    affine = np.diag([1.0, 2.0, 6.0, 1.0])
    one = write_nifti(tmp_path / "a.nii.gz", volume, affine)
    turned, other = (volume / 2)[::-1] if flip else volume / 2, affine.copy()
    if flip:
        other[0, 0], other[0, 3] = -1.0, 5.0
    real, generated, aspect = read_pair(ImagePair("a", one, write_nifti(tmp_path / "b.nii", turned, other)))
    assert real.shape == generated.shape == (8, 6) and aspect == 0.5
    # columns run to the patient's left, rows to the back
    assert real[0, 0] == real.max() and real[-1, -1] == real.min()
    order = volume[:, :, 2].T[::-1, ::-1].ravel().argsort()
    assert (np.diff(real.ravel()[order].astype(int)) >= 0).all()
    assert (np.diff(generated.ravel()[order].astype(int)) >= 0).all()


def test_a_coronal_volume_has_the_head_on_top(tmp_path: Path) -> None:
    volume = np.zeros((6, 3, 8))
    volume[:, 1, :] = np.arange(8)
    affine = np.diag([1.0, 5.0, 1.0, 1.0])
    files = [write_nifti(tmp_path / f"{i}.nii.gz", volume * i, affine) for i in (1, 2)]
    real, _, _ = read_pair(ImagePair("a", *files))
    assert real.shape == (8, 6) and (np.diff(real[:, 0].astype(int)) < 0).all()


def test_pairs_that_would_give_the_real_one_away(tmp_path: Path) -> None:
    good = write(tmp_path / "good.png", NOISE)
    sixteen = write(tmp_path / "sixteen.png", NOISE.astype(np.uint16) * 257)
    small = write(tmp_path / "small.png", NOISE[:8])
    colour = write(tmp_path / "colour.png", np.stack([NOISE, NOISE // 2, NOISE], axis=-1))
    (tmp_path / "broken.png").write_bytes(Path(good).read_bytes()[:60])
    flat = write_nifti(tmp_path / "flat.nii", NOISE.T[:, :, None], np.eye(4))
    same = write_nifti(tmp_path / "copy.nii", NOISE.T[:, :, None], np.eye(4))
    far = write_nifti(tmp_path / "far.nii", NOISE.T[:, :, None] / 2, np.eye(4) + np.eye(4, k=3))
    hole = write_nifti(tmp_path / "hole.nii", np.where(NOISE.T > 9, NOISE.T, np.nan)[:, :, None], np.eye(4))
    for one, other, sentence in (
        (good, small, "small.png: has 8 x 12 pixels, .*good.png has 9 x 12; both must agree"),
        (sixteen, good, "good.png: has 8 bits, .*sixteen.png has 16 bits"),
        (good, colour, "colour.png: is a colour image"),
        (str(tmp_path / "broken.png"), good, "broken.png: the image cannot be read"),
        (good, good, "shows the same as .*good.png; there is nothing to tell apart"),
        (flat, same, "copy.nii: shows the same as .*flat.nii"),
        (flat, far, "far.nii: lies up to 1 mm away from .*flat.nii, more than half a voxel"),
        (flat, hole, "hole.nii: the middle slice holds NaN or infinite values"),
    ):
        with pytest.raises(ValueError, match=sentence):
            read_pair(ImagePair("a", one, other))
