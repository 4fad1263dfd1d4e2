"""Fixtures of the command line: the phantom of the DICOM tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_FILE = Path(__file__).resolve().parent.parent / "data" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("dicom_phantom", _FILE)
_PHANTOM = importlib.util.module_from_spec(_SPEC)  # type: ignore[arg-type]
_SPEC.loader.exec_module(_PHANTOM)  # type: ignore[union-attr]

write_series = _PHANTOM.write_series
