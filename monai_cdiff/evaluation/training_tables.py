"""What the trainings of the compared methods took, and how far trainings that differ only by their seed lie apart."""

from __future__ import annotations

from typing import Any

from .methods import split_training
from .result_tables import metric_title
from .results_file import TASKS, method_titles, rows_of
from .table import Block, Cell, Table, decimals, number_text

__all__ = ["spread_table", "trainings_table"]


def trainings_table(results: dict[str, Any]) -> Table | None:
    """Iterations and minutes of every training; None if no method was trained, or none says how long.

    Example:
        >>> table = trainings_table(results)  # doctest: +SKIP
    """
    trained: dict[str, dict[str, Any]] = {}
    for method in results["methods"]:
        if method.get("train_seconds") is not None and method["checkpoint_sha256"] is not None:
            trained.setdefault(method["checkpoint_sha256"], method)
    if not trained:
        return None
    lines = [
        [
            Cell(_who(method)),
            Cell(str(method["iterations"])),
            Cell(number_text(method["train_seconds"] / 60, 1)),
            Cell(sha256[:8]),
        ]
        for sha256, method in trained.items()
    ]
    return Table(
        "Trainings, as their checkpoints tell; the machine is not told there.",
        ["method", "iterations", "minutes", "weights"],
        [Block(lines)],
    )


def spread_table(results: dict[str, Any], task: str) -> Table | None:
    """The mean over the trainings of a method, with the lowest and the highest; None if each was trained once.

    Trainings of one method are those whose names end in a dot and a number: pix2pix.0, pix2pix.1.

    Args:
        results: as :py:func:`read_results` returns them.
        task: "sr", "denoise" or "inpaint".

    Example:
        >>> table = spread_table(results, "sr")  # doctest: +SKIP
    """
    titles = method_titles(results)
    blocks = {setting: _families(rows) for setting, rows in rows_of(results, task).items()}
    families = [rows for found in blocks.values() for rows in found.values()]
    metrics = [m for m in results["metrics"] if any(row[m["name"]] is not None for rows in families for row in rows)]
    if not families or not metrics:
        return None
    digits = {m["name"]: decimals(row[m["name"]] for rows in families for row in rows) for m in metrics}
    shown = [
        Block(
            [
                [
                    Cell(titles[rows[0]["method"]].rpartition(", training ")[0]),
                    Cell(str(len(rows))),
                    *(_spread([row[name] for row in rows], places) for name, places in digits.items()),
                ]
                for rows in found.values()
            ],
            setting,
        )
        for setting, found in blocks.items()
    ]
    return Table(
        f"{TASKS[task]}: mean over trainings with different seeds, in brackets the lowest and the highest.",
        ["method", "trainings", *map(metric_title, metrics)],
        shown,
        head="setting" if any(blocks) else "",
    )


def _families(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        family, training = split_training(row["method"])
        if training is not None:
            found.setdefault(family, []).append(row)
    return {family: members for family, members in found.items() if len(members) > 1}


def _spread(values: list[float | None], digits: int | None) -> Cell:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return Cell("n/a")
    low, high = (number_text(bound, digits) for bound in (min(known), max(known)))
    return Cell(number_text(sum(known) / len(known), digits), f"[{low}, {high}]")


def _who(method: dict[str, Any]) -> str:
    """Whose weights: those of a diffusion serve several methods."""
    if not method["title"].startswith("ours"):
        return str(method["title"])
    training = split_training(method["name"])[1]
    return "ours" if training is None else f"ours, training {training}"
