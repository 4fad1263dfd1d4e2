"""Losses of networks that predict a distribution, beside those of torch and MONAI."""

from __future__ import annotations

from .evidence_lower_bound import EvidenceLowerBoundLoss, GECOLoss
from .generalized_gaussian import GeneralizedGaussianLoss

__all__ = ["EvidenceLowerBoundLoss", "GECOLoss", "GeneralizedGaussianLoss"]
