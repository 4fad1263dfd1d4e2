"""The training forward pass: noise the target, put the condition beside it, predict."""

from __future__ import annotations

from typing import Any

import torch
from monai.inferers import DiffusionInferer
from monai.networks.schedulers import Scheduler
from monai.utils import unsqueeze_right

from ..networks import Parameterization
from ..utils import ConditioningMode, PredictionType, check_option
from .stock_schedulers import warn_of_strides

__all__ = ["ConditionalDiffusionInferer"]


class ConditionalDiffusionInferer(DiffusionInferer):
    """A ``DiffusionInferer`` whose conditioning mode and parameterization are set once, where it is made.

    With ``conditioning_mode="crossattn"`` and no parameterization it gives the numbers of MONAI's own. With the
    default it trains a condition by concatenation from a configuration, where MONAI's ``DiffusionPrepareBatch`` names
    no mode and MONAI's inferer would fall back to cross-attention.

    Args:
        scheduler: adds the noise; MONAI's or one of this package.
        conditioning_mode: ``"concat"`` (the condition as further input channels) or ``"crossattn"``.
        parameterization: what is diffused and predicted; default: the image, and the scheduler's prediction type.

    Raises:
        ValueError: for an unknown mode, or if scheduler and parameterization disagree on the prediction.

    Example:
        >>> import torch
        >>> from monai_cdiff.networks.nets import ConditionalUNet
        >>> from monai_cdiff.networks.schedulers import DDPMScheduler
        >>> inferer = ConditionalDiffusionInferer(DDPMScheduler())
        >>> image = condition = noise = torch.zeros(2, 1, 16, 16)
        >>> network = ConditionalUNet(2, in_channels=2, out_channels=1, size="tiny")
        >>> tuple(inferer(image, network, noise, torch.tensor([3, 1500]), condition).shape)
        (2, 1, 16, 16)
    """

    def __init__(
        self,
        scheduler: Scheduler,
        conditioning_mode: str = ConditioningMode.CONCAT,
        parameterization: Parameterization | None = None,
    ) -> None:
        super().__init__(scheduler)
        self.conditioning_mode = check_option("conditioning_mode", conditioning_mode, ConditioningMode)
        prediction_type = getattr(scheduler, "prediction_type", PredictionType.EPSILON)
        self.parameterization = parameterization or Parameterization(prediction_type)
        self.parameterization.check_scheduler(scheduler)

    def __call__(
        self,
        inputs: torch.Tensor,
        diffusion_model: Any,
        noise: torch.Tensor,
        timesteps: torch.Tensor,
        condition: torch.Tensor | None = None,
        mode: str | None = None,
        seg: torch.Tensor | None = None,
        dropped: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Predict from the noised target; compare with ``parameterization.training_target``.

        Args:
            inputs: original images, shape (B, C, ...), normalised.
            diffusion_model: network, called ``network(x=..., timesteps=..., context=...)``.
            noise: standard normal, shape of ``inputs``.
            timesteps: shape (B,).
            condition: shape (B, C', ...) for concatenation, or a context for cross-attention.
            mode: overrides ``conditioning_mode`` for this call.
            seg: segmentation for SPADE networks.
            dropped: shape (B,), true for the items whose condition the network sees as zeros.

        Returns:
            The network's prediction, shape of ``inputs``.
        """
        x0 = self.parameterization.encode(inputs, condition)
        mode = mode or self.conditioning_mode
        if dropped is not None and condition is not None:
            condition = condition.masked_fill(unsqueeze_right(dropped, condition.ndim), 0.0)
        return super().__call__(x0, diffusion_model, noise, timesteps, condition, mode=mode, seg=seg)

    def sample(
        self,
        input_noise: torch.Tensor,
        diffusion_model: Any,
        scheduler: Scheduler | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """MONAI's ``DiffusionInferer.sample`` in this inferer's mode; returns diffused values, not decoded images.

        Use :py:class:`RestorationInferer` to restore images.
        """
        chosen: Any = scheduler or self.scheduler
        warn_of_strides(chosen, len(chosen.timesteps))
        return super().sample(input_noise, diffusion_model, chosen, *args, **{"mode": self.conditioning_mode, **kwargs})
