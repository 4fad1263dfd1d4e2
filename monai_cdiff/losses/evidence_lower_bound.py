"""What a variational network is trained by: reconstruction and divergence, weighed by a number or by a constraint."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import nn
from torch.nn import functional as F

from ..utils import check_number, check_option

__all__ = ["EvidenceLowerBoundLoss", "GECOLoss"]

_DISTANCES: Mapping[str, Callable[..., torch.Tensor]] = MappingProxyType({"l1": F.l1_loss, "l2": F.mse_loss})


class EvidenceLowerBoundLoss(nn.Module):
    """The negative evidence lower bound of a voxel, up to constants: distance plus ``beta`` times divergence.

    ``mean |y - y'|^p + beta / N sum_i KL(q_i || p_i)``, where i runs over the scales of the latents and N is the number
    of values of one image. It is the ELBO of Kohl et al., arXiv:1905.13077, section 2, with a Laplace (``"l1"``) or a
    normal (``"l2"``) likelihood in the place of the cross-entropy of a segmentation. ``beta`` stands for the width of
    the likelihood.

    Args:
        reconstruction: "l1" or "l2".
        beta: weight of the divergence, at least 0.

    Raises:
        ValueError: for an argument outside what is allowed.

    Example:
        >>> image, kl = torch.zeros(2, 1, 4, 4), torch.tensor([[8.0, 8.0], [0.0, 0.0]])
        >>> EvidenceLowerBoundLoss()((image, kl), image + 1).item()
        1.5
    """

    def __init__(self, reconstruction: str = "l1", beta: float = 1.0) -> None:
        super().__init__()
        self.reconstruction = check_option("reconstruction", reconstruction, _DISTANCES)
        self.beta = check_number("beta", beta, low=0)

    def forward(self, prediction: tuple[torch.Tensor, torch.Tensor], target: torch.Tensor) -> torch.Tensor:
        """Weigh the two terms.

        Args:
            prediction: the reconstruction, of the target's shape, and the divergences in nats, shape (B, scales).
            target: the original, shape (B, C, H, W[, D]).

        Returns:
            The loss, a scalar.

        Raises:
            ValueError: if a shape does not fit.
        """
        distance, divergence = _terms(prediction, target, self.reconstruction)
        return distance + self.beta * divergence


class GECOLoss(nn.Module):
    """The divergence under the constraint that the distance stays below ``kappa``; the weight finds itself.

    ``lambda (distance - kappa) + 1 / N sum_i KL(q_i || p_i)`` (Kohl et al., arXiv:1905.13077, section 2), where lambda
    grows while the moving average C of the constraint is above 0 and falls when it is met: ``lambda <- lambda
    exp(rate C)`` (Rezende and Viola, "Taming VAEs", arXiv:1810.00597, algorithm 1). The gradient is that of the batch.
    ``lambda`` and the average are buffers, which a checkpoint keeps and which move in training mode alone.

    What differs from the publication: the distance is of all voxels, not of the 2 % that are sampled by their loss.

    Args:
        kappa: the distance that is aimed for, more than 0, in units of the target.
        reconstruction: "l1" or "l2".
        decay: of the moving average, from 0 to less than 1.
        rate: how quickly lambda follows, more than 0.

    Raises:
        ValueError: for an argument outside what is allowed.

    Example:
        >>> loss, image, kl = GECOLoss(kappa=0.5), torch.zeros(1, 1, 4, 4), torch.zeros(1, 2)
        >>> loss((image, kl), image + 1).item(), loss.multiplier.item() > 1
        (0.5, True)
    """

    multiplier: torch.Tensor
    average: torch.Tensor

    def __init__(
        self, kappa: float = 0.05, reconstruction: str = "l1", decay: float = 0.99, rate: float = 0.01
    ) -> None:
        super().__init__()
        self.kappa = check_number("kappa", kappa, low=0, open_low=True)
        self.reconstruction = check_option("reconstruction", reconstruction, _DISTANCES)
        self.decay = check_number("decay", decay, low=0, high=1 - 1e-9)
        self.rate = check_number("rate", rate, low=0, open_low=True)
        self.register_buffer("multiplier", torch.ones(()))
        self.register_buffer("average", torch.tensor(math.nan))

    def forward(self, prediction: tuple[torch.Tensor, torch.Tensor], target: torch.Tensor) -> torch.Tensor:
        """Weigh the two terms, and in training mode move the weight.

        Args:
            prediction: the reconstruction, of the target's shape, and the divergences in nats, shape (B, scales).
            target: the original, shape (B, C, H, W[, D]).

        Returns:
            The loss, a scalar.

        Raises:
            ValueError: if a shape does not fit.
        """
        distance, divergence = _terms(prediction, target, self.reconstruction)
        constraint = distance - self.kappa
        # a copy, since the backward pass comes after the buffer has moved on; and where the network is
        loss = self.multiplier.clone().to(constraint.device) * constraint + divergence
        if self.training:
            self._follow(constraint.detach().to(self.average.device))
        return loss

    @torch.no_grad()
    def _follow(self, constraint: torch.Tensor) -> None:
        before = torch.where(self.average.isnan(), constraint, self.average)
        self.average.copy_(self.decay * before + (1 - self.decay) * constraint)
        self.multiplier.mul_((self.rate * self.average).exp()).clamp_(1e-6, 1e6)


def _terms(
    prediction: tuple[torch.Tensor, torch.Tensor], target: torch.Tensor, reconstruction: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean distance of a voxel, and mean divergence over the number of values of an image."""
    image, kl = prediction
    if image.shape != target.shape:
        got, wanted = tuple(image.shape), tuple(target.shape)
        raise ValueError(f"the reconstruction has shape {got}; expected {wanted} as target.")
    if kl.ndim != 2 or len(kl) != len(target):
        raise ValueError(f"the divergences have shape {tuple(kl.shape)}; expected ({len(target)}, scales).")
    return _DISTANCES[reconstruction](image, target), kl.sum(dim=1).mean() / target[0].numel()
