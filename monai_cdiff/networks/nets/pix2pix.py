"""The networks of pix2pix: a U-Net with dropout for noise, and a discriminator of patches that sees the condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from monai.networks.blocks import Convolution
from monai.networks.nets import PatchDiscriminator
from torch import nn
from torch.nn import functional as F

from ...utils import Generators, check_flag, check_integer, check_number, check_option, randn
from ..blocks import check_network_call, crop_to_size, pad_to_multiple

__all__ = ["PIX2PIX_SIZES", "ConditionalPatchDiscriminator", "Pix2PixGenerator", "Pix2PixSize"]


@dataclass(frozen=True)
class Pix2PixSize:
    """The shape of a :class:`Pix2PixGenerator`.

    Args:
        channels: width of each level, the finest first; every level works on a grid twice as coarse as the one before.
        dropout_levels: how many of the coarsest decoder levels have dropout.

    Raises:
        ValueError: if a value is out of range.
    """

    channels: tuple[int, ...]
    dropout_levels: int

    def __post_init__(self) -> None:
        if len(self.channels) < 2:
            raise ValueError(f"channels={self.channels} must name at least two levels.")
        for i, width in enumerate(self.channels):
            check_integer(f"channels[{i}]", width, low=1)
        check_integer("dropout_levels", self.dropout_levels, low=0)


PIX2PIX_SIZES: Mapping[str, Pix2PixSize] = MappingProxyType(
    {
        "paper": Pix2PixSize((64, 128, 256, 512, 512, 512, 512, 512), 3),
        "small": Pix2PixSize((32, 64, 128, 256, 256), 2),
        "tiny": Pix2PixSize((8, 16, 16), 1),
    }
)


class Pix2PixGenerator(nn.Module):
    """Generator of pix2pix, 2-D and 3-D, for images of any size.

    Isola et al., "Image-to-image translation with conditional adversarial networks", arXiv:1611.07004, section 3.2.1
    and appendix 6.1: ``G: {x, z} -> y``, a U-Net of 4x4 convolutions with stride 2 and skip connections, whose noise z
    is dropout in the coarsest decoder levels. It is trained with ``L = L_cGAN(G, D) + 100 L1(G)`` (eq. 4).

    =========  ======================================  ==============  ==========  =====
    size       channels                                dropout levels  parameters  GFLOP
    =========  ======================================  ==============  ==========  =====
    ``paper``  64, 128, 256, 512, 512, 512, 512, 512   3               54.4 M      11.9
    ``small``  32, 64, 128, 256, 256                   2               4.17 M      0.684
    ``tiny``   8, 16, 16                               1               0.0148 M    0.020
    =========  ======================================  ==============  ==========  =====

    Parameters and operations (two per multiplication with addition) are for one 2-D call with ``in_channels=1,
    out_channels=1``, at 256x256 for ``paper`` (the publication's U-Net 256) and 128x128 for the others.

    What differs from the publication:

    - Instance normalisation instead of batch normalisation with the statistics of the test batch. At the publication's
      batch of one image the two are the same; here the items of a batch must not depend on each other. The innermost
      level has none, as in the publication's erratum.
    - Sizes that do not divide by ``size_multiple`` are padded at the far end by repeating the border, and cropped.
    - No tanh at the end unless ``bounded``: images may exceed [-1, 1] here, and the output may be a residual.
    - In evaluation mode there is noise only where a ``generator`` is given; without one the output is deterministic.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the condition.
        out_channels: channels of the image.
        size: a row of the table above; ``channels`` and ``dropout_levels`` replace single entries of it.
        channels: width of each level, the finest first; their number is the depth.
        dropout_levels: how many of the coarsest decoder levels have dropout.
        dropout: probability of dropping a value there, from 0 to less than 1.
        bounded: end with tanh, as the publication does.

    Raises:
        ValueError: if an argument is out of range, or ``size`` is not in the table.

    Example:
        >>> net = Pix2PixGenerator(spatial_dims=2, in_channels=1, out_channels=1, size="tiny").eval()
        >>> net(torch.zeros(1, 1, 50, 33), generator=torch.Generator().manual_seed(0)).shape
        torch.Size([1, 1, 50, 33])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        size: str = "paper",
        channels: Sequence[int] | None = None,
        dropout_levels: int | None = None,
        dropout: float = 0.5,
        bounded: bool = False,
    ) -> None:
        super().__init__()
        self.spatial_dims = check_integer("spatial_dims", spatial_dims, low=2, high=3)
        self.in_channels = check_integer("in_channels", in_channels, low=1)
        self.out_channels = check_integer("out_channels", out_channels, low=1)
        self.size = check_option("size", size, PIX2PIX_SIZES)
        widths = None if channels is None else tuple(channels)
        given: dict[str, Any] = {"channels": widths, "dropout_levels": dropout_levels}
        self.config = replace(PIX2PIX_SIZES[self.size], **{k: v for k, v in given.items() if v is not None})
        self.dropout = check_number("dropout", dropout, low=0.0, high=1 - 1e-9)
        self.bounded = check_flag("bounded", bounded)
        widths = self.config.channels
        inner = range(1, len(widths) - 1)
        self.encoder = nn.ModuleList([self._down(self.in_channels, widths[0], normalised=False)])
        self.encoder.extend(self._down(widths[i - 1], widths[i], normalised=True) for i in inner)
        self.encoder.append(self._down(widths[-2], widths[-1], normalised=False))
        self.decoder = nn.ModuleList([self._up(widths[-1], widths[-2])])
        self.decoder.extend(self._up(2 * widths[i], widths[i - 1]) for i in reversed(inner))
        self.head = self._up(2 * widths[0], self.out_channels, normalised=False)
        self.apply(_init_weights)

    @property
    def size_multiple(self) -> int:
        """What image sizes are padded to a multiple of: one voxel of the coarsest level."""
        return 2 ** len(self.config.channels)

    def _block(self, in_channels: int, out_channels: int, normalised: bool, **kwargs: Any) -> Convolution:
        norm = ("INSTANCE", {"affine": True}) if normalised else None
        kwargs |= {"kernel_size": 4, "strides": 2, "padding": 1, "norm": norm, "bias": not normalised}
        return Convolution(self.spatial_dims, in_channels, out_channels, adn_ordering="NA", **kwargs)

    def _down(self, in_channels: int, out_channels: int, normalised: bool) -> Convolution:
        act = ("LEAKYRELU", {"negative_slope": 0.2})
        return self._block(in_channels, out_channels, normalised, act=act)

    def _up(self, in_channels: int, out_channels: int, normalised: bool = True) -> Convolution:
        return self._block(in_channels, out_channels, normalised, act=None, is_transposed=True, output_padding=0)

    def forward(
        self,
        x: torch.Tensor,
        timesteps: torch.Tensor | float | None = None,
        context: torch.Tensor | None = None,
        class_labels: torch.Tensor | None = None,
        generator: Generators = None,
    ) -> torch.Tensor:
        """Restore from the condition.

        Args:
            x: condition, shape (B, in_channels, H, W[, D]), any size from 1.
            timesteps: must be ``None``: the network restores in one call.
            context: must be ``None``.
            class_labels: must be ``None``.
            generator: where the noise comes from, one for the batch or one per item. Without it, dropout draws from
                torch's own generator in training mode and is off in evaluation mode.

        Returns:
            The image, shape (B, out_channels, H, W[, D]).

        Raises:
            ValueError: if the shape of ``x`` is wrong, or an argument is given that the network does not use.
        """
        check_network_call(self, x, timesteps=timesteps, context=context, class_labels=class_labels)
        h, skips = pad_to_multiple(x, self.size_multiple), []
        for down in self.encoder:
            h = down(h)
            skips.append(h)
        skips.pop()
        for level, up in enumerate(self.decoder):
            h = up(h)
            if level < self.config.dropout_levels:
                h = self._drop(h, generator)
            h = torch.cat([F.relu(h), F.relu(skips.pop())], dim=1)
        h = crop_to_size(self.head(h), x.shape[2:])
        return torch.tanh(h) if self.bounded else h

    def _drop(self, h: torch.Tensor, generator: Generators) -> torch.Tensor:
        if generator is None or self.dropout == 0:
            return F.dropout(h, self.dropout, self.training)
        # a standard normal value exceeds this threshold with probability 1 - dropout
        threshold = torch.special.ndtri(torch.tensor(self.dropout, dtype=torch.float64)).item()
        kept = randn(h.shape, generator, h.device) > threshold
        return h * kept.to(h.dtype) / (1 - self.dropout)


