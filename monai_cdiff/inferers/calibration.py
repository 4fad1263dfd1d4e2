"""Conformal intervals from a validation set to a file, with the coverage found on a test set."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from ..utils import as_plain
from .conformal import ConformalIntervals
from .restoration import RestorationInferer

__all__ = ["calibrate_intervals"]


def calibrate_intervals(
    inferer: RestorationInferer,
    network: torch.nn.Module,
    calibration: Iterable[Mapping[str, Any]],
    test: Iterable[Mapping[str, Any]],
    path: str | os.PathLike[str],
    num_samples: int = 8,
    coverage: float = 0.9,
    about: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Fit :py:class:`ConformalIntervals` on one set of patients, save them, and count what they hold of another.

    Args:
        inferer: draws the samples.
        network: the network, on its device.
        calibration: batches of ``{"condition": ..., "image": ...}``, degraded and original, of patients that the
            network was not trained on.
        test: batches of other patients.
        path: JSON file for :py:meth:`ConformalIntervals.load`.
        num_samples: samples per image, at least 2; the same number in later use.
        coverage: share of the voxels that should lie within, between 0 and 1.
        about: what else to write into the file, as the hash of the weights.

    Returns:
        ``{"asked": coverage, "held": share of the test set's voxels that lie within, "scale": of the intervals}``.

    Raises:
        ValueError: as :py:class:`ConformalIntervals` and :py:meth:`RestorationInferer.posterior`, or if ``test`` is
            empty.
    """
    intervals = ConformalIntervals()
    for mean, std, original in _posteriors(inferer, network, calibration, num_samples):
        intervals.update(mean, std, original)
    intervals.fit(coverage)
    held = voxels = 0
    for mean, std, original in _posteriors(inferer, network, test, num_samples):
        low, high = intervals.interval(mean, std)
        held += int(((original >= low) & (original <= high)).sum())
        voxels += original.numel()
    if not voxels:
        raise ValueError("test holds no batches; coverage needs patients that the intervals were not fitted on.")
    intervals.save(path, about)
    return {"asked": coverage, "held": held / voxels, "scale": intervals.scale}


def _posteriors(
    inferer: RestorationInferer, network: torch.nn.Module, batches: Iterable[Mapping[str, Any]], num_samples: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    for batch in batches:
        mean, std = inferer.posterior(batch["condition"], network, num_samples=num_samples)
        yield as_plain(mean), as_plain(std), as_plain(batch["image"])
