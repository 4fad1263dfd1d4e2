"""What is likely, and where the network cannot know, as one output of an inferer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer

from ..utils import check_integer
from .restoration import RestorationInferer

__all__ = ["PosteriorInferer"]


class PosteriorInferer(Inferer):
    """Mean and standard deviation over samples, one after the other in the channels.

    Args:
        restoration: draws the samples; its ``output`` is not ``"mean"``.
        num_samples: how many, at least 2.

    Example:
        >>> import torch
        >>> from monai_cdiff.networks.nets import ConditionalUNet
        >>> from monai_cdiff.networks.schedulers import DDIMScheduler
        >>> network = ConditionalUNet(2, in_channels=2, out_channels=1, size="tiny")
        >>> infer = PosteriorInferer(RestorationInferer(DDIMScheduler(), num_inference_steps=2), num_samples=2)
        >>> tuple(infer(torch.zeros(1, 1, 16, 16), network).shape)
        (1, 2, 16, 16)
    """

    def __init__(self, restoration: RestorationInferer, num_samples: int = 8) -> None:
        super().__init__()
        self.restoration = restoration
        self.num_samples = check_integer("num_samples", num_samples, 2)
        if restoration.output == "mean":
            raise ValueError("restoration: output='mean' draws no samples; take output='sample'.")

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Restore a batch; see :py:meth:`RestorationInferer.posterior` for the arguments.

        Returns:
            Shape (B, 2 * C_out, ...): the mean's channels, then those of the standard deviation.
        """
        moments = self.restoration.posterior(inputs, network, *args, num_samples=self.num_samples, **kwargs)
        return torch.cat(moments, dim=1)
