"""The examples in the docstrings run and give what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import monai_cdiff

MODULES = [name for _, name, _ in pkgutil.walk_packages(monai_cdiff.__path__, "monai_cdiff.") if "__main__" not in name]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS).failed == 0
