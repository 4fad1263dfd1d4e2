"""The file that an evaluation leaves, ``results.json``: read, and checked before anything is made of it."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from ..utils import check_option

__all__ = ["BETTER", "ORIGINAL", "RESULTS", "TASKS", "method_titles", "read_results", "rows_of"]

RESULTS = "results.json"
TASKS = {"sr": "Super-resolution", "denoise": "Denoising", "inpaint": "Inpainting"}
# Which values of a metric are good: high ones, low ones, those near 1, 0.5 or 0; "" where none is better.
BETTER = ("higher", "lower", "one", "half", "zero", "")
# The method of the rows that say what the images without degradation have.
ORIGINAL = "original"

_TOP: tuple[str, ...] = ("date", "command", "environment", "task", "bundle", "test_set", "seed", "metrics", "methods")
_TOP += ("reference", "rows", "examples", "warnings")
_OBJECTS: dict[str, tuple[str, ...]] = {
    "environment": (),
    "bundle": ("name", "version"),
    "test_set": ("split", "n_images", "n_subjects", "sha256", "settings"),
}
_LISTS: dict[str, tuple[str, ...]] = {
    "metrics": ("name", "title", "better"),
    "methods": ("name", "kind", "title", "checkpoint_sha256", "settings", "iterations"),
    "rows": ("task", "method", "setting", "n", "n_subjects"),
    "examples": ("setting", "name", "original", "condition", "restored"),
}
_KINDS: dict[type, str] = {dict: "an object", list: "a list", str: "text"}


def read_results(out_dir: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the results of an evaluation.

    Args:
        out_dir: the folder that holds ``results.json``.

    Returns:
        What the file holds.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no JSON, a key is missing or has a wrong kind of value, a value that is not there has no
            reason, a method is not listed, or a row stands there twice; the message names the key.

    Example:
        >>> results = read_results("/data/evaluation")  # doctest: +SKIP
    """
    file = Path(out_dir) / RESULTS
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; out_dir must be the folder that an evaluation wrote.")
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: is no JSON; is the file whole? {error}") from error
    try:
        _check(results)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    content: dict[str, Any] = results
    return content


def method_titles(results: dict[str, Any]) -> dict[str, str]:
    """What each method is called, in their order; the original first, unless it is listed elsewhere."""
    titles = {method["name"]: str(method["title"]) for method in results["methods"]}
    return titles if ORIGINAL in titles else {ORIGINAL: "original image", **titles}


def rows_of(results: dict[str, Any], task: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of a task by setting, those of a setting in the order of the methods."""
    order = list(method_titles(results))
    blocks: dict[str, list[dict[str, Any]]] = {}
    for row in results["rows"]:
        if row["task"] == task:
            blocks.setdefault(str(row["setting"]), []).append(row)
    return {setting: sorted(rows, key=lambda row: order.index(row["method"])) for setting, rows in blocks.items()}


def _check(results: Any) -> None:
    _check_kind("the file", results, dict)
    _check_keys("the file", results, _TOP)
    check_option("task", results["task"], TASKS)
    for name, keys in _OBJECTS.items():
        _check_kind(name, results[name], dict)
        _check_keys(name, results[name], keys)
    _check_kind("test_set.settings", results["test_set"]["settings"], dict)
    for name, keys in _LISTS.items():
        _check_kind(name, results[name], list)
        for number, entry in enumerate(results[name]):
            _check_kind(f"{name}[{number}]", entry, dict)
            _check_keys(f"{name}[{number}]", entry, keys)
    _check_kind("warnings", results["warnings"], list)
    for name in ("metrics", "methods", "rows"):
        if not results[name]:
            raise ValueError(f"{name} is empty; there is nothing to report.")
    for number, metric in enumerate(results["metrics"]):
        _check_kind(f"metrics[{number}].name", metric["name"], str)
        check_option(f"metrics[{number}].better", metric["better"], BETTER)
    for number, method in enumerate(results["methods"]):
        _check_kind(f"methods[{number}].name", method["name"], str)
        _check_kind(f"methods[{number}].settings", method["settings"], dict)
    for name in ("metrics", "methods"):
        names = [entry["name"] for entry in results[name]]
        if twice := next((one for one in names if names.count(one) > 1), None):
            raise ValueError(f"{name}: name={twice!r} stands there twice; each needs a name of its own.")
    if results["reference"] is not None:
        _check_method("reference", results["reference"], results)
    _check_rows(results)
    for number, example in enumerate(results["examples"]):
        _check_kind(f"examples[{number}].restored", example["restored"], dict)
        for method in example["restored"]:
            _check_method(f"examples[{number}].restored", method, results)


def _check_rows(results: dict[str, Any]) -> None:
    seen = set()
    for number, row in enumerate(results["rows"]):
        where = f"rows[{number}]"
        check_option(f"{where}.task", row["task"], TASKS)
        _check_method(f"{where}.method", row["method"], results)
        key = (row["task"], row["method"], str(row["setting"]))
        if key in seen:
            raise ValueError(f"{where} stands there twice: method={key[1]!r}, setting={key[2]!r}.")
        seen.add(key)
        for metric in results["metrics"]:
            _check_value(where, row, metric["name"])


def _check_value(where: str, row: dict[str, Any], metric: str) -> None:
    _check_keys(where, row, (metric,) if row.get(metric, "") is not None else (f"{metric}_reason",))
    pair = row.get(f"{metric}_interval")
    if pair is not None and not (isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair))):
        raise ValueError(f"{where}.{metric}_interval={pair!r} must be null, or a lower and an upper bound.")
    for name in (metric, f"{metric}_difference", f"{metric}_p"):
        if row.get(name) is not None and not _is_number(row[name]):
            raise ValueError(f"{where}.{name}={row[name]!r} must be a number, or null where there is none.")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def _check_method(where: str, name: Any, results: dict[str, Any]) -> None:
    check_option(where, name, method_titles(results))


def _check_keys(where: str, content: dict[str, Any], keys: tuple[str, ...]) -> None:
    for key in keys:
        if key not in content:
            raise ValueError(f"{where} has no {key!r}; is the file whole?")


def _check_kind(where: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise ValueError(f"{where} is {type(value).__name__}; it must be {_KINDS[kind]}.")
