"""A warning where a restoration leaves what the network was trained on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ignite.engine import Engine, Events
from monai.utils.enums import CommonKeys

from ..utils import check_number

__all__ = ["TrainedRangeHandler", "log_trained"]

logger = logging.getLogger(__name__)


class TrainedRangeHandler:
    """Warns where factor or voxel size are outside the training's, naming both; a picture has no voxel size.

    Args:
        trained: settings of the checkpoint; ``factors`` (or ``factor``) and ``spacing_range`` are looked at.
        factor: the factor to restore by; None for a task without one.
        tolerance: relative distance from the trained range that is still taken as inside.
    """

    def __init__(self, trained: Mapping[str, Any], factor: float | None = None, tolerance: float = 0.05) -> None:
        self.trained = trained
        self.factor = None if factor is None else check_number("factor", factor, 1, open_low=True)
        self.tolerance = check_number("tolerance", tolerance, 0)
        self.warned: set[str] = set()

    def attach(self, engine: Engine) -> None:
        """Look at the factor when ``engine`` starts and at the voxel size of every image."""
        engine.add_event_handler(Events.STARTED, self.check_factor)
        engine.add_event_handler(Events.GET_BATCH_COMPLETED, self.check_spacing)

    def about_factor(self) -> str:
        """What is to be said of the factor, "" if the network was trained for it."""
        if self.factor is None:
            return ""
        known = self.trained.get("factors") or [self.trained["factor"]]
        low, high = min(known), max(known)
        if self._inside(self.factor, low, high):
            return ""
        trained = f"factor {low:g}" if low == high else f"factors {low:g} to {high:g}"
        return f"factor={self.factor:g}, but the network was trained for {trained}."

    def about_spacing(self, spacing: Sequence[Sequence[float]]) -> str:
        """What is to be said of voxel sizes, "" if the network was trained on such.

        Args:
            spacing: along each axis a size, or the smallest and the largest, in mm.
        """
        ranges = self.trained.get("spacing_range") or []
        if all(self._inside(size, low, high) for sizes, (low, high) in zip(spacing, ranges) for size in sizes):
            return ""
        asked = " x ".join("-".join(f"{size:.3g}" for size in dict.fromkeys(sizes)) for sizes in spacing)
        known = " x ".join(f"{low:.3g}-{high:.3g}" for low, high in ranges[: len(spacing)])
        return f"restored voxel size {asked} mm, but the network was trained on {known} mm."

    def check_factor(self, engine: Engine) -> None:
        """Compare the factor with the trained ones."""
        if text := self.about_factor():
            logger.warning(text)

    def check_spacing(self, engine: Engine) -> None:
        """Compare the voxel size of the images of a batch, on the fine grid, with the trained range."""
        batch: Any = engine.state.batch
        image = batch[CommonKeys.IMAGE]
        if "raster_bits" in image.meta:
            return
        for pixdim in image.pixdim:  # a batch has a list of them
            text = self.about_spacing([[size] for size in pixdim.tolist()])
            if text and text not in self.warned:
                logger.warning(text)
            self.warned.add(text)

    def _inside(self, value: float, low: float, high: float) -> bool:
        return low * (1 - self.tolerance) <= value <= high * (1 + self.tolerance)


def log_trained(
    checkpoint: str, trained: Mapping[str, Any], sampler: Any, guidance_scale: float = 1.0
) -> None:
    """Log which weights are used, and warn where they are used otherwise than in their training.

    Args:
        checkpoint: the file.
        trained: its settings.
        sampler: the scheduler that samples now.
        guidance_scale: strength of the condition.
    """
    factors = ", ".join(f"{factor:.3g}" for factor in trained.get("factors") or [trained.get("factor")] if factor)
    job = f"{trained['task']} x {factors}" if factors else trained["task"]
    logger.info(f"weights: {checkpoint}, {trained['network_size']} network for {job}")
    now, then = type(sampler).__name__, trained.get("sampler")
    if then not in (None, now):
        logger.warning(f"the training sampled by {then}, this samples by {now}.")
    if guidance_scale != 1 and not trained.get("condition_dropout"):
        logger.warning(
            f"guidance_scale={guidance_scale:g}: the training dropped no conditions, so the network does not know what "
            "to expect without one."
        )
    if trained["normalisation"]["ref_key"] == "image":
        logger.warning("trained on the range of the original images; what is known here is that of the degraded ones.")
    if trained.get("image_size"):
        logger.warning(f"trained on images resized to {trained['image_size']}; restored at their own size.")
