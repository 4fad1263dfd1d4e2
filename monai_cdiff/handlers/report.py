"""The numbers of an evaluation, printed as a table and written as ``metrics.json``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from monai.utils import string_list_all_gather
from monai.utils.enums import CommonKeys

from ..utils import write_json
from .checkpoint import checkpoint_sha256, read_checkpoint

__all__ = ["ReportHandler"]

logger = logging.getLogger(__name__)

BASELINE = "baseline_"
SHOWN_PATIENTS = 20


class ReportHandler:
    """Writes what an evaluator measured, beside the baseline that was measured on the same images.

    The evaluator's metrics are attached with ``save_details=True``; those named ``baseline_<name>`` belong to the
    baseline. Every number is the mean over images; a patient's entry is the mean over that patient's images. Images
    for which the value of the restoration or of the baseline is not finite, as PSNR is for equal images, are left out
    of both means and counted in ``n_not_finite``.

    Args:
        path: the JSON file.
        facts: what stands first in it: task, factor, sampler, number of network calls and the like.
        checkpoint: the file whose weights were evaluated; its iterations, training time and hash are written.
        baseline: what the restoration is compared with; None where there is nothing to compare with.
        per_patient: write and print one entry a patient.
        closing: what to print after the table: where things lie and what to do next, by name.
    """

    def __init__(
        self,
        path: str | Path,
        facts: Mapping[str, Any],
        checkpoint: str | Path,
        baseline: str | None = "bilinear",
        per_patient: bool = True,
        closing: Mapping[str, str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.facts = dict(facts)
        self.checkpoint = checkpoint
        self.baseline = baseline
        self.per_patient = per_patient
        self.closing = dict(closing or {})
        self.subjects: list[str] = []

    def attach(self, engine: Engine) -> None:
        """Collect while ``engine`` runs, write when it has ended."""
        engine.add_event_handler(Events.STARTED, self.subjects.clear)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def collect(self, engine: Engine) -> None:
        """Remember whose images these were."""
        output: Any = engine.state.output
        self.subjects += [str(item[CommonKeys.LABEL].meta.get("subject", "")) for item in output]

    def write(self, engine: Engine) -> None:
        """Write the file and print the table; on the first process only."""
        subjects = np.array(string_list_all_gather(self.subjects))
        state: Any = engine.state
        if state.rank:
            return
        details = self._comparable({n: np.asarray(value).mean(axis=-1) for n, value in _details(state).items()})
        report = {**self.facts, "n_images": len(subjects), **self._summary(details)}
        content = read_checkpoint(self.checkpoint)
        unbounded = {name: int((~np.isfinite(values)).sum()) for name, values in details.items()}
        if any(unbounded.values()):
            report["n_not_finite"] = {name: count for name, count in unbounded.items() if count}
            logger.warning(f"images left out of a mean for lack of a finite value: {report['n_not_finite']}")
        report["iterations"] = content["iteration"]
        report["train_seconds"] = round(content["train_seconds"], 1)
        report["checkpoint_sha256"] = checkpoint_sha256(self.checkpoint)
        if self.per_patient:
            report["patients"] = {
                str(subject): {
                    "n_images": int((subjects == subject).sum()),
                    **self._summary({name: values[subjects == subject] for name, values in details.items()}),
                }
                for subject in sorted(set(subjects))
            }
        write_json(report, self.path)
        logger.info("\n" + _table(report, [name for name in details if not name.startswith(BASELINE)]))
        width = max(map(len, self.closing), default=0)
        for name, text in self.closing.items():
            logger.info(f"{name + ':':<{width + 1}} {text}")

    @staticmethod
    def _comparable(details: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """NaN in both where restoration or baseline is not finite, so that both means have the same images."""
        own = {name: details[name.removeprefix(BASELINE)] for name in details}
        theirs = {name: details.get(BASELINE + name.removeprefix(BASELINE), own[name]) for name in details}
        return {n: np.where(np.isfinite(own[n]) & np.isfinite(theirs[n]), details[n], np.nan) for n in details}

    def _summary(self, details: Mapping[str, np.ndarray]) -> dict[str, Any]:
        means = {name: _mean(values) for name, values in details.items()}
        own = {name: value for name, value in means.items() if not name.startswith(BASELINE)}
        if self.baseline is None:
            return own
        theirs = {name.removeprefix(BASELINE): value for name, value in means.items() if name.startswith(BASELINE)}
        return {**own, "baseline": {"name": self.baseline, **theirs}}


def _mean(values: np.ndarray) -> float | None:
    """Mean over the images with a finite value, None if there is none: PSNR has none where both images are equal."""
    finite = values[np.isfinite(values)]
    return round(float(finite.mean()), 5) if finite.size else None


def _details(state: Any) -> dict[str, Any]:
    details = state.metric_details
    missing = set(state.metrics) - set(details)
    if missing:
        raise ValueError(f"metrics {sorted(missing)} keep no details; attach them with save_details=True.")
    return {name: value.cpu() for name, value in details.items()}


def _table(report: Mapping[str, Any], metrics: Sequence[str]) -> str:
    names = [name for name in report.get("baseline", {}) if name != "name"]
    columns = [f"{name} {who}" for name in names for who in ("restored", report["baseline"]["name"])] or list(metrics)
    rows = [(subject, entry) for subject, entry in report.get("patients", {}).items()]
    hidden = len(rows) - SHOWN_PATIENTS
    if hidden > 1:
        rows = rows[:SHOWN_PATIENTS]
    rows.append(("all", report))
    width = max(len("patient"), *(len(subject) for subject, _ in rows))
    lines = [f"{'patient':<{width}}  images  " + "  ".join(columns)]
    for subject, entry in rows:
        values = [value for name in names for value in (entry[name], entry["baseline"][name])]
        values = values or [entry[name] for name in metrics]
        cells = [f"{np.nan if value is None else value:>{len(column)}.4f}" for value, column in zip(values, columns)]
        if entry is report and hidden > 1:
            lines.append(f"... and {hidden} more patients")
        lines.append(f"{subject:<{width}}  {entry['n_images']:>6}  " + "  ".join(cells))
    return "\n".join(lines)