def _init_weights(module: nn.Module) -> None:
    """Normal weights of standard deviation 0.02, as in the publication."""
    if isinstance(module, nn.modules.conv._ConvNd):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class ConditionalPatchDiscriminator(nn.Module):
    """MONAI's ``PatchDiscriminator`` on the image and its condition, returning its logits alone.

    arXiv:1611.07004, sections 3.2.2 and 6.1.2: with three layers and 64 channels it is the publication's 70x70
    PatchGAN ``D(x, y)`` of condition and image, 2.77 million weights at six channels. MONAI's network also returns
    the features of each layer, which ``PatchAdversarialLoss`` would take for further discriminators.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image and the condition together.
        channels: width of the first layer, doubled in each of the next.
        num_layers: layers after the first; the field of view is 16, 34, 70 or 142 voxels for 1 to 4.
        norm: normalisation, of the whole batch as in the publication, or "INSTANCE".

    Raises:
        ValueError: for numbers outside what is allowed.

    Example:
        >>> judge = ConditionalPatchDiscriminator(spatial_dims=2, in_channels=2, channels=8)
        >>> judge(torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)).shape
        torch.Size([1, 1, 6, 6])
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, channels: int = 64, num_layers: int = 3, norm: str = "BATCH"
    ) -> None:
        super().__init__()
        self.spatial_dims = check_integer("spatial_dims", spatial_dims, low=2, high=3)
        self.in_channels = check_integer("in_channels", in_channels, low=1)
        self.patches = PatchDiscriminator(
            spatial_dims=self.spatial_dims,
            channels=check_integer("channels", channels, low=1),
            in_channels=self.in_channels,
            num_layers_d=check_integer("num_layers", num_layers, low=1),
            norm=check_option("norm", str(norm).upper(), ("BATCH", "INSTANCE")),
        )
        self.least_size = 3 * 2**num_layers

    def forward(self, x: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        """Judge patches.

        Args:
            x: images, shape (B, C, H, W[, D]), sizes at least ``least_size``.
            condition: what they were made from, of the same size, or ``None`` to judge the image alone.

        Returns:
            Logits that are high for real images, one per patch, shape (B, 1, h, w[, d]).

        Raises:
            ValueError: if channels or sizes are wrong.
        """
        seen = x if condition is None else torch.cat([condition, x], dim=1)
        check_network_call(self, seen)
        if min(seen.shape[2:]) < self.least_size:
            raise ValueError(f"x has shape {tuple(x.shape)}; its sizes must be at least {self.least_size}.")
        return self.patches(seen)[-1]
