"""A metric over the strength of the degradation, as Figure 3 of Hung et al. (Bioengineering 10:1258, 2023)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from .figure_file import ResultFigure, default_style, figure_png, new_figure
from .result_tables import metric_title, tasks_of
from .results_file import ORIGINAL, TASKS, method_titles, rows_of
from .table import one_line

__all__ = ["draw_curves"]

_DRAWN = re.compile(r"dice|dice_.*|accuracy|accuracy_.*|psnr")
_ENDS_IN_NUMBER = re.compile(r"(.*?)[\s=:]*((?:(?<=[\s=:])-)?\d+(?:\.\d+)?(?:e[+-]?\d+)?)")
# Okabe and Ito's colours, which the colour-blind can tell apart, without the yellow, which white paper swallows.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_MARKERS = "osD^vPX"
_LINES = ("-", "--", "-.", ":")
_PANELS = 3  # in a row
_WIDTH, _HEIGHT = 3.3, 2.9  # of a panel, inches

# Of a panel: method to its points (setting, value, interval).
_Points = dict[str, list[tuple[float, float, tuple[float, float] | None]]]


def draw_curves(results: Mapping[str, Any]) -> list[ResultFigure]:
    """Draw how Dice, accuracy and PSNR change with a setting that ends in a number, such as "factor 4".

    One line a method with its intervals, and a dashed line for the original.

    Args:
        results: as :py:func:`read_results` returns them.

    Returns:
        A figure for each task and kind of setting of which there are two or more.

    Raises:
        ModuleNotFoundError: if matplotlib is not installed.

    Example:
        >>> figures = draw_curves(read_results("/data/evaluation"))  # doctest: +SKIP
    """
    drawn: list[ResultFigure] = []
    content = dict(results)
    for task in tasks_of(content):
        for kind, settings in _kinds(rows_of(content, task)).items():
            panels = {metric["name"]: _points(settings, metric["name"]) for metric in content["metrics"]}
            panels = {name: points for name, points in panels.items() if _DRAWN.fullmatch(name) and _is_line(points)}
            if panels:
                with default_style():
                    name = f"curve_{len(drawn) + 1:02d}"
                    drawn.append(_draw(content, f"{TASKS[task]}: by {kind or 'setting'}", name, kind, panels))
    return drawn


def _kinds(blocks: Mapping[str, list[dict[str, Any]]]) -> dict[str, dict[float, list[dict[str, Any]]]]:
    """The rows by what their settings are of, and by its number."""
    kinds: dict[str, dict[float, list[dict[str, Any]]]] = {}
    for setting, rows in blocks.items():
        if found := _ENDS_IN_NUMBER.fullmatch(one_line(setting)):
            kinds.setdefault(found[1], {})[float(found[2])] = rows
    return {kind: dict(sorted(settings.items())) for kind, settings in kinds.items() if len(settings) > 1}


def _points(settings: Mapping[float, list[dict[str, Any]]], metric: str) -> _Points:
    points: _Points = {}
    for number, rows in settings.items():
        for row in rows:
            if row[metric] is not None and math.isfinite(row[metric]):
                pair = row.get(f"{metric}_interval")
                pair = (pair[0], pair[1]) if pair and all(map(math.isfinite, pair)) else None
                points.setdefault(row["method"], []).append((number, row[metric], pair))
    return points


def _is_line(points: _Points) -> bool:
    return any(len(line) > 1 for method, line in points.items() if method != ORIGINAL)


def _draw(results: dict[str, Any], title: str, name: str, kind: str, panels: Mapping[str, _Points]) -> ResultFigure:
    titles = method_titles(results)
    methods = [method for method in titles if any(method in points for points in panels.values())]
    columns = min(len(panels), _PANELS)
    lines = math.ceil(len(panels) / columns)
    beside = 1 if columns == 1 else columns + 1  # entries of the legend in a row
    legend = 0.2 * math.ceil(len(methods) / beside) + 0.15
    width, height = max(_WIDTH * columns, 4.5), _HEIGHT * lines + legend
    figure = new_figure(width, height)
    settings = sorted({x for points in panels.values() for line in points.values() for x, _, _ in line})
    grid = figure.add_gridspec(
        lines, columns, left=0.6 / width, right=1 - 0.15 / width, top=1 - 0.35 / height,
        bottom=(legend + 0.5) / height, hspace=0.45, wspace=0.28,
    )  # fmt: skip
    handles: dict[str, Any] = {}
    shown = [metric for metric in results["metrics"] if metric["name"] in panels]
    for number, metric in enumerate(shown):
        axes = figure.add_subplot(grid[number // columns, number % columns])
        for method, points in panels[metric["name"]].items():
            handles[method] = _line(axes, points, [m for m in methods if m != ORIGINAL], method, settings)
        axes.set_title(metric_title(metric), fontsize=10, parse_math=False)
        axes.set_xlabel(kind or "setting", fontsize=9, parse_math=False)
        _ticks(axes, settings)
    labels = [_short(titles[method]) for method in methods]
    entries = [handles[method] for method in methods]
    made = figure.legend(entries, labels, loc="lower center", ncols=beside, fontsize=8, frameon=False)
    for text in made.get_texts():
        text.set_parse_math(False)
    caption = "One line a method; bars are 95 % intervals. Points of one setting are drawn side by side." + (
        " The dashed grey line is the original, without degradation." if ORIGINAL in methods else ""
    )
    return ResultFigure(name, title, caption, figure_png(figure))


def _line(axes: Any, points: list[Any], methods: list[str], method: str, settings: list[float]) -> Any:
    ordered = sorted(points, key=lambda point: point[0])
    if method == ORIGINAL:
        [handle] = axes.plot([x for x, _, _ in ordered], [y for _, y, _ in ordered], "--", color="0.45", linewidth=1.3)
        return handle
    place = methods.index(method)
    aside = (place - (len(methods) - 1) / 2) * 0.012
    span = math.log(settings[-1] / settings[0]) if _is_wide(settings) else settings[-1] - settings[0]
    xs = [x * math.exp(aside * span) if _is_wide(settings) else x + aside * span for x, _, _ in ordered]
    bars = [(max(0, y - pair[0]), max(0, pair[1] - y)) if pair else (0, 0) for _, y, pair in ordered]
    style = {"color": _COLOURS[place % len(_COLOURS)], "marker": _MARKERS[place % len(_MARKERS)]}
    return axes.errorbar(
        xs, [y for _, y, _ in ordered], yerr=list(zip(*bars)), linestyle=_LINES[place // len(_COLOURS) % len(_LINES)],
        markersize=4, linewidth=1.3, elinewidth=0.9, capsize=2, **style,
    )  # fmt: skip


def _is_wide(settings: list[float]) -> bool:
    """Whether the settings are shown on a logarithmic axis."""
    return settings[0] > 0 and settings[-1] / settings[0] >= 2


def _ticks(axes: Any, settings: list[float]) -> None:
    if _is_wide(settings):
        axes.set_xscale("log")
    axes.set_xticks(settings, [f"{x:.3g}" for x in settings], fontsize=8)
    axes.minorticks_off()
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(color="0.9", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _short(title: str) -> str:
    text = one_line(title)
    return text if len(text) <= 44 else text[:43] + "…"
