"""Labels on the grid of an image: the axes are turned as they must be, and another grid is refused."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage

from monai_cdiff.data import DicomSeriesReader, list_files, read_label

AFFINE = np.array([[0.5, 0.0, 0.1, -4], [0, -0.6, 0.2, 5], [0.05, 0.1, 3, -6], [0, 0, 0, 1.0]])
LABELS = np.random.default_rng(0).integers(0, 4, (6, 5, 4))


def image(shape: tuple[int, ...] = (6, 5, 4), affine: np.ndarray = AFFINE) -> MetaTensor:
    return MetaTensor(torch.zeros(1, *shape), affine=torch.from_numpy(affine))


def write(path: Path, labels: np.ndarray = LABELS, affine: np.ndarray = AFFINE, dtype: Any = np.uint8) -> Path:
    nibabel.Nifti1Image(labels.astype(dtype), affine).to_filename(path)
    return path


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_every_order_and_direction_of_the_axes(order: tuple[int, ...], tmp_path: Path) -> None:
    for flips in product((False, True), repeat=3):
        turn = np.eye(4)[:, [*order, 3]]
        for n, flip in enumerate(flips):
            if flip:
                end = np.eye(4)
                end[n, n], end[n, 3] = -1, LABELS.shape[order[n]] - 1
                turn = turn @ end
        turned = np.flip(LABELS.transpose(order), [n for n, flip in enumerate(flips) if flip])
        file = write(tmp_path / "label.nii.gz", turned, AFFINE @ turn)
        assert np.array_equal(read_label(file, image()).numpy(), LABELS)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_other_formats(ending: str, tmp_path: Path) -> None:
    """SimpleITK's view of a NIfTI file, which it wants without shear, goes through the other format unchanged."""
    plain = AFFINE.copy()
    plain[:3, :3] = np.diag([0.5, -0.6, 3])
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(write(tmp_path / "label.nii", affine=plain))), tmp_path / f"x{ending}")
    assert np.array_equal(read_label(tmp_path / f"x{ending}", image(affine=plain)).numpy(), LABELS)
    with pytest.raises(ValueError, match="lies on another grid"):
        read_label(tmp_path / f"x{ending}", image())


def test_zones_of_the_prostate(shared_data: Path) -> None:
    folder = shared_data / "prostatex0004_zones"
    t2w = LoadImage(reader=DicomSeriesReader(), ensure_channel_first=True)(list_files(folder / "dicom"))
    zones = read_label(folder / "labels.nrrd", t2w)
    assert zones.shape == t2w.shape[1:] and zones.unique().tolist() == [0, 1, 2, 3, 4]
    inside = (zones > 0).nonzero().float().mean(dim=0)
    assert ((inside - torch.tensor(zones.shape) / 2).abs() < torch.tensor(zones.shape) / 8).all()


@pytest.mark.parametrize(
    "shape, move",
    [((6, 5, 3), 0.0), ((5, 6, 4), 0.0), ((6, 5, 4), 0.3), ((6, 5, 4), 3.0)],
)
def test_another_grid(shape: tuple[int, ...], move: float, tmp_path: Path) -> None:
    moved = AFFINE.copy()
    moved[2, 3] += move
    with pytest.raises(ValueError, match="lies on another grid"):
        read_label(write(tmp_path / "label.nii"), image(shape, moved))


def test_what_is_no_label(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="label=.*gone.nii' does not exist"):
        read_label(tmp_path / "gone.nii", image())
    for values in (LABELS + 0.5, LABELS - 1.0, np.where(LABELS == 1, np.nan, LABELS)):
        with pytest.raises(ValueError, match="no whole numbers from 0"):
            read_label(write(tmp_path / "label.nii", values, dtype=np.float32), image())
    (tmp_path / "label.png").write_bytes(b"")
    with pytest.raises(ValueError, match="allowed are .nii, .nii.gz, .nrrd"):
        read_label(tmp_path / "label.png", image())
    (tmp_path / "label.nrrd").write_bytes(b"NRRD0004\n")
    with pytest.raises(ValueError, match="label.nrrd' cannot be read"):
        read_label(tmp_path / "label.nrrd", image())
    whole = write(tmp_path / "label.nii").read_bytes()
    (tmp_path / "label.nii").write_bytes(whole[:-20])
    with pytest.raises(ValueError, match="is the file whole"):
        read_label(tmp_path / "label.nii", image())
    with pytest.raises(ValueError, match=r"image has shape \(6, 5, 4\)"):
        read_label(tmp_path / "label.nii", torch.zeros(6, 5, 4))  # type: ignore[arg-type]
