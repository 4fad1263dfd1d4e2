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
_GRADIENT_CUT = 95  # percentile of what is above 0; a letter burnt into a film is not what shows detail
_STEPS = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)  # what the colours may reach to, times a power of ten
_ERROR = 99  # percentile of a method's errors that the colours reach to
# Inches.
_WIDTH, _GAP, _LEFT, _RIGHT, _LINE, _BOTTOM = 1.75, 0.05, 0.25, 0.85, 0.17, 0.3


@dataclass(frozen=True)
class _Example:
    name: str
    original: np.ndarray
    mask: np.ndarray | None
    columns: list[tuple[str, np.ndarray]]  # what is beside the original
    restored: list[np.ndarray]  # of them, what the colours of the errors are chosen by
    window: tuple[float, float]
    detail: tuple[int, int, int]
    counted: np.ndarray  # the pixels whose errors count: those under the mask, if it covers any
    close: bool  # whether the errors are shown of the detail alone, since there are none elsewhere


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
    is cut at the 95th percentile of those above 0, so that a letter burnt into a film does not outweigh the anatomy.

    Args:
        original: the image (rows, columns).
        mask: more than 0.5 where the image was covered, of the same shape.

    Returns:
        First row, first column, and side of the square.

    Example:
        >>> image = np.zeros((60, 60))
        >>> image[31:39, 41:49] = np.eye(8)
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
        known = np.where(np.isfinite(original), original, 0.0)
        interest = sum(np.square(part) for part in np.gradient(known / max(np.abs(known).max(), 1e-300)))
        if (interest > 0).any():
            interest = np.minimum(interest, np.percentile(interest[interest > 0], _GRADIENT_CUT))
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
    covered = np.zeros(original.shape, bool) if mask is None else mask > 0.5
    row, column, side = detail = find_detail(original, mask)
    held = covered[row : row + side, column : column + side].sum()
    low, high = np.percentile(known, _WINDOW) if known.size else (0.0, 1.0)
    setting = one_line(example["setting"])
    return _Example(
        one_line(example["name"]) + (f", {setting}" if setting else ""),
        original,
        mask,
        columns,
        [image for name, image in restored.items() if kinds.get(name) != "trivial"] or list(restored.values()),
        (float(low), float(high) if high > low else float(low) + 1),
        detail,
        covered if covered.any() else ~covered,
        bool(covered.any() and held == covered.sum()),
    )


def _error_range(example: _Example) -> float:
    """What the colours reach to, a round number: of each method but the trivial ones, few errors lie beyond."""
    errors = [np.abs(image - example.original)[example.counted] for image in example.restored]
    known = [error[np.isfinite(error)] for error in errors]
    reached = max((float(np.percentile(error, _ERROR)) for error in known if error.size), default=0.0)
    if reached <= 0:
        return 0.1
    power = 10.0 ** math.floor(math.log10(reached))
    return next(round(step * power, 12) for step in _STEPS if step * power >= reached * (1 - 1e-9))


class _Sheet:
    """A figure of three lines of pictures: whole images, details, errors."""

    def __init__(self, example: _Example, titles: Sequence[str]) -> None:
        rows, columns = example.original.shape
        tall = _WIDTH * min(max(rows / columns, 0.4), 2.5)
        top = 0.12 + _LINE * max(title.count("\n") + 1 for title in titles)
        self.heights = (tall, _WIDTH, _WIDTH if example.close else tall)
        self.bottoms = (sum(self.heights[1:]) + 2 * _GAP + _BOTTOM, self.heights[2] + _GAP + _BOTTOM, _BOTTOM)
        count = len(titles)
        self.width = _LEFT + count * _WIDTH + (count - 1) * _GAP + _RIGHT
        self.height = self.bottoms[0] + tall + top
        self.figure = new_figure(self.width, self.height)

    def place(self, line: int, column: int) -> Any:
        """Axes for a picture."""
        axes = self._axes(_LEFT + column * (_WIDTH + _GAP), self.bottoms[line], _WIDTH, self.heights[line])
        axes.set(xticks=[], yticks=[])
        return axes

    def name_lines(self) -> None:
        """Say at the left what the lines are."""
        for text, bottom, tall in zip(("image", "detail", "restored − original"), self.bottoms, self.heights):
            y = (bottom + tall / 2) / self.height
            self.figure.text(
                *((_LEFT - 0.1) / self.width, y, text), rotation=90, ha="center", va="center", fontsize=9
            )

    def show_colours(self, errors: Any, limit: float) -> None:
        """Say at the right what the colours of the errors are."""
        bar = self._axes(self.width - _RIGHT + 0.08, self.bottoms[2], 0.1, self.heights[2])
        self.figure.colorbar(errors, cax=bar, ticks=[-limit, 0, limit], extend="both")
        bar.set_yticklabels([f"−{limit:g}", "0", f"+{limit:g}"], fontsize=8)

    def _axes(self, left: float, bottom: float, width: float, height: float) -> Any:
        return self.figure.add_axes(
            (left / self.width, bottom / self.height, width / self.width, height / self.height)
        )


def _draw(example: _Example, name: str) -> ResultFigure:
    import matplotlib

    shown = [("original", example.original), *example.columns]
    titles = ["\n".join(textwrap.wrap(one_line(title), 24, max_lines=3, placeholder=" …")) for title, _ in shown]
    sheet, limit = _Sheet(example, titles), _error_range(example)
    rows, columns = example.original.shape
    greys = matplotlib.colormaps["gray"].with_extremes(bad="#7a5230")
    colours: Any = None
    for column, (title, (_, image)) in enumerate(zip(titles, shown)):
        whole, detail = sheet.place(0, column), sheet.place(1, column)
        whole.set_title(title, fontsize=9, parse_math=False)
        low, high = example.window
        for axes in (whole, detail):
            axes.imshow(image, cmap=greys, vmin=low, vmax=high, extent=(0, columns, rows, 0))
        _zoom(detail, example.detail)
        if column == 0:
            _mark(whole, detail, example)
        elif image.shape == example.original.shape:
            axes, error = sheet.place(2, column), image - example.original
            colours = axes.imshow(error, cmap="RdBu_r", vmin=-limit, vmax=limit, extent=(0, columns, rows, 0))
            if example.mask is not None:
                _outline(axes, example.mask, "black")
            if example.close:
                _zoom(axes, example.detail)
            axes.set_xlabel(_mean_error(error[example.counted]), fontsize=8, labelpad=3)
    sheet.name_lines()
    if colours is not None:
        sheet.show_colours(colours, limit)
    return ResultFigure(name, example.name, _caption(example, limit), figure_png(sheet.figure))


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


def _mean_error(error: np.ndarray) -> str:
    known = np.abs(error[np.isfinite(error)])
    if not known.size:
        return ""
    mean = float(known.mean())
    return f"mean |error| {mean:.4f}" if 1e-3 <= mean < 10 else f"mean |error| {mean:.3g}"


def _caption(example: _Example, limit: float) -> str:
    row, column, side = example.detail
    low, high = example.window
    covered = example.mask is not None and not example.counted.all()
    most = "which hold most of the mask (blue outline)" if covered else "where the original has the most detail"
    return (
        f"Greys from {low:.3g} (black) to {high:.3g} (white) in all images, the 0.5th and 99.5th percentile of the "
        f"original. Detail: {side} × {side} pixels from column {column}, row {row} (yellow square), {most}. Colours: "
        f"restored minus original{', of the detail' if example.close else ''}, blue where too dark, red where too "
        f"bright, white at 0, the same range of ±{limit:g} for all methods; below, the mean absolute error"
        f"{' under the mask' if covered else ''}."
    )
