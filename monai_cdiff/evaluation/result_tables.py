"""The tables of an evaluation, laid out as those of Hung et al. (Bioengineering 10:1258, 2023): methods by metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .results_file import ORIGINAL, TASKS, method_titles, rows_of
from .table import Block, Cell, Table, decimals, number_text, one_line, rounded

__all__ = ["count_images", "difference_table", "metric_title", "result_table", "tasks_of"]

_ARROWS = {"higher": " ↑", "lower": " ↓", "one": " → 1", "half": " → 0.5", "zero": " → 0", "": ""}
# How far from good a value is.
_DISTANCE: dict[str, Callable[[float], float]] = {
    "higher": lambda value: -value,
    "lower": lambda value: value,
    "one": lambda value: abs(value - 1),
    "half": lambda value: abs(value - 0.5),
    "zero": abs,
}
_P_REMARK = "p: two-sided, of a paired test over subjects; not corrected for the number of comparisons."
_DIVERGED = "did not converge"


def count_images(images: int, subjects: int) -> str:
    """How many images of how many subjects, in words."""
    return f"{images} image{'s' * (images != 1)} of {subjects} subject{'s' * (subjects != 1)}"


def metric_title(metric: dict[str, Any]) -> str:
    """What a metric is called, with its unit."""
    return f"{metric['title']} ({metric['unit']})" if metric.get("unit") else str(metric["title"])


def tasks_of(results: dict[str, Any]) -> list[str]:
    """The tasks that have rows, that of the evaluation first."""
    return list(dict.fromkeys([results["task"], *(row["task"] for row in results["rows"])]))


def result_table(results: dict[str, Any], task: str) -> Table:
    """What each method has of each metric, a block for each setting.

    The best value of a column and block is bold, and so are those that look the same at the digits that are shown; the
    original is no candidate, nor is a value that has no other to be compared with, nor are means of different numbers
    of images. Values that are not there refer to a note with the reason.

    Args:
        results: as :py:func:`read_results` returns them.
        task: "sr", "denoise" or "inpaint".

    Returns:
        The table.

    Example:
        >>> table = result_table(results, "denoise")  # doctest: +SKIP
    """
    blocks, titles = rows_of(results, task), method_titles(results)
    lost = _lost(results, blocks)
    rows = [row for block in blocks.values() for row in block]
    sizes = {(row["n"], row["n_subjects"]) for row in rows}
    notes: list[str] = []
    columns = [_column(blocks, metric, notes) for metric in results["metrics"]]
    shown, number = [], 0
    for setting, block in blocks.items():
        lines = []
        for row in block:
            size = [] if len(sizes) == 1 else [Cell(f"{row['n']} / {row['n_subjects']}")]
            name = Cell(titles[row["method"]], f"({_DIVERGED})" if row["method"] in lost else "")
            lines.append([name, *size, *(column[number] for column in columns)])
            number += 1
        shown.append(Block(lines, setting))
    count = f" {count_images(rows[0]['n'], rows[0]['n_subjects'])}." if len(sizes) == 1 else ""
    bracket = any(cell.detail for column in columns for cell in column)
    remarks = [f"{metric['title']}: {metric['note']}" for metric in results["metrics"] if metric.get("note")]
    if lost:
        remarks.append(f"{_DIVERGED}: trained, yet below the image as it came by PSNR and SSIM, in every setting")
    return Table(
        f"{TASKS[task]}, {results['test_set']['split']} split.{count}"
        + (" In brackets 95 % intervals." if bracket else ""),
        ["method", *([] if len(sizes) == 1 else ["images / subjects"]), *map(_header, results["metrics"])],
        shown,
        head="setting" if any(blocks) else "",
        notes=notes,
        remarks=remarks,
    )


def difference_table(results: dict[str, Any], task: str) -> Table | None:
    """By how much each method differs from the reference, image by image, and how likely that is by chance.

    Args:
        results: as :py:func:`read_results` returns them.
        task: "sr", "denoise" or "inpaint".

    Returns:
        The table, with the metrics that were compared; None if none was.

    Example:
        >>> table = difference_table(results, "denoise")  # doctest: +SKIP
    """
    titles, reference = method_titles(results), results["reference"]
    compared = {
        setting: [row for row in rows if row["method"] not in (reference, ORIGINAL) and _compared(row, results)]
        for setting, rows in rows_of(results, task).items()
    }
    blocks = {setting: rows for setting, rows in compared.items() if rows}
    rows = [row for block in blocks.values() for row in block]
    metrics = [metric for metric in results["metrics"] if any(_has(row, metric["name"]) for row in rows)]
    if not metrics:
        return None
    digits = {
        metric["name"]: decimals(row.get(f"{metric['name']}_difference") for row in rows) for metric in metrics
    }
    shown = []
    for setting, block in blocks.items():
        lines = [
            [Cell(titles[row["method"]]), *(_difference(row, name, count) for name, count in digits.items())]
            for row in block
        ]
        shown.append(Block(lines, setting))
    return Table(
        f"{TASKS[task]}: difference to “{titles[reference]}”, image by image (method minus reference).",
        ["method", *(f"Δ {metric_title(metric)}" for metric in metrics)],
        shown,
        head="setting" if any(blocks) else "",
        remarks=[_P_REMARK] if any(cell.detail for block in shown for line in block.rows for cell in line) else [],
    )


def _header(metric: dict[str, Any]) -> str:
    return metric_title(metric) + _ARROWS[metric["better"]]


def _lost(results: dict[str, Any], blocks: dict[str, list[dict[str, Any]]]) -> set[str]:
    """The trained methods that are farther from the original than the image as it came, by PSNR and by SSIM, always.

    By one of them alone it would be said of networks that draw texture, which costs PSNR.
    """
    trivial = {method["name"] for method in results["methods"] if method["kind"] == "trivial"}
    gains: dict[str, list[float]] = {method["name"]: [] for method in results["methods"] if _promises(method)}
    for rows in blocks.values():
        for metric in ("psnr", "ssim"):
            known = {row["method"]: row[metric] for row in rows if row.get(metric) is not None}
            floor = [known[name] for name in trivial & known.keys()]
            for name in gains.keys() & known.keys() if floor else ():
                gains[name].append(known[name] - max(floor))
    return {name for name, found in gains.items() if found and max(found) < 0}


def _promises(method: dict[str, Any]) -> bool:
    """Whether a method was trained to come near to the original, and not drawn at random."""
    settings = method["settings"]
    drawn = settings.get("output") == "sample" or settings.get("sampled")
    return method["kind"] in ("regression", "diffusion") and not drawn


def _column(blocks: dict[str, list[dict[str, Any]]], metric: dict[str, Any], notes: list[str]) -> list[Cell]:
    """The cells of a metric; new reasons for values that are not there are added to ``notes``."""
    name = metric["name"]
    digits = decimals(row[name] for rows in blocks.values() for row in rows)
    cells = []
    for rows in blocks.values():
        best = _best(rows, metric, digits)
        for row in rows:
            if row[name] is None:
                cells.append(Cell("n/a", note=_note(notes, row[f"{name}_reason"])))
                continue
            pair = row.get(f"{name}_interval")
            detail = f"[{', '.join(number_text(bound, digits) for bound in pair)}]" if pair else ""
            bold = row["method"] != ORIGINAL and number_text(row[name], digits) in best
            note = _note(notes, _fewer(row, name)) if row.get(f"{name}_n") is not None else None
            cells.append(Cell(number_text(row[name], digits), detail, bold, note))
    return cells


def _fewer(row: dict[str, Any], name: str) -> str:
    kept = f"mean of the values that there are ({row[f'{name}_n']}); others are missing"
    reason = row.get(f"{name}_reason")
    return f"{kept}: {reason}" if reason else kept


def _note(notes: list[str], text: str) -> int:
    """The number of a note, which is added if it is new."""
    if one_line(text) not in notes:
        notes.append(one_line(text))
    return notes.index(one_line(text)) + 1


def _best(rows: Sequence[dict[str, Any]], metric: dict[str, Any], digits: int | None) -> set[str]:
    """The best values of a block, as they are shown."""
    name, better = metric["name"], metric["better"]
    candidates = [row for row in rows if row["method"] != ORIGINAL and row[name] is not None]
    values = [row[name] for row in candidates]
    if len(values) < 2 or not better or len({row.get(f"{name}_n") for row in candidates}) > 1:
        return set()
    distance = {number_text(value, digits): _DISTANCE[better](rounded(value, digits)) for value in values}
    # 0.9 and 1.1 are as far from 1, but for a rounding error
    least = min(distance.values())
    return {text for text, far in distance.items() if far == least or math.isclose(far, least, rel_tol=1e-9)}


def _has(row: dict[str, Any], name: str) -> bool:
    return row.get(f"{name}_difference") is not None


def _compared(row: dict[str, Any], results: dict[str, Any]) -> bool:
    return results["reference"] is not None and any(_has(row, metric["name"]) for metric in results["metrics"])


def _difference(row: dict[str, Any], name: str, digits: int | None) -> Cell:
    if not _has(row, name):
        return Cell("–")
    p = row.get(f"{name}_p")
    chance = "" if p is None else "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"
    return Cell(number_text(row[f"{name}_difference"], digits, "+"), f"({chance})" if chance else "")
