"""The report of an evaluation: tables, figures, and one page that holds both and needs no network."""

from __future__ import annotations

import base64
import html
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..utils import replacing
from .example_figures import draw_examples
from .figure_file import ResultFigure
from .result_tables import count_images, tasks_of
from .results_file import TASKS, read_results
from .setting_curves import draw_curves
from .table import one_line, table_html
from .table_files import tables_of, write_tables

__all__ = ["report_html", "write_report"]

_FIGURES = "figures"
# Our own names of figures: what an older report left under them is not of this one.
_OUR_FIGURE = re.compile(r"(example|curve)_\d{2,}\.png")


def write_report(out_dir: str | os.PathLike[str]) -> list[Path]:
    """Write tables, figures and a page from the results of an evaluation.

    The same results give the same bytes, with the same version of matplotlib; the page names their date in a line
    of its own. Figures of an older report in the same folder are removed.

    Args:
        out_dir: the folder that holds ``results.json`` and the images it names.

    Returns:
        The files that were written: ``tables.md``, ``tables.csv``, ``figures/*.png`` and ``report.html``.

    Raises:
        FileNotFoundError: if the results or an image do not exist.
        ModuleNotFoundError: if matplotlib, which draws the figures, is not installed.
        ValueError: if the results or an image cannot be used; the message names the key or the file.

    Example:
        >>> write_report("/data/evaluation")  # doctest: +SKIP
    """
    folder = Path(out_dir)
    results = read_results(folder)
    figures = [*draw_curves(results), *draw_examples(results, folder)]
    tables = write_tables(folder)
    written = {
        **{folder / _FIGURES / f"{figure.name}.png": figure.png for figure in figures},
        folder / "report.html": report_html(results, figures).encode(),
    }
    for path, content in written.items():
        with replacing(path) as new:
            new.write_bytes(content)
    for path in (folder / _FIGURES).glob("*.png"):
        if _OUR_FIGURE.fullmatch(path.name) and path not in written:
            path.unlink()
    return [*tables, *written]


def report_html(results: dict[str, Any], figures: Sequence[ResultFigure] = ()) -> str:
    """The page of an evaluation. It loads nothing and runs no script.

    Args:
        results: as :py:func:`read_results` returns them.
        figures: what is shown below the tables.

    Returns:
        The page, HTML.

    Example:
        >>> page = report_html(read_results("/data/evaluation"))  # doctest: +SKIP
    """
    template = files(__package__).joinpath("result_report.html").read_text(encoding="utf-8")
    bundle = results["bundle"]
    values = {
        "title": _text(f"Evaluation: {bundle['name']}"),
        "bundle": _text(f"{bundle['name']}, version {bundle['version']}"),
        "version": _text(results["environment"].get("monai_cdiff", "")),
        "date": _text(results["date"]),
        "warnings": _warnings(results["warnings"]),
        "tested": _tested(results),
        "tables": "\n".join(_tables(results)),
        "figures": "\n".join(map(_figure, figures)) or "<p>No images were kept, and no curve could be drawn.</p>",
        "methods": _methods(results),
        "command": html.escape(str(results["command"])),
        "environment": _facts(_flat({"seed": results["seed"], **results["environment"]})),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)


def _text(value: Any) -> str:
    return "–" if value is None else html.escape(one_line(value))


def _warnings(warnings: Iterable[Any]) -> str:
    items = [f"<li>{_text(warning)}</li>" for warning in warnings]
    return "\n".join(['<div class="warnings"><strong>Warnings</strong><ul>', *items, "</ul></div>"]) if items else ""


def _tested(results: dict[str, Any]) -> str:
    test_set = results["test_set"]
    facts = {
        "task": TASKS[results["task"]].lower(),
        "split": test_set["split"],
        "images": count_images(test_set["n_images"], test_set["n_subjects"]),
        "SHA-256 of the test set": test_set["sha256"],
        **test_set["settings"],
    }
    return _facts(_flat(facts))


def _tables(results: dict[str, Any]) -> Iterable[str]:
    tasks = tasks_of(results)
    for task in tasks:
        if len(tasks) > 1:
            yield f"<h3>{TASKS[task]}</h3>"
        *own, published = tables_of(results, task)
        yield from map(table_html, own)
        yield "<h3>The publication’s numbers</h3>"
        yield table_html(published)


def _figure(figure: ResultFigure) -> str:
    source = "data:image/png;base64," + base64.b64encode(figure.png).decode()
    title, caption = _text(figure.title), _text(figure.caption)
    return (
        f'<figure id="{_text(figure.name)}"><img src="{source}" alt="{title}">\n'
        f"<figcaption><strong>{title}.</strong> {caption}</figcaption></figure>"
    )


def _methods(results: dict[str, Any]) -> str:
    lines = []
    for method in results["methods"]:
        settings = "<br>".join(f"{_text(name)} = {_text(value)}" for name, value in _flat(method["settings"]).items())
        shown = "".join(f"<td>{_text(method[key])}</td>" for key in ("kind", "iterations"))
        sha256 = method["checkpoint_sha256"]
        weights = "–" if sha256 is None else f"<code>{_text(sha256)}</code>"
        reference = " (reference)" if method["name"] == results["reference"] else ""
        lines.append(
            f'<tr><th scope="row">{_text(method["title"])}{reference}<span class="detail"><code>'
            f'{_text(method["name"])}</code></span></th>{shown}<td>{settings or "–"}</td><td>{weights}</td></tr>'
        )
    titles = ("method", "kind", "iterations", "settings", "SHA-256 of the weights")
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    return "\n".join(
        [f'<div class="scroll" tabindex="0"><table class="methods"><thead><tr>{head}</tr></thead><tbody>']
        + [*lines, "</tbody></table></div>"]
    )


def _facts(facts: Mapping[str, Any]) -> str:
    lines = [f'<tr><th scope="row">{_text(name)}</th><td>{_text(value)}</td></tr>' for name, value in facts.items()]
    start = '<div class="scroll" tabindex="0"><table class="facts"><tbody>'
    return "\n".join([start, *lines, "</tbody></table></div>"])


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings within settings as one list, with dotted names."""
    found: dict[str, Any] = {}
    for name, value in content.items():
        inner = _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else {f"{prefix}{name}": value}
        found.update(inner)
    return found
