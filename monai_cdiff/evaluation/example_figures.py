"""Restorations beside the original, as Figures 2, 4 and 5 of Hung et al. (Bioengineering 10:1258, 2023)."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .figure_file import ResultFigure, default_style, figure_png, new_figure
from .results_file import method_titles
from .table import one_line

__all__ = ["draw_examples", "find_detail", "read_image"]

_CONDITIONS = {"sr": "low resolution", "denoise": "noisy", "inpaint": "masked"}
_WINDOW = (0.5, 99.5)  # percentiles of the original that are black and white
_GRADIENT_CUT = 95  # percentile; a letter burnt into a film is not what shows detail
_ERROR = 99  # percentile of a method's errors that the colours reach to
# Inches.
_WIDTH, _GAP, _LEFT, _RIGHT, _TOP, _BOTTOM = 1.75, 0.05, 0.25, 0.85, 0.55, 0.3


@dataclass(frozen=True)
class _Example:
    name: str
    original: np.ndarray
    mask: np.ndarray | None
    columns: list[tuple[str, np.ndarray]]  # what is beside the original
    restored: list[np.ndarray]  # of them, what the colours of the errors are chosen by
    window: tuple[float, float]
    detail: tuple[int, int, int]


def draw_examples(results: Mapping[str, Any], out_dir: str | os.PathLike[str]) -> list[ResultFigure]:
    """Draw a grid for each example of an evaluation: whole images, a detail, and the errors.

    All images of an example have the same grey window, from the 0.5th to the 99.5th percentile of the original, and all
    its errors the same colours. The detail is chosen from the original alone, or from the mask: see
    :py:func:`find_detail`.

    Args:
        results: as :py:func:`read_results` returns them.
        out_dir: the folder that the paths of the images start from.

    Returns:
        A figure for each example, in their order.

    Raises:
        ModuleNotFoundError: if matplotlib is not installed.
        FileNotFoundError: if an image does not exist.
        ValueError: if an image cannot be used; the message names the file.

    Example:
        >>> figures = draw_examples(read_results("/data/evaluation"), "/data/evaluation")  # doctest: +SKIP
    """
    examples = [_read_example(example, dict(results), Path(out_dir)) for example in results["examples"]]
    with default_style():
        return [_draw(example, f"example_{number:02d}") for number, example in enumerate(examples, start=1)]


def read_image(out_dir: str | os.PathLike[str], name: str, shape: Sequence[int] | None = None) -> np.ndarray:
    """Read an image of an evaluation, with its rows downwards.

    Args:
        out_dir: the folder that paths start from.
        name: path of a ``.npy`` file in it; its first axis is x, as MONAI has it, its second y.
        shape: rows and columns it must have; any by default.

    Returns:
        The image (rows, columns), float64.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it lies outside of the folder, is no array of two dimensions and real numbers, or has another
            shape.
    """
    file = Path(out_dir) / str(name)
    if not file.resolve().is_relative_to(Path(out_dir).resolve()):
        raise ValueError(f"{name}: lies outside of {out_dir}; images must lie in the folder of the results.")
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; is the folder whole?")
    try:
        array = np.load(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{file}: is no array; is the file whole? {error}") from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 or not array.size or array.dtype.kind not in "biuf":
        raise ValueError(f"{file}: must be an array of two dimensions and real numbers that holds a pixel.")
    image = np.ascontiguousarray(array.T, dtype=np.float64)
    if shape is not None and image.shape != tuple(shape):
        raise ValueError(f"{file}: has shape {array.shape}; the original has {tuple(shape)[::-1]}.")
    return image


def find_detail(original: np.ndarray, mask: np.ndarray | None = None) -> tuple[int, int, int]:
    """The square, of a third of the image's shorter side and at least 16 pixels, in which there is the most to see.

    With a mask it is the square that holds the most of what the mask covers, and of several such squares the one
    nearest to their middle. Without, it is the one with the most energy of the original's gradient, whose length
    is cut at its 95th percentile, so that a letter burnt into a film does not outweigh the anatomy.

    Args:
        original: the image (rows, columns).
        mask: more than 0.5 where the image was covered, of the same shape.

    Returns:
        First row, first column, and side of the square.

    Example:
        >>> image = np.zeros((60, 60))
        >>> image[31:39:2, 41:49] = 1
        >>> row, column, side = find_detail(image)
        >>> row <= 31 and row + side >= 39 and column <= 41 and column + side >= 49
        True
    """
    shorter = min(original.shape)
    side = min(shorter, max(16, round(shorter / 3)))
    if mask is not None and (mask > 0.5).any():
        interest = (mask > 0.5).astype(np.float64)
    elif shorter < 2:
        interest = np.zeros(original.shape)
    else:
        interest = sum(np.square(part) for part in np.gradient(np.nan_to_num(original)))
        interest = np.minimum(interest, np.percentile(interest, _GRADIENT_CUT))
    table = np.pad(interest.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    sums = table[side:, side:] - table[:-side, side:] - table[side:, :-side] + table[:-side, :-side]
    # sums that differ by rounding are equal
    places = np.argwhere(sums >= sums.max() - 1e-9 * max(float(table[-1, -1]), 1e-300))
    nearest = np.square(places - places.mean(axis=0)).sum(axis=1).argmin()
    row, column = places[nearest]
    return int(row), int(column), side


def _read_example(example: Mapping[str, Any], results: dict[str, Any], out_dir: Path) -> _Example:
    original = read_image(out_dir, example["original"])
    mask = read_image(out_dir, example["mask"], original.shape) if example.get("mask") else None
    condition = read_image(out_dir, example["condition"])
    kinds = {method["name"]: method["kind"] for method in results["methods"]}
    restored = {
        name: read_image(out_dir, example["restored"][name], original.shape)
        for name in method_titles(results)
        if name in example["restored"]
    }
    columns = [(method_titles(results)[name], image) for name, image in restored.items()]
    # the condition may be among the methods, as what was to be bettered
    if not any(np.array_equal(condition, image, equal_nan=True) for image in restored.values()):
        columns.insert(0, (_CONDITIONS[results["task"]], condition))
    known = original[np.isfinite(original)]
    low, high = np.percentile(known, _WINDOW) if known.size else (0.0, 1.0)
    setting = one_line(example["setting"])
    return _Example(
        one_line(example["name"]) + (f", {setting}" if setting else ""),
        original,
        mask,
        columns,
        [image for name, image in restored.items() if kinds.get(name) != "trivial"] or list(restored.values()),
        (float(low), float(high) if high > low else float(low) + 1),
        find_detail(original, mask),
    )


def _error_range(example: _Example) -> float:
    """What the colours reach to: 1, 2 or 5 times a power of ten, so that few errors lie beyond."""
    errors = [np.abs(image - example.original) for image in example.restored]
    known = [error[np.isfinite(error)] for error in errors]
    reached = max((float(np.percentile(error, _ERROR)) for error in known if error.size), default=0.0)
    if reached <= 0:
        return 0.1
    power = 10.0 ** math.floor(math.log10(reached))
    return next(round(step * power, 12) for step in (1, 2, 5, 10) if step * power >= reached * (1 - 1e-9))


def _draw(example: _Example, name: str) -> ResultFigure:
    import matplotlib

    rows, columns = example.original.shape
    tall = _WIDTH * min(max(rows / columns, 0.4), 2.5)
    count = len(example.columns) + 1
    size = (
        _LEFT + count * _WIDTH + (count - 1) * _GAP + _RIGHT,
        _TOP + 2 * tall + _WIDTH + 2 * _GAP + _BOTTOM,
    )
    figure = new_figure(*size)
    limit = _error_range(example)
    greys = matplotlib.colormaps["gray"].with_extremes(bad="#7a5230")
    heights = (tall, _WIDTH, tall)
    bottoms = (size[1] - _TOP - tall, _BOTTOM + tall + _GAP, _BOTTOM)

    def place(line: int, column: int) -> Any:
        box = (_LEFT + column * (_WIDTH + _GAP), bottoms[line], _WIDTH, heights[line])
        axes = figure.add_axes([box[0] / size[0], box[1] / size[1], box[2] / size[0], box[3] / size[1]])
        axes.set(xticks=[], yticks=[])
        return axes

    shown: Any = None
    for column, (title, image) in enumerate([("original", example.original), *example.columns]):
        whole, detail = place(0, column), place(1, column)
        lines = textwrap.wrap(one_line(title), 22, max_lines=2, placeholder=" …") or [""]
        whole.set_title("\n".join(lines), fontsize=9, parse_math=False)
        for axes in (whole, detail):
            window = dict(zip(("vmin", "vmax"), example.window))
            axes.imshow(image, cmap=greys, extent=(0, columns, rows, 0), **window)
        _zoom(detail, example.detail)
        if column == 0:
            _mark(whole, detail, example)
        elif image.shape == example.original.shape:
            axes = place(2, column)
            error = image - example.original
            shown = axes.imshow(error, cmap="RdBu_r", vmin=-limit, vmax=limit, extent=(0, columns, rows, 0))
            if example.mask is not None:
                _outline(axes, example.mask, "black")
            axes.set_xlabel(_mean_error(error, example.mask), fontsize=8, labelpad=3)
    _label_rows(figure, bottoms, heights)
    if shown is not None:
        left = size[0] - _RIGHT + 0.08
        bar = figure.add_axes([left / size[0], bottoms[2] / size[1], 0.1 / size[0], tall / size[1]])
        figure.colorbar(shown, cax=bar, ticks=[-limit, 0, limit], extend="both")
        bar.set_yticklabels([f"−{limit:g}", "0", f"+{limit:g}"], fontsize=8)
    return ResultFigure(name, example.name, _caption(example, limit), figure_png(figure))


def _zoom(axes: Any, detail: tuple[int, int, int]) -> None:
    row, column, side = detail
    axes.set(xlim=(column, column + side), ylim=(row + side, row))


def _mark(whole: Any, crop: Any, example: _Example) -> None:
    """Show on the original where the detail and the mask are."""
    from matplotlib.patches import Rectangle

    row, column, side = example.detail
    whole.add_patch(Rectangle((column, row), side, side, fill=False, edgecolor="#ffd000", linewidth=1.2))
    for spine in crop.spines.values():
        spine.set(edgecolor="#ffd000", linewidth=1.6)
    if example.mask is not None:
        for axes in (whole, crop):
            _outline(axes, example.mask, "#35c4ff")


def _outline(axes: Any, mask: np.ndarray, colour: str) -> None:
    """The outline of a mask along the edges of its pixels."""
    from matplotlib.collections import LineCollection

    inside = np.pad(mask > 0.5, 1)
    down = np.argwhere(inside[1:, 1:-1] != inside[:-1, 1:-1])
    across = np.argwhere(inside[1:-1, 1:] != inside[1:-1, :-1])
    lines = [[(x, y), (x + 1, y)] for y, x in down] + [[(x, y), (x, y + 1)] for y, x in across]
    axes.add_collection(LineCollection(lines, colors=colour, linewidths=0.7), autolim=False)


def _label_rows(figure: Any, bottoms: Sequence[float], heights: Sequence[float]) -> None:
    width, height = figure.get_size_inches()
    for text, bottom, tall in zip(("image", "detail", "restored − original"), bottoms, heights):
        figure.text(
            (_LEFT - 0.1) / width, (bottom + tall / 2) / height, text, rotation=90, ha="center", va="center", fontsize=9
        )


def _mean_error(error: np.ndarray, mask: np.ndarray | None) -> str:
    chosen = error[mask > 0.5] if mask is not None and (mask > 0.5).any() else error
    return f"mean |error| {np.nanmean(np.abs(chosen)):.3g}" if np.isfinite(chosen).any() else ""


def _caption(example: _Example, limit: float) -> str:
    row, column, side = example.detail
    low, high = example.window
    covered = example.mask is not None and (example.mask > 0.5).any()
    return (
        f"Greys from {low:.3g} (black) to {high:.3g} (white) in all images, the 0.5th and 99.5th percentile of the "
        f"original. Detail: {side} × {side} pixels from column {column}, row {row} (yellow square), "
        + ("which hold most of the mask (blue outline). " if covered else "where the original has the most detail. ")
        + f"Colours: restored minus original, blue where too dark, red where too bright, white at 0, the same range "
        f"of ±{limit:g} for all methods; below, the mean absolute error{' within the mask' if covered else ''}."
    )
