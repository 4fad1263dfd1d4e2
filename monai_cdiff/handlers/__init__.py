"""Ignite handlers: averaged weights, checkpoints, progress, previews and the report."""

from __future__ import annotations

from .adversarial_balance import AdversarialBalanceHandler
from .best import BestWeightsHandler
from .checkpoint import (
    CheckpointHandler,
    checkpoint_sha256,
    export_weights,
    find_checkpoint,
    load_network,
    read_checkpoint,
    trained_settings,
    write_checkpoint,
)
from .classification_report import ClassificationReportHandler
from .dice import dice_metrics
from .ema import EMAHandler, ExponentialMovingAverage
from .preview import PreviewHandler, save_comparison, upright
from .progress import ProgressHandler
from .report import ReportHandler
from .trained_range import TrainedRangeHandler, log_trained

__all__ = [
    "AdversarialBalanceHandler",
    "BestWeightsHandler",
    "CheckpointHandler",
    "ClassificationReportHandler",
    "EMAHandler",
    "ExponentialMovingAverage",
    "PreviewHandler",
    "ProgressHandler",
    "ReportHandler",
    "TrainedRangeHandler",
    "checkpoint_sha256",
    "dice_metrics",
    "export_weights",
    "find_checkpoint",
    "load_network",
    "log_trained",
    "read_checkpoint",
    "save_comparison",
    "trained_settings",
    "upright",
    "write_checkpoint",
]
