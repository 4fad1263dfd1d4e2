"""Ignite engines: the training loops and the preparation of their batches."""

from __future__ import annotations

from .adversarial_trainer import AdversarialTrainer
from .prepare_batch import ConditionalDiffusionPrepareBatch, RegressionPrepareBatch, RestorationPrepareBatch
from .trainer import DiffusionTrainer

__all__ = [
    "AdversarialTrainer",
    "ConditionalDiffusionPrepareBatch",
    "DiffusionTrainer",
    "RegressionPrepareBatch",
    "RestorationPrepareBatch",
]
