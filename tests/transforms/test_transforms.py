from __future__ import annotations

import doctest
import importlib

import pytest

import monai_cdiff.transforms

FAMILIES = ("degradation", "intensity")
MODULES = [f"monai_cdiff.transforms.{family}.{form}" for family in FAMILIES for form in ("array", "dictionary")]


@pytest.mark.parametrize("module", MODULES)
def test_docstring_examples(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))
    assert result.failed == 0 and result.attempted > 0


def test_every_public_name_exists() -> None:
    assert monai_cdiff.transforms.__all__ == sorted(set(monai_cdiff.transforms.__all__))
    for name in monai_cdiff.transforms.__all__:
        assert hasattr(monai_cdiff.transforms, name), name
