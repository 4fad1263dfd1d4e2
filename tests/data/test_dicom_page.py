"""The page on DICOM lists the whole acceptance table, and each of its rows has tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "dicom.md"
MEASURED = {23}  # speed is a benchmark, never a test


def test_the_page_has_every_row_once() -> None:
    numbers = [int(number) for number in re.findall(r"^\| (\d+) \|", PAGE.read_text(), flags=re.MULTILINE)]
    assert numbers == list(range(1, 25))


@pytest.mark.parametrize("row", sorted(set(range(1, 25)) - MEASURED))
def test_a_row_has_tests_of_its_name(row: int) -> None:
    sources = [file.read_text() for file in (ROOT / "tests").rglob("test_*.py")]
    assert any(f"def test_row{row:02d}_" in source for source in sources)
