"""Ignite engines: the training loop and the preparation of its batches."""

from __future__ import annotations

from .prepare_batch import ConditionalDiffusionPrepareBatch, RegressionPrepareBatch, RestorationPrepareBatch
from .trainer import DiffusionTrainer

__all__ = ["ConditionalDiffusionPrepareBatch", "DiffusionTrainer", "RegressionPrepareBatch", "RestorationPrepareBatch"]
