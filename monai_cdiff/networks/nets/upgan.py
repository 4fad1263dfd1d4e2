"""The generators of UP-GAN: a cascade in which each stage sees how sure the one before was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from monai.networks.nets import BasicUNet
from torch import nn
from torch.nn import functional as F

from ...utils import check_flag, check_integer, check_option
from ..blocks import check_network_call, crop_to_size, pad_to_multiple

__all__ = ["UPGAN", "UPGAN_SIZES", "GeneralizedGaussian", "UPGANSize"]

_LEAST_SCALE = 1e-3
_SHAPE_RANGE = 4.0  # the shape lies between 1/4 and 4, Laplace's 1 in the middle of its logarithm


class GeneralizedGaussian(NamedTuple):
    """What one stage says of each voxel: a generalised Gaussian.

    Args:
        mean: the restored image, shape (B, C, H, W[, D]).
        scale: alpha, more than 0, in units of the image.
        shape: beta, more than 0; 2 is a normal distribution, 1 a Laplace distribution.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    shape: torch.Tensor

    @property
    def variance(self) -> torch.Tensor:
        """``alpha^2 Gamma(3 / beta) / Gamma(1 / beta)``, the aleatoric uncertainty (arXiv:2106.15542, section 2)."""
        return self.scale.square() * (torch.lgamma(3 / self.shape) - torch.lgamma(1 / self.shape)).exp()


@dataclass(frozen=True)
class UPGANSize:
    """The shape of :class:`UPGAN`.

    Args:
        channels: width of the five levels of each U-Net, the finest first.
        num_stages: generators in the cascade.

    Raises:
        ValueError: if a value is out of range.
    """

    channels: tuple[int, ...]
    num_stages: int

    def __post_init__(self) -> None:
        if len(self.channels) != 5:
            raise ValueError(f"channels={self.channels} must name five levels.")
        for i, width in enumerate(self.channels):
            check_integer(f"channels[{i}]", width, low=1)
        check_integer("num_stages", self.num_stages, low=1)


UPGAN_SIZES: Mapping[str, UPGANSize] = MappingProxyType(
    {
        "paper": UPGANSize((64, 128, 256, 512, 512), 3),
        "small": UPGANSize((24, 48, 96, 128, 128), 2),
        "tiny": UPGANSize((4, 8, 8, 8, 8), 2),
    }
)


