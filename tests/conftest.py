"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

# what the contracts assert is shown in full when it fails
pytest.register_assert_rewrite("contracts")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images beside the repository; tests that need it are skipped without it."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real images not found: {folder} does not exist")
    return folder
