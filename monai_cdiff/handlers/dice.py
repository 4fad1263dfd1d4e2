"""Dice coefficients of named structures, as metrics of an evaluator."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from monai.handlers import IgniteMetricHandler
from monai.metrics import DiceMetric
from monai.utils.enums import CommonKeys

__all__ = ["dice_metrics"]


def dice_metrics(structures: Sequence[str]) -> dict[str, IgniteMetricHandler]:
    """A metric ``dice_<structure>`` for each structure, the mean over the images that show it.

    Args:
        structures: names in the order of the channels of a one-hot prediction, the background before them left out.

    Raises:
        ValueError: if there is none, or a name stands twice.

    Example:
        >>> list(dice_metrics(["anterior", "posterior"]))
        ['dice_anterior', 'dice_posterior']
    """
    if not structures or isinstance(structures, str) or len(set(structures)) < len(structures):
        raise ValueError(f"structures={structures!r} must be a list of different names.")
    return {
        f"dice_{name}": IgniteMetricHandler(DiceMetric(), output_transform=partial(_channel, n))
        for n, name in enumerate(structures, start=1)
    }


def _channel(number: int, output: Sequence[dict[str, torch.Tensor]]) -> list[list[torch.Tensor]]:
    return [[item[key][number : number + 1] for item in output] for key in (CommonKeys.PRED, CommonKeys.LABEL)]
