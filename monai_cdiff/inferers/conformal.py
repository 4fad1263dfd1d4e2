"""Intervals that hold the truth as often as they say, from posterior samples that need not be calibrated."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import torch

from ..utils import as_plain, check_finite, check_integer, check_number, write_json

__all__ = ["ConformalIntervals"]

# Upper edges of the bins of the scores: 0.1 % apart from 1e-4 to 1e4; the last bin has no end.
_FIRST, _RATIO, _BINS = 1e-4, 1.001, 18431


class ConformalIntervals:
    """Per-voxel intervals by split conformal prediction from the mean and std of posterior samples.

    The interval is ``mean - h`` to ``mean + h`` with ``h = scale * (std + floor)``. ``scale`` is a quantile of the
    scores ``|truth - mean| / (std + floor)`` of a calibration set, so it repairs a std that is too small or too large
    by a factor (locally weighted split conformal inference: Lei et al., Distribution-Free Predictive Inference for
    Regression, arXiv:1604.04173).
    Patients of the calibration set must not have been trained on, and network, sampler, number of steps and samples
    must be those of the later use.

    What is promised depends on how it is fitted:

    * over voxels, ``fit(coverage)``: ``scale`` is the score of rank ``ceil((n + 1) * coverage)`` among all n voxels.
      If voxels were exchangeable, a new one would be covered with probability ``coverage`` at least. The voxels of one
      patient are not: neighbours err alike, and patients differ. So with few patients the coverage of a new one may be
      well off, however many voxels there are; it holds on average over patients like those of the calibration.
    * by patient, ``fit(coverage, confidence)``: for each of the K patients the scale that covers the share ``coverage``
      of his voxels; ``scale`` is the one of rank ``ceil((K + 1) * confidence)`` among these K. If patients are
      exchangeable, at least the share ``coverage`` of the voxels of a new patient is covered with probability
      ``confidence`` at least, whatever the dependence within a patient. It needs ``confidence / (1 - confidence)``
      patients: 9 for 0.9. Every patient counts alike, and intervals are wider.

    Either is a share of all voxels given: in a lesion or at an edge it may be lower while it is higher in air. To
    calibrate where it matters, pass the voxels under a mask, ``update(mean[mask], std[mask], truth[mask])``.

    Scores are counted in a histogram per patient of 18432 bins, 144 KiB, and no voxel is kept. A quantile is the upper
    edge of its bin, so the scale is never less than the exact one, and at most 0.1 % more (from 1e-4 to 1e4; smaller
    ones become 1e-4, larger ones the largest score). Counts do not depend on order or batches.

    Args:
        floor: added to every std, more than 0, in the unit of the images; for voxels on which all samples agree.

    Attributes:
        coverage: the share of voxels asked for.
        confidence: of the calibration by patient, else None.
        scale: what std + floor is multiplied by; no unit.
        floor: as given.
        n_calibration: numbers of ``"voxels"`` and of named ``"subjects"`` the scale was fitted on.

    All are read-only, and all but ``floor`` raise a ``RuntimeError`` before ``fit`` or ``load``.

    Raises:
        ValueError: if ``floor`` is not a finite number, more than 0.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> mean, std = torch.zeros(1, 1, 100, 100), torch.full((1, 1, 100, 100), 0.25)
        >>> truth = 0.5 * torch.randn(mean.shape, generator=generator)  # the std is half of what it should be
        >>> intervals = ConformalIntervals()
        >>> intervals.update(mean, std, truth)
        >>> round(intervals.fit(coverage=0.9).scale, 1)  # 2 * 1.645
        3.3
        >>> low, high = intervals.interval(mean, std)
    """

    def __init__(self, floor: float = 1e-3) -> None:
        self._floor = check_number("floor", floor, 0, open_low=True)
        self._histograms: dict[str | None, _Histogram] = {}
        self._fitted: dict[str, Any] | None = None

    @property
    def coverage(self) -> float:
        return self.state_dict()["coverage"]

    @property
    def confidence(self) -> float | None:
        return self.state_dict()["confidence"]

    @property
    def scale(self) -> float:
        return self.state_dict()["scale"]

    @property
    def floor(self) -> float:
        return self._floor

    @property
    def n_calibration(self) -> dict[str, int]:
        return self.state_dict()["n_calibration"]

    def update(self, mean: torch.Tensor, std: torch.Tensor, truth: torch.Tensor, subject: str | None = None) -> None:
        """Count the scores of voxels of the calibration set.

        Args:
            mean: mean of the posterior samples, any shape.
            std: their standard deviation, the same shape.
            truth: the original, the same shape.
            subject: whose voxels they are; needed for the calibration by patient. Calls of the same name add up.

        Raises:
            ValueError: if shapes differ or are empty, std is negative, or a value is NaN or infinite.
        """
        _check_moments(mean, std)
        if truth.shape != mean.shape or not truth.numel():
            raise ValueError(
                f"truth has shape {tuple(truth.shape)}, mean {tuple(mean.shape)}; they must be equal and hold a voxel."
            )
        check_finite("truth", truth)
        mean, std, truth = (as_plain(part.detach()).cpu().double() for part in (mean, std, truth))
        if not isinstance(subject, str | None):
            raise ValueError(f"subject={subject!r} must be the name of one patient, or None.")
        self._histograms.setdefault(subject, _Histogram()).add((truth - mean).abs() / (std + self._floor))

    def fit(self, coverage: float = 0.9, confidence: float | None = None) -> ConformalIntervals:
        """Find the scale from all scores counted since the beginning; may be called again.

        Args:
            coverage: share of the voxels whose truth should lie within, between 0 and 1.
            confidence: between 0 and 1: calibrate by patient; default: over voxels.

        Returns:
            This object.

        Raises:
            ValueError: if ``coverage`` or ``confidence`` is not between 0 and 1, nothing was counted, there are too few
                voxels or patients for a finite interval, or a patient has no name.
        """
        coverage = _check_share("coverage", coverage)
        histograms = list(self._histograms.values())
        if not histograms:
            raise ValueError("nothing to fit on: call update(mean, std, truth) with the calibration set first.")
        if confidence is None:
            pooled = _Histogram.pooled(histograms)
            scale = pooled.score_of_rank(_rank("coverage", coverage, pooled.total, "voxels"))
        else:
            confidence = _check_share("confidence", confidence)
            if None in self._histograms:
                raise ValueError(f"confidence={confidence} needs the subject of every update; some had none.")
            rank = _rank("confidence", confidence, len(histograms), "subjects")
            scales = [part.score_of_rank(math.ceil(_exact(coverage) * part.total)) for part in histograms]
            scale = sorted(scales)[rank - 1]
        counted = {"voxels": sum(part.total for part in histograms), "subjects": len(self._histograms.keys() - {None})}
        self._fitted = {"coverage": coverage, "confidence": confidence, "scale": scale, "n_calibration": counted}
        return self

    def interval(self, mean: torch.Tensor, std: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Lower and upper bound of each voxel.

        Args:
            mean: mean of the posterior samples, any shape.
            std: their standard deviation, the same shape.

        Returns:
            ``(low, high)``, shaped as ``mean``; half precision becomes float32, so that bounds are not rounded inwards.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
            ValueError: if shapes differ, std is negative, or a value is NaN or infinite.
        """
        scale = self.scale
        _check_moments(mean, std)
        dtype = torch.promote_types(torch.promote_types(mean.dtype, std.dtype), torch.float32)
        half = scale * (std.to(dtype) + self._floor)
        return mean.to(dtype) - half, mean.to(dtype) + half

    def state_dict(self) -> dict[str, Any]:
        """The fields as plain values, for checkpoints and JSON; the counts behind them are left out.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
        """
        if self._fitted is None:
            raise RuntimeError("not fitted: call update(mean, std, truth) and fit(), or load(path), first.")
        return {**self._fitted, "floor": self._floor, "n_calibration": dict(self._fitted["n_calibration"])}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the fields of :py:meth:`state_dict` and forget what was counted.

        Raises:
            ValueError: if a field is missing, unknown or not allowed; nothing is changed then.
        """
        wanted = {"coverage", "confidence", "scale", "floor", "n_calibration"}
        counted = state_dict.get("n_calibration")
        if set(state_dict) != wanted or not isinstance(counted, Mapping) or set(counted) != {"voxels", "subjects"}:
            raise ValueError(
                f"state_dict={dict(state_dict)!r} must hold {', '.join(sorted(wanted))}, and n_calibration the numbers "
                "of voxels and subjects."
            )
        confidence = state_dict["confidence"]
        fitted = {
            "coverage": _check_share("coverage", state_dict["coverage"]),
            "confidence": None if confidence is None else _check_share("confidence", confidence),
            "scale": check_number("scale", state_dict["scale"], 0),
            "n_calibration": {
                "voxels": check_integer("n_calibration['voxels']", counted["voxels"], 1),
                "subjects": check_integer("n_calibration['subjects']", counted["subjects"], 0),
            },
        }
        self._floor = check_number("floor", state_dict["floor"], 0, open_low=True)
        self._fitted, self._histograms = fitted, {}

    def save(self, path: str | os.PathLike[str], about: Mapping[str, Any] | None = None) -> None:
        """Write the fields as JSON, beside a bundle's weights for example.

        Args:
            path: the file.
            about: what else to write down, as the hash of the weights; ``load`` passes over it.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
        """
        write_json({**self.state_dict(), **({"about": dict(about)} if about else {})}, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ConformalIntervals:
        """Read what :py:meth:`save` wrote; every field is bit-equal.

        Raises:
            ValueError: if the file holds something else.
        """
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        if not isinstance(content, dict):
            raise ValueError(f"path={os.fspath(path)!r} holds no fields of {cls.__name__}, but {content!r:.80}.")
        intervals = cls()
        intervals.load_state_dict({name: value for name, value in content.items() if name != "about"})
        return intervals


class _Histogram:
    """Counts of scores; bin i holds those above edge i - 1 and up to edge i."""

    edges = _FIRST * _RATIO ** torch.arange(_BINS, dtype=torch.float64)

    def __init__(self) -> None:
        self.counts = torch.zeros(_BINS + 1, dtype=torch.int64)
        self.largest = 0.0

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    def add(self, scores: torch.Tensor) -> None:
        self.counts += torch.bincount(torch.bucketize(scores.flatten(), self.edges), minlength=_BINS + 1)
        self.largest = max(self.largest, float(scores.max()))

    def score_of_rank(self, rank: int) -> float:
        """The upper edge of the bin of the score of this rank, counted from 1; never more than the largest score."""
        place = int(torch.searchsorted(self.counts.cumsum(0), rank))
        return self.largest if place == _BINS else min(float(self.edges[place]), self.largest)

    @classmethod
    def pooled(cls, parts: list[_Histogram]) -> _Histogram:
        whole = cls()
        for part in parts:
            whole.counts += part.counts
            whole.largest = max(whole.largest, part.largest)
        return whole


def _check_moments(mean: torch.Tensor, std: torch.Tensor) -> None:
    if mean.shape != std.shape:
        raise ValueError(f"std has shape {tuple(std.shape)}, mean {tuple(mean.shape)}; they must be equal.")
    check_finite("mean", mean)
    check_finite("std", std)
    negative = int((std < 0).sum())
    if negative:
        raise ValueError(f"std holds {negative} negative values of {std.numel()}; it must be 0 or more.")


def _check_share(name: str, value: float) -> float:
    number = check_number(name, value, 0, 1, open_low=True)
    if number == 1:
        raise ValueError(f"{name}={value!r} must be less than 1: no finite interval promises everything.")
    return number


def _exact(share: float) -> Fraction:
    """The decimal number that was meant, so that a rank is not one too high because of rounding."""
    return Fraction(repr(share))


def _rank(name: str, share: float, count: int, of: str) -> int:
    """Rank with the correction for a finite number, ``ceil((count + 1) * share)``."""
    rank = math.ceil(_exact(share) * (count + 1))
    if rank > count:
        needed = math.ceil(_exact(share) / (1 - _exact(share)))
        raise ValueError(f"{name}={share} needs at least {needed} {of} of the calibration set; there are {count}.")
    return rank
