"""The tables: what is best, what is not there and why, how numbers are shown, and that CSV gives them back."""

from __future__ import annotations

import csv
import io
import math
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from contracts.evaluation_results import results, row
from monai_cdiff.evaluation import (
    difference_table,
    published_table,
    result_table,
    results_csv,
    results_markdown,
    table_html,
    table_markdown,
)

HOSTILE = "<script>alert('x')</script> a|b, \"c\"\r\nd & *e* `f` [g](h) $i$ \\"


class Reader(HTMLParser):
    """The tags of a page, and the text of each cell."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


def metric(better: str, name: str = "m") -> dict[str, Any]:
    return {"name": name, "title": name.upper(), "unit": "", "better": better, "note": ""}


def bold(content: dict[str, Any], block: int = 0, column: int = -1) -> list[str]:
    rows = result_table(content, "denoise").blocks[block].rows
    return [line[0].text for line in rows if line[column].bold]


def lines_of(markdown: str) -> list[list[str]]:
    """The cells of a Markdown table, split where no backslash stands before the bar."""
    lines = [line for line in markdown.split("\n") if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1]] for line in lines]


@pytest.mark.parametrize(
    "better, values, expected",
    [
        ("higher", [1.0, 3.0, 2.0], ["the filter"]),
        ("lower", [1.0, 3.0, 2.0], ["the noisy"]),
        ("one", [0.8, 1.3, 1.1], ["the mean"]),
        ("half", [0.45, 0.9, 0.52], ["the mean"]),
        ("one", [0.9, 1.1, 1.3], ["the noisy", "the filter"]),
        ("zero", [-0.3, 0.1, -0.05], ["the mean"]),
        ("zero", [-0.05, 0.05, 0.06], ["the noisy", "the filter"]),
        ("zero", [0.05001, -0.04999, 0.5], ["the noisy", "the filter"]),  # both 0.050 from 0
        ("", [1.0, 2.0, 3.0], []),
        ("higher", [32.081, 32.084, 30.0], ["the noisy", "the filter"]),  # both 32.08
        ("higher", [math.inf, 1.0, 2.0], ["the noisy"]),
        ("higher", [-1e300, 1e300, 0.0], ["the filter"]),
    ],
)
def test_the_best_is_bold(better: str, values: list[float], expected: list[str]) -> None:
    rows = [row(name, m=value) for name, value in zip(("noisy", "filter", "mean"), values)]
    # the original would be the best of all, and is no candidate
    ideal = {"higher": 99.0, "lower": -1.0, "one": 1.0, "half": 0.5, "zero": 0.0, "": 0.0}
    rows.insert(1, row("original", m=ideal[better]))
    rows.append(row("regression", m=None, m_reason="none"))
    assert bold(results(rows, metrics=[metric(better)])) == expected


def test_what_has_nothing_to_be_better_than_is_not_bold() -> None:
    assert bold(results([row("mean", m=1.0)], metrics=[metric("higher")])) == []
    rows = [row("original", m=1.0), row("noisy", m=None, m_reason="none"), row("mean", m=0.5)]
    assert bold(results(rows, metrics=[metric("higher")])) == []


def test_a_block_for_each_setting_has_a_best_of_its_own() -> None:
    rows = [row(name, setting, m=value) for setting, name, value in [
        ("factor 2", "mean", 3.0), ("factor 4", "noisy", 1.5), ("factor 2", "noisy", 2.0), ("factor 4", "mean", 1.0),
    ]]  # fmt: skip
    content = results(rows, metrics=[metric("higher")])
    table = result_table(content, "denoise")
    assert [block.head for block in table.blocks] == ["factor 2", "factor 4"] and table.head == "setting"
    assert bold(content, 0) == ["the mean"] and bold(content, 1) == ["the noisy"]
    assert [line[0].text for line in table.blocks[0].rows] == ["the noisy", "the mean"], "in the order of the methods"
    shown = lines_of(table_markdown(table))
    assert [line[0] for line in shown] == ["setting", ":--", "factor 2", "", "factor 4", ""]


def test_reasons_are_numbered_notes() -> None:
    table = result_table(results(), "denoise")
    assert list(table.notes) == ["equal to itself", "no weights"]
    notes = [[(cell.text, cell.note) for cell in line[1:]] for line in table.blocks[0].rows]
    assert notes[0] == [("n/a", 1), ("n/a", 2)] and notes[-1] == [("32.08", None), ("n/a", 2)]
    text = table_markdown(table)
    assert "(1) equal to itself\n\n(2) no weights\n\nPSNR: peak 1" in text
    assert "| the mean | **32.08** [31.90, 32.30] | n/a (2) |" in text
    assert "n/a<sup>2</sup>" in table_html(table) and "<li>no weights</li>" in table_html(table)


def test_a_mean_of_fewer_values_says_so() -> None:
    rows = [row("noisy", m=1.0, m_n=5), row("filter", m=2.0, m_n=5, m_reason="no label"), row("mean", m=3.0)]
    table = result_table(results(rows, metrics=[metric("higher")]), "denoise")
    kept = "mean of the values that there are (5); others are missing"
    assert list(table.notes) == [kept, f"{kept}: no label"]
    assert [line[1].note for line in table.blocks[0].rows] == [1, 2, None]
    assert not any(line[1].bold for line in table.blocks[0].rows)  # of other images than the rest
    assert "| the noisy | 1.000 (1) |" in table_markdown(table)
    lines = list(csv.DictReader(io.StringIO(results_csv(results(rows, metrics=[metric("higher")])), newline="")))
    assert [line["m_n"] for line in lines] == ["5", "5", ""]


def test_header_and_caption() -> None:
    table = result_table(results(), "denoise")
    assert list(table.header) == ["method", "PSNR (dB) ↑", "LPIPS ↓"] and table.head == ""
    assert table.caption == "Denoising, test split. 8 images of 4 subjects. In brackets 95 % intervals."
    rows = [row("noisy", m=1.0), {**row("mean", m=2.0), "n": 1, "n_subjects": 1}]
    table = result_table(results(rows, metrics=[metric("one")]), "denoise")
    assert table.caption == "Denoising, test split."
    assert list(table.header) == ["method", "images / subjects", "M → 1"]
    assert table.blocks[0].rows[1][1].text == "1 / 1"


@pytest.mark.parametrize(
    "values, shown",
    [
        ([16.08123, 32.0], ["16.08", "32.00"]),
        ([0.8721, 0.1649], ["0.872", "0.165"]),
        ([1.19, 1.304], ["1.190", "1.304"]),
        ([0.00041, -0.0013], ["0.00041", "−0.00130"]),
        ([2787.847, 1.53], ["2787.8", "1.5"]),
        ([1.5e12, -3.0], ["1.5·10¹²", "−3"]),
        ([6.2e-5, -1.23456e-6], ["6.2·10⁻⁵", "−1.23·10⁻⁶"]),
        ([-0.0, 6.2e-5], ["0", "6.2·10⁻⁵"]),
        ([-0.00001, 12.0], ["0.0000", "12.0000"]),
        ([math.inf, 31.5], ["∞", "31.50"]),
        ([0.0, 0.0], ["0.00", "0.00"]),
    ],
)
def test_how_numbers_are_shown(values: list[float], shown: list[str]) -> None:
    rows = [row(name, m=value) for name, value in zip(("noisy", "mean"), values)]
    table = result_table(results(rows, metrics=[metric("")]), "denoise")
    assert [line[1].text for line in table.blocks[0].rows] == shown


def test_differences_to_the_reference() -> None:
    table = difference_table(results(), "denoise")
    assert table and "“the mean”" in table.caption and list(table.header) == ["method", "Δ PSNR (dB)"]
    assert [line[0].text for line in table.blocks[0].rows] == ["the noisy"], "what was compared"
    cell = table.blocks[0].rows[0][1]
    assert (cell.text, cell.detail, cell.bold) == ("−15.90", "(p < 0.0001)", False)
    rows = [row("filter", m=1.0, m_difference=0.4321, m_p=0.03125), row("noisy", m=1.0, m_difference=1.5)]
    table = difference_table(results(rows, metrics=[metric("higher")]), "denoise")
    assert table and [(line[1].text, line[1].detail) for line in table.blocks[0].rows] == [
        ("+1.500", ""),
        ("+0.432", "(p = 0.031)"),
    ]
    assert "paired test" in table.remarks[0]
    rows = [row("filter", m=1.0, m_difference=0.4321, m_p=None)]
    table = difference_table(results(rows, metrics=[metric("higher")]), "denoise")
    assert table and not table.remarks, "there is no p to explain"
    assert difference_table(results([row("noisy", m=1.0)], metrics=[metric("higher")]), "denoise") is None
    assert difference_table(results(reference=None), "denoise") is None


def test_csv_gives_back_equal_numbers() -> None:
    content = results()
    content["rows"][1]["lpips"] = 0.1 + 0.2
    content["methods"][0]["title"] = HOSTILE
    text = results_csv(content)
    assert text.endswith("\r\n") and text.count("\n") == text.count("\r\n") == 1 + len(content["rows"])
    lines = list(csv.DictReader(io.StringIO(text, newline="")))
    for line, stored in zip(lines, content["rows"], strict=True):
        assert (line["task"], line["method"], line["setting"]) == ("denoise", stored["method"], "")
        assert (int(line["n"]), int(line["n_subjects"])) == (8, 4)
        for name in ("psnr", "lpips"):
            low, high = stored.get(f"{name}_interval") or (None, None)
            expected = {"": stored[name], "_interval_low": low, "_interval_high": high}
            expected |= {f"_{part}": stored.get(f"{name}_{part}") for part in ("difference", "p")}
            for ending, value in expected.items():
                cell = line[f"{name}{ending}"]
                assert cell == "" if value is None else float(cell) == value
            assert line[f"{name}_reason"] == stored.get(f"{name}_reason", "")
    assert [line["kind"] for line in lines] == ["", "trivial", "classical", "diffusion"]
    assert lines[1]["title"] == " ".join(HOSTILE.split())


def test_hostile_titles_stay_in_their_cells() -> None:
    content = results()
    content["methods"][0]["title"] = content["metrics"][0]["title"] = HOSTILE
    content["rows"][0]["psnr_reason"] = HOSTILE
    table = result_table(content, "denoise")
    lines = lines_of(table_markdown(table))
    assert len(lines) == 6 and {len(line) for line in lines} == {3}
    plain = re.sub(r"\\([^\w\s])", r"\1", lines[3][0])
    assert plain == " ".join(HOSTILE.split())
    assert not re.search(r"(?<!\\)[<*`$\[]", lines[3][0])
    reader = Reader()
    reader.feed(table_html(table))
    assert "script" not in reader.tags and " ".join(HOSTILE.split()) in reader.cells
    assert len(reader.cells) == 5 * 3


def test_all_tables_in_one_text() -> None:
    text = results_markdown(results())
    assert text.startswith("## Denoising\n\n") and text.count("Hung et al. 2023") == 1
    rows = [row("mean", "factor 4", "sr", psnr=1.0, lpips=0.5), *results()["rows"]]
    text = results_markdown(results(rows))
    assert text.index("## Denoising") < text.index("## Super-resolution"), "the evaluation's own task first"


@pytest.mark.parametrize("task, number, rows", [("sr", 1, 12), ("denoise", 2, 5), ("inpaint", 3, 4)])
def test_what_the_publication_printed(task: str, number: int, rows: int) -> None:
    table = published_table(task)
    assert f"Hung et al. 2023 (Med-cDiff, Bioengineering 10:1258), Table {number}" in table.caption
    assert "cannot be compared" in table.remarks[0]
    lines = [line for block in table.blocks for line in block.rows]
    assert len(lines) == rows and {len(line) for line in lines} == {len(table.header)}
    assert all(cell.text == "–" or float(cell.text) >= 0 for line in lines for cell in line[1:])
    ours = [[cell.text for cell in line[1:]] for line in lines if line[0].text == "Med-cDiff"]
    assert ours[-1] == {
        "sr": ["5.09", "1.20", "21.37", "74.2", "84.3"],
        "denoise": ["1.19", "1.30", "65.8"],
        "inpaint": ["2.96", "0.582", "64.0"],
    }[task]
    with pytest.raises(ValueError, match="task='denoising' is not supported.*Did you mean"):
        published_table("denoising")
