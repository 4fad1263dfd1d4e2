"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["replacing", "write_array", "write_json"]


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``path`` and move it there at the end, so that no half-written file is ever seen.

    Args:
        path: the file to write or replace; missing folders are made.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # in front, so that the suffix, by which writers know the format, stays
    temporary = target.with_name(f".{os.getpid()}-{target.name}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_array(array: np.ndarray, path: str | os.PathLike[str]) -> None:
    """Write ``array`` as a ``.npy`` file of float32, whole or not at all."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.save(file, np.ascontiguousarray(array, dtype=np.float32))


def write_json(content: Any, path: str | os.PathLike[str]) -> None:
    """Write ``content`` as indented JSON, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
