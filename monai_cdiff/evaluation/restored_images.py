"""What methods made of the images of a test set, kept in files so that nothing is restored twice."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..utils import write_array, write_json
from .bundle_evaluation import Case

__all__ = ["RestoredImages"]

_SECONDS = "seconds.json"


class RestoredImages:
    """The restorations of one method, each a file that is found again by the content of its case.

    The folder's name holds a hash of what the method is, so that other weights or settings have a folder of their own.
    It may be deleted at any time.

    Args:
        folder: where the folders of all methods lie.
        name: of the method.
        description: what its restorations depend on besides the images: checkpoint, settings.

    Example:
        >>> import tempfile
        >>> RestoredImages(tempfile.mkdtemp(), "mean", {"seed": 0}).folder.name.startswith("mean-")
        True
    """

    def __init__(self, folder: str | os.PathLike[str], name: str, description: Mapping[str, Any]) -> None:
        text = json.dumps([__version__, name, dict(description)], sort_keys=True, default=str)
        self.folder = Path(folder) / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        self._seconds: dict[str, float] = _read(self.folder / _SECONDS)

    def path(self, case: Case) -> Path:
        """The file of a case."""
        return self.folder / f"{case.digest}.npy"

    def load(self, case: Case) -> np.ndarray:
        """A restoration, float32.

        Raises:
            FileNotFoundError: if it was not restored.
        """
        array: np.ndarray = np.load(self.path(case), allow_pickle=False)
        return array

    def seconds(self, case: Case) -> float:
        """How long it took to restore it, a share of its batch's time; NaN if that is not known."""
        return self._seconds.get(case.digest, math.nan)

    def complete(self, cases: Sequence[Case], restore: Callable[[Sequence[Case]], list[np.ndarray]]) -> int:
        """Restore a batch if the file of one of its cases is missing or damaged.

        Args:
            cases: a batch, which is restored as a whole so that the result does not depend on what was there.
            restore: cases -> an image of each.

        Returns:
            How many were restored: all or none.

        Raises:
            ValueError: if a restoration has another shape than its original, or holds NaN or infinite values.
        """
        if all(self._is_whole(case) for case in cases):
            return 0
        start = time.perf_counter()
        images = restore(cases)
        seconds = (time.perf_counter() - start) / len(cases)
        for case, image in zip(cases, images, strict=True):
            _check(case, image)
        for case, image in zip(cases, images, strict=True):
            write_array(image, self.path(case))
            self._seconds[case.digest] = seconds
        write_json(self._seconds, self.folder / _SECONDS)
        return len(cases)

    def _is_whole(self, case: Case) -> bool:
        try:
            return self.load(case).shape == case.original.shape
        except (OSError, ValueError, EOFError):  # missing, cut off, or empty
            return False


def _check(case: Case, image: np.ndarray) -> None:
    if image.shape != case.original.shape:
        raise ValueError(
            f"the restoration of {case.name} has {_times(image.shape)} pixels, the original has "
            f"{_times(case.original.shape)}."
        )
    if bad := int((~np.isfinite(image)).sum()):
        raise ValueError(f"the restoration of {case.name} holds {bad} values that are not finite.")


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _read(file: Path) -> dict[str, float]:
    if not file.is_file():
        return {}
    try:
        content: dict[str, float] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:  # damaged: how long it took is not known
        return {}
    return content