class UPGAN(nn.Module):
    """Generators of an uncertainty-guided progressive GAN, 2-D and 3-D, for images of any size.

    Upadhyay et al., "Uncertainty-guided progressive GANs for medical image translation", arXiv:2106.15542: each stage
    predicts for every voxel the mean, the scale alpha and the shape beta of a generalised Gaussian (section 2). The
    first sees the condition, each later one the condition beside what the one before predicted, so that it can attend
    to the voxels that were uncertain (eq. 3 and 4). All learn from
    :class:`monai_cdiff.losses.GeneralizedGaussianLoss`, to which adversarial terms may be added. What is restored
    is the mean of the last stage.

    =========  =======================  ======  ==========  =====
    size       channels                 stages  parameters  GFLOP
    =========  =======================  ======  ==========  =====
    ``paper``  64, 128, 256, 512, 512   3       56.8 M      70.7
    ``small``  24, 48, 96, 128, 128     2       2.97 M      5.67
    ``tiny``   4, 8, 8, 8, 8            2       0.0210 M    0.110
    =========  =======================  ======  ==========  =====

    Parameters and operations (two per multiplication with addition) are for one 2-D call at 128x128 with
    ``in_channels=1, out_channels=1``.

    What differs from the publication:

    - The U-Nets are MONAI's ``BasicUNet``: two convolutions a level instead of residual units of three, instance
      instead of batch normalisation, and one head of three maps per channel instead of three heads.
    - The first stage is one U-Net as the others, where the publication's code chains two.
    - ``scale = softplus(.) + 0.001`` and ``shape = 4^tanh(.)``, from 1/4 to 4; the publication's code has ReLU and
      small constants, and does without the power in the loss.
    - The stages learn together. With ``detach`` each learns from its own loss alone, as in the publication, where one
      is trained after another.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the condition.
        out_channels: channels of the image.
        size: a row of the table above; ``channels`` and ``num_stages`` replace single entries of it.
        channels: width of the five levels of each U-Net.
        num_stages: generators in the cascade.
        detach: no gradient flows from a stage into the one before.

    Raises:
        ValueError: if an argument is out of range, or ``size`` is not in the table.

    Example:
        >>> net = UPGAN(spatial_dims=2, in_channels=1, out_channels=1, size="tiny")
        >>> net(torch.zeros(1, 1, 50, 33)).shape
        torch.Size([1, 1, 50, 33])
        >>> stages = net(torch.zeros(1, 1, 50, 33), all_stages=True)
        >>> len(stages), stages[-1].variance.shape
        (2, torch.Size([1, 1, 50, 33]))
    """

    size_multiple = 32
    """What image sizes are padded to a multiple of: two voxels of the coarsest level, which its normalisation needs."""

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        size: str = "paper",
        channels: Sequence[int] | None = None,
        num_stages: int | None = None,
        detach: bool = True,
    ) -> None:
        super().__init__()
        self.spatial_dims = check_integer("spatial_dims", spatial_dims, low=2, high=3)
        self.in_channels = check_integer("in_channels", in_channels, low=1)
        self.out_channels = check_integer("out_channels", out_channels, low=1)
        self.size = check_option("size", size, UPGAN_SIZES)
        given: dict[str, Any] = {"channels": None if channels is None else tuple(channels), "num_stages": num_stages}
        self.config = replace(UPGAN_SIZES[self.size], **{k: v for k, v in given.items() if v is not None})
        self.detach = check_flag("detach", detach)
        widths = self.config.channels
        self.stages = nn.ModuleList(
            BasicUNet(
                self.spatial_dims,
                self.in_channels + (3 * self.out_channels if stage else 0),
                3 * self.out_channels,
                features=(*widths, widths[0]),
            )
            for stage in range(self.config.num_stages)
        )

    def forward(
        self,
        x: torch.Tensor,
        timesteps: torch.Tensor | float | None = None,
        context: torch.Tensor | None = None,
        class_labels: torch.Tensor | None = None,
        all_stages: bool = False,
    ) -> torch.Tensor | list[GeneralizedGaussian]:
        """Restore from the condition.

        Args:
            x: condition, shape (B, in_channels, H, W[, D]), any size from 1.
            timesteps: must be ``None``: the network restores in one call.
            context: must be ``None``.
            class_labels: must be ``None``.
            all_stages: return what each stage predicts, as the loss takes it.

        Returns:
            The mean of the last stage, shape (B, out_channels, H, W[, D]), or a list of distributions, one per stage.

        Raises:
            ValueError: if the shape of ``x`` is wrong, or an argument is given that the network does not use.
        """
        check_network_call(self, x, timesteps=timesteps, context=context, class_labels=class_labels)
        padded = pad_to_multiple(x, self.size_multiple)
        predictions: list[GeneralizedGaussian] = []
        for stage in self.stages:
            before = [value.detach() if self.detach else value for last in predictions[-1:] for value in last]
            mean, scale, shape = stage(torch.cat([padded, *before], dim=1)).chunk(3, dim=1)
            scale, shape = F.softplus(scale) + _LEAST_SCALE, _SHAPE_RANGE ** torch.tanh(shape)
            predictions.append(GeneralizedGaussian(mean, scale, shape))
        cropped = [GeneralizedGaussian(*(crop_to_size(v, x.shape[2:]) for v in stage)) for stage in predictions]
        return cropped if all_stages else cropped[-1].mean
