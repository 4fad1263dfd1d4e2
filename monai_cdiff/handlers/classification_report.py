"""The numbers of a classifier, printed and written as ``metrics.json``."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events

from ..utils import write_json
from .checkpoint import checkpoint_sha256, read_checkpoint

__all__ = ["ClassificationReportHandler"]

logger = logging.getLogger(__name__)


class ClassificationReportHandler:
    """Writes the metrics of an evaluator whose metric ``confusion`` counts images by class and prediction.

    Args:
        path: the JSON file.
        classes: names of the classes, in the order of the network's outputs.
        checkpoint: the file whose weights were evaluated; its iterations, training time and hash are written.
        facts: what stands first in the file.
        closing: what to print after the table, by name.

    Raises:
        ValueError: when the evaluation ends, if there is no metric ``confusion`` of these classes.

    Example:
        >>> ClassificationReportHandler("metrics.json", ["normal", "viral"], "model.pt")  # doctest: +SKIP
    """

    def __init__(
        self,
        path: str | Path,
        classes: Sequence[str],
        checkpoint: str | Path,
        facts: Mapping[str, Any] | None = None,
        closing: Mapping[str, str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.classes = list(classes)
        self.checkpoint = checkpoint
        self.facts = dict(facts or {})
        self.closing = dict(closing or {})

    def attach(self, engine: Engine) -> None:
        """Write when ``engine`` has ended."""
        engine.add_event_handler(Events.COMPLETED, self.write)

    def write(self, engine: Engine) -> None:
        """Write the file and print the table; on the first process only."""
        state: Any = engine.state
        if state.rank:
            return
        confusion = torch.as_tensor(state.metrics.get("confusion", [])).round().long()
        if confusion.shape != (len(self.classes),) * 2:
            raise ValueError(f"the metric confusion has shape {tuple(confusion.shape)}; classes={self.classes!r}.")
        scores = {name: _rounded(float(value)) for name, value in state.metrics.items() if name != "confusion"}
        content = read_checkpoint(self.checkpoint)
        report = {
            **self.facts,
            "n_images": int(confusion.sum()),
            **scores,
            "classes": self.classes,
            "confusion": confusion.tolist(),
            "iterations": content["iteration"],
            "train_seconds": round(content["train_seconds"], 1),
            "checkpoint_sha256": checkpoint_sha256(self.checkpoint),
        }
        write_json(report, self.path)
        logger.info("\n" + _table(confusion, self.classes, scores))
        for name, text in self.closing.items():
            logger.info(f"{name}: {text}")


def _rounded(value: float) -> float | None:
    """None where there is no value, as there is no AUC of a class without images."""
    return round(value, 5) if math.isfinite(value) else None


def _table(confusion: torch.Tensor, classes: Sequence[str], scores: Mapping[str, float | None]) -> str:
    width = max(map(len, (*classes, "is / taken for")))
    lines = ["  ".join([f"{'is / taken for':<{width}}", *(f"{name:>{max(6, len(name))}}" for name in classes)])]
    for name, row in zip(classes, confusion.tolist()):
        lines.append("  ".join([f"{name:<{width}}", *(f"{n:>{max(6, len(c))}}" for n, c in zip(row, classes))]))
    shown = (f"{name} {math.nan if value is None else value:.4f}" for name, value in scores.items())
    return "\n".join([*lines, ", ".join(shown)])
