"""What was trained on is found again under another subject, name, folder and order; another image is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from monai_cdiff.data import check_unseen, image_hashes


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{n}.png" for n in range(3)]
    for n, path in enumerate(paths):
        path.write_bytes(bytes([n]) * 9)
    return paths


def test_a_hash_is_of_the_bytes_alone(files: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere" / "series"
    folder.mkdir(parents=True)
    for n, path in enumerate(files):
        shutil.copy(path, folder / f"other{2 - n}.dcm")
    one, two, series, turned, whole = image_hashes(
        [
            {"image": str(files[0]), "subject": "a"},
            {"image": str(folder / "other2.dcm"), "subject": "b"},
            {"image": [str(path) for path in files], "subject": "a"},
            {"image": [str(path) for path in reversed(files)], "subject": "a"},
            {"image": str(folder), "subject": "a"},
        ]
    )
    assert one == two and series == turned == whole != one and len(one) == 16


def test_hashes_are_kept(files: list[Path], tmp_path: Path) -> None:
    items = [{"image": str(files[1]), "subject": "a"}]
    first = image_hashes(items, tmp_path / "cache")
    assert image_hashes(items, tmp_path / "cache") == first == image_hashes(items)


def test_what_was_trained_on_is_refused(files: list[Path]) -> None:
    items = [{"image": str(path), "subject": path.stem} for path in files]
    check_unseen(items, {})
    check_unseen(items, {"training_subjects": ["3"], "training_images": ["0" * 16]})
    with pytest.raises(ValueError, match="1 subjects to score were in the training: 2"):
        check_unseen(items, {"training_subjects": ["2"]})
    with pytest.raises(ValueError, match="2 images to score are, byte by byte, .* other names: .*0.png, .*1.png. Take"):
        check_unseen(items, {"training_subjects": ["x"], "training_images": image_hashes(items[:2])})
    with pytest.raises(ValueError, match="trained is list; .* export it again"):
        check_unseen(items, ["2"])  # type: ignore[arg-type]


def test_an_image_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="names no file"):
        image_hashes([{"image": str(tmp_path / "none.png"), "subject": "a"}])
