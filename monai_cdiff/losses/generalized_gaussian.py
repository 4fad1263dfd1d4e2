"""The likelihood of a residual whose scale and shape are predicted voxel by voxel."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from ..utils import check_number

__all__ = ["GeneralizedGaussianLoss"]


class GeneralizedGaussianLoss(nn.Module):
    """Negative log-likelihood under a generalised Gaussian, for each stage of a cascade.

    Upadhyay et al., "Uncertainty-guided progressive GANs for medical image translation", arXiv:2106.15542, section 2:
    the residual of each voxel has the density ``beta / (2 alpha Gamma(1 / beta)) exp(-(|y - mean| / alpha)^beta)``, so

    ``-log p = (|y - mean| / alpha)^beta - log(beta / alpha) + log Gamma(1 / beta) + log 2``

    With ``beta = 2`` that is a normal distribution of variance ``alpha^2 / 2``, with ``beta = 1`` a Laplace
    distribution of scale ``alpha``. The publication leaves out the constant ``log 2``.

    Args:
        eps: added to the absolute residual, more than 0: for a shape below 1 the gradient has a pole where the
            residual is 0.

    Raises:
        ValueError: for a number outside what is allowed.

    Example:
        >>> one = torch.ones(1, 1, 4, 4)
        >>> round(GeneralizedGaussianLoss()([(one, one, 2 * one)], one).item(), 4)  # log(sqrt(pi))
        0.5724
    """

    def __init__(self, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = check_number("eps", eps, low=0, open_low=True)

    def forward(self, prediction: Iterable[Sequence[torch.Tensor]], target: torch.Tensor) -> torch.Tensor:
        """Average over voxels and stages.

        Args:
            prediction: for each stage mean, scale alpha and shape beta, each of the target's shape; scale and shape
                more than 0.
            target: the original, shape (B, C, H, W[, D]).

        Returns:
            The mean negative log-likelihood of a voxel, a scalar.

        Raises:
            ValueError: if there is no stage, or a shape differs.
        """
        stages = [self._nll(mean, scale, shape, target).mean() for mean, scale, shape in prediction]
        if not stages:
            raise ValueError("prediction=[] must hold at least one stage of mean, scale and shape.")
        return torch.stack(stages).mean()

    def _nll(
        self, mean: torch.Tensor, scale: torch.Tensor, shape: torch.Tensor, target: torch.Tensor
    ) -> torch.Tensor:
        for name, value in (("mean", mean), ("scale", scale), ("shape", shape)):
            if value.shape != target.shape:
                raise ValueError(f"{name} has shape {tuple(value.shape)}; expected {tuple(target.shape)} as target.")
        log_ratio = ((target - mean).abs() + self.eps).log() - scale.log()
        log_normaliser = torch.lgamma(1 / shape) - shape.log() + scale.log() + math.log(2)
        return (shape * log_ratio).exp() + log_normaliser
