"""What the trainings of the compared methods took, and how far trainings that differ only by their seed lie apart."""

from __future__ import annotations

from typing import Any

from .result_tables import metric_title
from .results_file import TASKS, rows_of
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
            Cell(_training(method)),
            Cell(str(method["iterations"])),
            Cell(number_text(method["train_seconds"] / 60, 1)),
            Cell(sha256[:8]),
        ]
        for sha256, method in trained.items()
    ]
    return Table(
        "Trainings, as their checkpoints tell; on which machine they do not tell.",
        ["weights", "iterations", "minutes", "SHA-256"],
        [Block(lines)],
    )


def spread_table(results: dict[str, Any], task: str) -> Table | None:
    """The mean over the trainings of a method, with the lowest and the highest; None if each was trained once.

    Trainings of one method have names that end in a dot and a number, pix2pix.0 and pix2pix.1, the same settings, and
    each other weights.

    Args:
        results: as :py:func:`read_results` returns them.
        task: "sr", "denoise" or "inpaint".

    Example:
        >>> table = spread_table(results, "sr")  # doctest: +SKIP
    """
    families = _families(results)
    blocks = {setting: _members(rows, families) for setting, rows in rows_of(results, task).items()}
    rows = [row for found in blocks.values() for members in found.values() for row in members]
    metrics = [metric for metric in results["metrics"] if any(row[metric["name"]] is not None for row in rows)]
    if not metrics:
        return None
    digits = {metric["name"]: decimals(row[metric["name"]] for row in rows) for metric in metrics}
    shown = [
        Block(
            [
                [
                    Cell(family),
                    Cell(str(len(members))),
                    *(_spread([row[name] for row in members], places) for name, places in digits.items()),
                ]
                for family, members in found.items()
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


def _families(results: dict[str, Any]) -> dict[str, list[str]]:
    """The names of the trainings of each method that was trained several times."""
    found: dict[str, list[dict[str, Any]]] = {}
    for method in results["methods"]:
        if method.get("training") is not None:
            found.setdefault(method["family"], []).append(method)
    return {
        family: [method["name"] for method in members]
        for family, members in found.items()
        if len(members) > 1 and _are_alike([method for method in members if method["kind"] != "missing"])
    }


def _are_alike(members: list[dict[str, Any]]) -> bool:
    weights = [method["checkpoint_sha256"] for method in members]
    return len(set(weights)) == len(weights) and all(m["settings"] == members[0]["settings"] for m in members)


def _members(rows: list[dict[str, Any]], families: dict[str, list[str]]) -> dict[str, list[dict[str, Any]]]:
    return {family: [row for row in rows if row["method"] in names] for family, names in families.items()}


def _spread(values: list[float | None], digits: int | None) -> Cell:
    known = [value for value in values if value is not None]
    if not known:
        return Cell("n/a")
    low, high = (number_text(bound, digits) for bound in (min(known), max(known)))
    fewer = f", {len(known)} of {len(values)}" if len(known) < len(values) else ""
    return Cell(number_text(sum(known) / len(known), digits), f"[{low}, {high}]{fewer}")


def _training(method: dict[str, Any]) -> str:
    """Whose weights: those of a diffusion serve several methods."""
    ending = "" if method.get("training") is None else f", training {method['training']}"
    return f"{method.get('weights_of', method['title'])}{ending}"
