"""A table as it is printed: in Markdown or in HTML, with its notes."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

__all__ = [
    "Block",
    "Cell",
    "Table",
    "decimals",
    "number_text",
    "one_line",
    "rounded",
    "table_html",
    "table_markdown",
]

# What Markdown could take for its own within a cell.
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~$&#])")
# Blanks at which a title is not to be broken.
_KEPT_BLANK = re.compile(r" (?=[↑↓→])|(?<=[→Δ]) ")
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# Columns beyond which a table is printed across, and beyond which in smaller letters.
_WIDE, _SMALL = 8, 12


@dataclass(frozen=True)
class Cell:
    """One cell.

    Args:
        text: what stands there.
        detail: what stands behind it, such as an interval.
        bold: whether the text is set in bold.
        note: number of a note, from 1.
    """

    text: str
    detail: str = ""
    bold: bool = False
    note: int | None = None


@dataclass(frozen=True)
class Block:
    """Rows that belong together.

    Args:
        rows: the cells of each row; the first names it.
        head: what the rows have in common, named once, before them.
    """

    rows: Sequence[Sequence[Cell]]
    head: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        caption: what it shows.
        header: a title for each column of the rows.
        blocks: its rows.
        head: title of the column of the blocks' heads; none of that column if empty.
        notes: what cells refer to by number, from 1.
        remarks: sentences on the whole table.
    """

    caption: str
    header: Sequence[str]
    blocks: Sequence[Block]
    head: str = ""
    notes: Sequence[str] = field(default_factory=list)
    remarks: Sequence[str] = field(default_factory=list)


def one_line(text: object) -> str:
    """The text with every run of blanks and line breaks, and every character that cannot be seen, as one space.

    Example:
        >>> one_line("two\\n lines")
        'two lines'
    """
    return " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)).split())


def decimals(values: Iterable[float | None]) -> int | None:
    """How many decimals a column needs: about four digits of its largest values, two of its smallest; None: powers."""
    sizes = [abs(value) for value in values if value and math.isfinite(value)]
    if not sizes:
        return 2
    top, low = (math.floor(math.log10(size)) for size in (max(sizes), min(sizes)))
    if top >= 6 or top < -4:
        return None
    usual = max(0, (3 if top >= 0 else 2) - top)
    return min(max(usual, 1 - low), usual + 2)


def number_text(value: float, digits: int | None, sign: str = "") -> str:
    """A number with so many decimals, a power of ten for None.

    Example:
        >>> number_text(-1.25, 1), number_text(2.5e-7, None)
        ('−1.2', '2.5·10⁻⁷')
    """
    if not math.isfinite(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:{sign}z.3g}" if digits is None else f"{value:{sign}z.{digits}f}"
    factor, _, power = text.replace("-", "−").partition("e")
    return f"{factor}·10{str(int(power.replace('−', '-'))).translate(_RAISED)}" if power else factor


def rounded(value: float, digits: int | None) -> float:
    """The number that :py:func:`number_text` shows."""
    return float(f"{value:.3g}") if digits is None else round(value, digits)


def table_markdown(table: Table) -> str:
    """The table in Markdown, with caption, notes and remarks.

    Example:
        >>> print(table_markdown(Table("Speed.", ["car", "km/h"], [Block([[Cell("A|B"), Cell("9", bold=True)]])])))
        Speed.
        <BLANKLINE>
        | car | km/h |
        | :-- | --: |
        | A\\|B | **9** |
    """
    first = [table.head] if table.head else []
    header = [*first, *table.header]
    aligned = [":--"] * (len(first) + 1) + ["--:"] * (len(table.header) - 1)
    lines = [f"| {' | '.join(map(_escaped, header))} |", f"| {' | '.join(aligned)} |"]
    for block in table.blocks:
        for number, row in enumerate(block.rows):
            head = [_escaped(block.head) if number == 0 else ""] if table.head else []
            lines.append(f"| {' | '.join([*head, *map(_markdown_cell, row)])} |")
    notes = [f"({number}) {_escaped(note)}" for number, note in enumerate(table.notes, start=1)]
    return "\n\n".join([_escaped(table.caption), "\n".join(lines), *notes, *map(_escaped, table.remarks)])


def table_html(table: Table) -> str:
    """The table in HTML, in a division that scrolls, with caption, notes and remarks.

    Example:
        >>> "<b>9</b>" in table_html(Table("Speed.", ["car", "km/h"], [Block([[Cell("A"), Cell("9", bold=True)]])]))
        True
    """
    first = [table.head] if table.head else []
    shown = (_KEPT_BLANK.sub("&nbsp;", html.escape(one_line(title))) for title in [*first, *table.header])
    titles = "".join(f'<th scope="col">{title}</th>' for title in shown)
    lines = [
        f'<div class="scroll" tabindex="0"><table class="{_kind(table)}">',
        f"<caption>{html.escape(one_line(table.caption))}</caption>",
        f"<thead><tr>{titles}</tr></thead>",
        *(_html_block(block, bool(table.head)) for block in table.blocks),
        "</table></div>",
    ]
    notes = [f"<li>{html.escape(one_line(note))}</li>" for note in table.notes]
    lines += ['<ol class="notes">', *notes, "</ol>"] if notes else []
    return "\n".join([*lines, *(f'<p class="remark">{html.escape(one_line(text))}</p>' for text in table.remarks)])


def _kind(table: Table) -> str:
    """Classes: whether blocks are named, and whether the table wants a broad sheet, or small letters as well."""
    columns = len(table.header)
    sizes = ["wide"] * (columns > _WIDE) + ["small"] * (columns > _SMALL)
    return " ".join((["headed"] if table.head else []) + sizes)


def _html_block(block: Block, headed: bool) -> str:
    lines = []
    for number, (name, *cells) in enumerate(block.rows):
        head = f'<th scope="rowgroup" rowspan="{len(block.rows)}">{html.escape(one_line(block.head))}</th>'
        shown = [head] if headed and number == 0 else []
        shown += [f'<th scope="row">{_html_cell(name)}</th>', *(f"<td>{_html_cell(cell)}</td>" for cell in cells)]
        lines.append(f"<tr>{''.join(shown)}</tr>")
    return "\n".join(["<tbody>", *lines, "</tbody>"])


def _html_cell(cell: Cell) -> str:
    text = html.escape(one_line(cell.text))
    text = f"<b>{text}</b>" if cell.bold else text
    text += f"<sup>{cell.note}</sup>" if cell.note else ""
    return text + (f' <span class="detail">{html.escape(one_line(cell.detail))}</span>' if cell.detail else "")


def _markdown_cell(cell: Cell) -> str:
    text = f"**{_escaped(cell.text)}**" if cell.bold else _escaped(cell.text)
    text += f" ({cell.note})" if cell.note else ""
    return text + (f" {one_line(cell.detail)}" if cell.detail else "")


def _escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", one_line(text))
