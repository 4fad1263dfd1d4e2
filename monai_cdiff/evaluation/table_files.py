"""The tables of an evaluation as they are written: in Markdown, and as one list of comma-separated values."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

from ..utils import replacing
from .published import published_table
from .result_tables import difference_table, result_table, tasks_of
from .results_file import TASKS, method_titles, read_results, rows_of
from .table import Table, one_line, table_markdown
from .training_tables import spread_table, trainings_table

__all__ = ["results_csv", "results_markdown", "tables_of", "write_tables"]

_PARTS = ("interval_low", "interval_high", "n", "difference", "p", "reason")


def write_tables(out_dir: str | os.PathLike[str]) -> list[Path]:
    """Write the tables of an evaluation from its results; the same results give the same bytes.

    Args:
        out_dir: the folder that holds ``results.json``.

    Returns:
        The files that were written: ``tables.md`` and ``tables.csv``.

    Raises:
        FileNotFoundError: if the results do not exist.
        ValueError: if they cannot be used; the message names the key.

    Example:
        >>> write_tables("/data/evaluation")  # doctest: +SKIP
    """
    results = read_results(out_dir)
    written = {"tables.md": results_markdown(results), "tables.csv": results_csv(results)}
    for name, text in written.items():
        with replacing(Path(out_dir, name)) as new:
            new.write_bytes(text.encode())
    return [Path(out_dir, name) for name in written]


def tables_of(results: dict[str, Any], task: str) -> list[Table]:
    """All tables of a task: what was measured, the differences, the trainings, and what the publication printed."""
    found = [
        result_table(results, task),
        difference_table(results, task),
        spread_table(results, task),
        trainings_table(results),
        published_table(task),
    ]
    return [table for table in found if table is not None]


def results_markdown(results: dict[str, Any]) -> str:
    """All tables of an evaluation in Markdown, those of the publication beside them.

    Example:
        >>> text = results_markdown(results)  # doctest: +SKIP
    """
    parts = []
    for task in tasks_of(results):
        parts += [f"## {TASKS[task]}", *(table_markdown(table) for table in tables_of(results, task))]
    return "\n\n".join(parts) + "\n"


def results_csv(results: dict[str, Any]) -> str:
    """One line a row, after RFC 4180, with the digits that a float64 has; what is not there is empty.

    Example:
        >>> text = results_csv(results)  # doctest: +SKIP
    """
    names = [metric["name"] for metric in results["metrics"]]
    titles = method_titles(results)
    kinds = {method["name"]: method["kind"] for method in results["methods"]}
    lines: list[list[Any]] = [["task", "setting", "method", "title", "kind", "n", "n_subjects"]]
    lines[0] += [column for name in names for column in (name, *(f"{name}_{part}" for part in _PARTS))]
    for task in tasks_of(results):
        for setting, rows in rows_of(results, task).items():
            for row in rows:
                who = [task, setting, row["method"], titles[row["method"]], kinds.get(row["method"], "")]
                line: list[Any] = [*who, row["n"], row["n_subjects"]]
                for name in names:
                    low, high = row.get(f"{name}_interval") or (None, None)
                    rest = (row.get(f"{name}_{part}") for part in _PARTS[2:])
                    line += [row[name], low, high, *rest]
                lines.append(line)
    file = io.StringIO(newline="")
    # a line break within a field is allowed, but would make two lines of a row
    csv.writer(file).writerows([_plain(value) for value in line] for line in lines)
    return file.getvalue()


def _plain(value: Any) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, (int, float)) else one_line(value)
