"""Restorations beside the original: where the detail is, which way images lie, and what hangs on what."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from contracts.evaluation_results import example_images, results
from monai_cdiff.evaluation import ResultFigure, draw_examples
from monai_cdiff.evaluation.example_figures import find_detail, read_image


def chunks(content: bytes) -> list[bytes]:
    found, place = [], 8
    while place < len(content):
        length, kind = struct.unpack(">I4s", content[place : place + 8])
        found.append(kind)
        place += 12 + length
    return found


def pixels(figure: ResultFigure) -> np.ndarray:
    with Image.open(io.BytesIO(figure.png)) as image:
        return np.asarray(image.convert("RGB")).astype(np.int64)


def draw(folder: Path, **changed: Any) -> ResultFigure:
    [figure] = draw_examples(results(examples=[{**example_images(folder), **changed}]), folder)
    return figure


@pytest.mark.parametrize("row, column", [(3, 5), (40, 20), (59, 79)])
def test_detail_is_where_the_gradient_is(row: int, column: int) -> None:
    image = np.zeros((80, 100))
    image[row : row + 20, column : column + 20] = np.random.default_rng(0).random((20, 20))
    top, left, side = find_detail(image)
    assert side == 27
    assert top <= row and row + 20 <= top + side and left <= column and column + 20 <= left + side


def test_detail_in_few_pixels_is_found() -> None:
    image = np.zeros((200, 200))
    image[150, 30] = 1
    row, column, side = find_detail(image)
    assert row < 150 < row + side and column < 30 < column + side


def test_a_letter_does_not_outweigh_the_anatomy() -> None:
    y, x = np.mgrid[:120, :120]
    image = 0.1 * np.sin(x / 3) * np.sin(y / 3) * (x > 50) * (y > 50)
    image[2:12:2, 2:12] = 30.0  # as bright as nothing else, and of 100 pixels
    row, column, _ = find_detail(image)
    assert row >= 45 and column >= 45


def test_detail_of_a_mask_is_its_middle() -> None:
    mask = np.zeros((90, 90))
    mask[50:60, 20:30] = 1
    assert find_detail(np.random.default_rng(0).random((90, 90)), mask) == (40, 10, 30)
    mask[:, :] = 0
    mask[80:, 80:] = 1  # in a corner
    assert find_detail(np.zeros((90, 90)), mask)[:2] == (60, 60)
    mask[:10, :10] = 1  # two alike, far from one another: one of them, not what lies between
    row, column, side = find_detail(np.zeros((90, 90)), mask)
    assert mask[row : row + side, column : column + side].sum() == 100


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (5, 3), (16, 17), (300, 20)])
def test_detail_of_any_shape_lies_within(shape: tuple[int, int]) -> None:
    for image in (np.zeros(shape), np.random.default_rng(0).random(shape), np.full(shape, np.nan)):
        row, column, side = find_detail(image)
        assert 0 <= row <= shape[0] - side and 0 <= column <= shape[1] - side and side >= 1


def test_x_is_to_the_right_and_y_downwards(tmp_path: Path) -> None:
    image = np.zeros((60, 40), np.float32)
    image[:30] = 0.5  # small x
    image[30:, 20:] = 1  # large x, large y
    np.save(tmp_path / "image.npy", image)
    read = read_image(tmp_path, "image.npy")
    assert read.shape == (40, 60) and read[0, 0] == 0.5 and read[0, -1] == 0 and read[-1, -1] == 1
    names = {"original": "image.npy", "condition": "image.npy", "restored": {"mean": "image.npy"}}
    drawn = pixels(draw(tmp_path, **names))
    height, dpi = len(drawn), 150
    # the first picture: from 0.25 to 2 inches from the left; 1.75 / 60 * 40 inches high, below one line of title
    left, top = round(0.25 * dpi), height - round((0.3 + 2 * 0.05 + 1.75 + 2 * 1.75 * 40 / 60) * dpi)
    wide, tall = round(1.75 * dpi), round(1.75 * 40 / 60 * dpi)
    at = {(x, y): drawn[top + int(y * tall), left + int(x * wide), 0] for x in (0.04, 0.96) for y in (0.08, 0.92)}
    assert at[0.96, 0.92] == 255 and at[0.96, 0.08] == 0
    assert abs(at[0.04, 0.08] - 127) <= 1 and abs(at[0.04, 0.92] - 127) <= 1


def test_bytes_hang_on_the_images_alone(tmp_path: Path) -> None:
    import matplotlib

    first = draw(tmp_path)
    with matplotlib.rc_context({"font.size": 30, "image.cmap": "jet", "axes.facecolor": "red", "savefig.dpi": 10}):
        second = draw(tmp_path)
        assert matplotlib.rcParams["font.size"] == 30, "what the user has set stays"
    assert first == second and first.name == "example_01" and first.title == "waves"
    assert set(chunks(first.png)) == {b"IHDR", b"pHYs", b"IDAT", b"IEND"}, "no text: no software, no date"


def test_grey_window_is_the_original_s_and_errors_have_one_range(tmp_path: Path) -> None:
    first = draw(tmp_path)
    original = np.load(tmp_path / "images" / "original.npy")
    low, high = np.percentile(original, [0.5, 99.5])
    assert f"Greys from {low:.3g} (black) to {high:.3g} (white)" in first.caption
    errors = [np.load(tmp_path / "images" / f"{name}.npy") - original for name in ("filter", "mean")]
    reached = max(np.percentile(np.abs(error), 99) for error in errors)
    steps = np.array([0.1, 0.15, 0.2, 0.3])
    assert f"the same range of ±{steps[steps >= reached].min():g} for all methods" in first.caption
    assert "the mean absolute error." in first.caption
    # what was to be bettered does not choose the colours, unless there is nothing else
    example = example_images(tmp_path)
    example["restored"]["noisy"] = example["condition"]
    [second] = draw_examples(results(examples=[example]), tmp_path)
    assert second.caption == first.caption
    example["restored"] = {"noisy": example["condition"]}
    [third] = draw_examples(results(examples=[example]), tmp_path)
    assert "±0.6" in third.caption


def test_too_bright_is_red_and_too_dark_is_blue(tmp_path: Path) -> None:
    example = example_images(tmp_path)
    original = np.load(tmp_path / "images" / "original.npy")
    for name, shift in (("condition", 0.0), ("filter", 0.5), ("mean", -0.5)):
        np.save(tmp_path / "images" / f"{name}.npy", original + np.float32(shift))
    [figure] = draw_examples(results(examples=[example]), tmp_path)
    drawn = pixels(figure)
    height, dpi = len(drawn), 150
    # the middles of the lowest pictures: the condition, the filter, the mean
    row = height - round((0.3 + 1.75 * 48 / 40 / 2) * dpi)
    nothing, bright, dark = (drawn[row, round((0.25 + 1.8 * column + 0.875) * dpi)] for column in (1, 2, 3))
    assert np.ptp(nothing) <= 2 and nothing.min() > 240
    assert bright[0] > 90 and bright[2] < 50 and dark[2] > 90 and dark[0] < 50


def test_a_mask_is_where_errors_count(tmp_path: Path) -> None:
    example = example_images(tmp_path, mask=True)
    [figure] = draw_examples(results(examples=[example]), tmp_path)
    assert "which hold most of the mask" in figure.caption and "under the mask." in figure.caption
    assert "restored minus original, of the detail, blue" in figure.caption
    np.save(tmp_path / "images" / "mask.npy", np.zeros((48, 40), np.float32))
    [figure] = draw_examples(results(examples=[example]), tmp_path)
    assert "where the original has the most detail" in figure.caption and "mask" not in figure.caption


def test_the_condition_is_shown_once(tmp_path: Path) -> None:
    example = example_images(tmp_path)
    beside = pixels(draw_examples(results(examples=[example]), tmp_path)[0])
    example["restored"]["noisy"] = example["condition"]
    assert pixels(draw_examples(results(examples=[example]), tmp_path)[0]).shape == beside.shape
    example["restored"].popitem()
    np.save(tmp_path / "images" / "condition.npy", np.zeros((24, 20), np.float32))  # of a coarser grid
    assert pixels(draw_examples(results(examples=[example]), tmp_path)[0]).shape == beside.shape


def test_odd_images_are_drawn(tmp_path: Path) -> None:
    example = example_images(tmp_path)
    for original in (np.zeros((48, 40)), np.full((48, 40), np.nan), np.full((48, 40), 1e30), np.eye(48, 40) * 1e200):
        np.save(tmp_path / "images" / "original.npy", original)
        draw_examples(results(examples=[example]), tmp_path)
    names = {"original": "images/one.npy", "condition": "images/one.npy", "restored": {"mean": "images/one.npy"}}
    for shape in ((1, 1), (200, 2), (2, 200)):
        np.save(tmp_path / "images" / "one.npy", np.ones(shape, np.uint8))
        assert draw(tmp_path, **names).png


def test_hostile_titles_are_drawn(tmp_path: Path) -> None:
    content = results(examples=[{**example_images(tmp_path), "name": "$\\frac{", "setting": "<b>\n"}])
    content["methods"][3]["title"] = "$\\notacommand{ <script>\n" * 20
    content["methods"][2]["title"] = ""
    [figure] = draw_examples(content, tmp_path)
    assert figure.title == "$\\frac{, <b>"


def test_images_that_are_refused(tmp_path: Path) -> None:
    content = results(examples=[example_images(tmp_path)])
    file = tmp_path / "images" / "mean.npy"
    for array, said in (
        (np.zeros((48, 39)), r"mean.npy: has shape \(48, 39\); the original has \(48, 40\)"),
        (np.zeros((1, 48, 40)), "must be an array of two dimensions"),
        (np.zeros((48, 40), complex), "and real numbers"),
        (np.zeros((0, 40)), "that holds a pixel"),
        (np.array([[{}]], dtype=object), "mean.npy: is no array"),
    ):
        np.save(file, array, allow_pickle=True)
        with pytest.raises(ValueError, match=said):
            draw_examples(content, tmp_path)
    file.write_bytes(b"")
    with pytest.raises(ValueError, match="mean.npy: is no array; is the file whole"):
        draw_examples(content, tmp_path)
    file.unlink()
    with pytest.raises(FileNotFoundError, match="mean.npy does not exist; is the folder whole"):
        draw_examples(content, tmp_path)
    content["examples"][0]["restored"]["mean"] = "../mean.npy"
    with pytest.raises(ValueError, match="../mean.npy: lies outside of"):
        draw_examples(content, tmp_path)
