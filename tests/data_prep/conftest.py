"""The scripts of the repository beside the package that is tested, and the phantom of the DICOM tests."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

_ROOT = Path(__file__).resolve().parents[2]


def _load(name: str, file: Path, **keywords: Any) -> Any:
    spec = importlib.util.spec_from_file_location(name, file, **keywords)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules[name] = module
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


# By its place, as the checkout stays off the path: the suite meets the installed package.
_load("data_prep", _ROOT / "data_prep" / "__init__.py", submodule_search_locations=[str(_ROOT / "data_prep")])
write_series = _load("dicom_phantom", _ROOT / "tests" / "data" / "conftest.py").write_series

Run = Callable[..., Any]


@pytest.fixture
def prepare(tmp_path, capsys) -> Run:
    """``prepare("kermany", words...)`` runs a script; gives its exit code, stdout, stderr."""

    def run(script: str, *words: Any) -> tuple[int, str, str]:
        module = importlib.import_module(f"data_prep.prepare_{script}")
        code = module.main([str(word) for word in words])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return code, printed.out, printed.err

    return run


@pytest.fixture
def listed(prepare, tmp_path) -> Run:
    """``listed("kermany", roots and options...)``: the datalist and report that a run must write."""

    def run(script: str, *words: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        roots = [word for word in words if isinstance(word, Path)]
        options = [word for word in words if not isinstance(word, Path)]
        code, _, err = prepare(script, *roots, tmp_path / "out" / "list.json", *options)
        assert (code, err) == (0, "")
        texts = [(tmp_path / "out" / name).read_text() for name in ("list.json", "list.report.json")]
        return json.loads(texts[0]), json.loads(texts[1])

    return run


@pytest.fixture
def write_nifti() -> Callable[..., Path]:
    """``write_nifti(path, seed)`` writes a small axial volume of its own content."""

    def write(path: Path, seed: int = 0, shape: tuple[int, ...] = (3, 4, 5), affine: Any = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(seed).integers(0, 99, shape).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)
        return path

    return write


@pytest.fixture
def write_jpeg() -> Callable[..., Path]:
    """``write_jpeg(path, seed)`` writes a small picture of its own content."""

    def write(path: Path, seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 8)).astype(np.uint8)).save(path)
        return path

    return write
