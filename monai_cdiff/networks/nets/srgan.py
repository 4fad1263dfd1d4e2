"""The networks of SRGAN: a residual network on the coarse grid, and a discriminator of whole images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from monai.networks.blocks import Convolution, SubpixelUpsample
from monai.networks.layers.factories import Act, Conv, Pool
from monai.networks.utils import pixelunshuffle
from torch import nn

from ...utils import check_integer, check_option
from ..blocks import check_network_call, crop_to_size, pad_to_multiple

__all__ = ["SRGAN_SIZES", "SRGANDiscriminator", "SRGANGenerator", "SRGANSize"]


@dataclass(frozen=True)
class SRGANSize:
    """The shape of a :class:`SRGANGenerator`.

    Args:
        channels: width of all layers.
        num_res_blocks: residual blocks.
        space_to_depth: side of the patch that the stem folds into channels, 1, 2, 4 or 8: the residual blocks work on
            a grid that much coarser, and as many doublings lead back.

    Raises:
        ValueError: if a value is out of range.
    """

    channels: int
    num_res_blocks: int
    space_to_depth: int

    def __post_init__(self) -> None:
        for name in ("channels", "num_res_blocks"):
            check_integer(name, getattr(self, name), low=1)
        if self.space_to_depth not in (1, 2, 4, 8):
            raise ValueError(f"space_to_depth={self.space_to_depth!r} is not supported; allowed: 1, 2, 4, 8.")


SRGAN_SIZES: Mapping[str, SRGANSize] = MappingProxyType(
    {"paper": SRGANSize(64, 16, 4), "small": SRGANSize(64, 8, 2), "tiny": SRGANSize(8, 2, 2)}
)


class _ResidualUnit(nn.Module):
    """Convolution, normalisation, PReLU, convolution, normalisation, and the sum with the input, not activated."""

    def __init__(self, spatial_dims: int, channels: int, norm: str) -> None:
        super().__init__()
        self.first = Convolution(spatial_dims, channels, channels, act="PRELU", norm=norm, adn_ordering="NA")
        self.second = Convolution(spatial_dims, channels, channels, act=None, norm=norm, adn_ordering="N")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(self.first(x))


class SRGANGenerator(nn.Module):
    """Generator of SRGAN, which is also SRResNet, 2-D and 3-D, for images of any size.

    Ledig et al., "Photo-realistic single image super-resolution using a generative adversarial network",
    arXiv:1609.04802, section 2.1.1 and figure 4: a 9x9 convolution, residual blocks of 3x3 convolutions with batch
    normalisation and PReLU on the coarse grid, a sum with the input of the blocks, doublings by pixel shuffle, a 9x9
    convolution. Trained with a pixel loss it is SRResNet; SRGAN adds ``1e-3`` times the adversarial loss (eq. 3).

    =========  ========  ======  ====  ==========  =====
    size       channels  blocks  stem  parameters  GFLOP
    =========  ========  ======  ====  ==========  =====
    ``paper``  64        16      4     1.61 M      4.34
    ``small``  64        8       2     0.804 M     6.68
    ``tiny``   8         2       2     0.0086 M    0.085
    =========  ========  ======  ====  ==========  =====

    Parameters and operations (two per multiplication with addition) are for one 2-D call at 128x128 with
    ``in_channels=1, out_channels=1``.

    What differs from the publication: its input is the image on the coarse grid. Here every method gets the same
    condition, which lies on the fine grid: interpolated by a factor that need not be whole, or of the size of the
    image anyway where noise or a mask is to be removed. The stem therefore folds patches of 4x4 voxels into channels
    (space to depth), which loses nothing and leaves the residual blocks and both doublings of the publication as they
    are, at its cost. Without a stem (``space_to_depth=1``) there is no doubling, and the blocks cost 16 times more.
    Sizes that do not divide by ``size_multiple`` are padded by repeating the border, and cropped. The first weights of
    a doubling are equal within a patch (MONAI's ``SubpixelUpsample``) and its biases are 0, so that a fresh network has
    no checkerboard.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the condition.
        out_channels: channels of the image.
        size: a row of the table above; the next three replace single entries of it.
        channels: width of all layers.
        num_res_blocks: residual blocks.
        space_to_depth: side of the patch that the stem folds into channels: 1, 2, 4 or 8.
        norm: "BATCH" as in the publication, or "INSTANCE".

    Raises:
        ValueError: if an argument is out of range, or ``size`` is not in the table.

    Example:
        >>> net = SRGANGenerator(spatial_dims=2, in_channels=1, out_channels=1, size="tiny").eval()
        >>> net(torch.zeros(1, 1, 50, 33)).shape
        torch.Size([1, 1, 50, 33])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        size: str = "paper",
        channels: int | None = None,
        num_res_blocks: int | None = None,
        space_to_depth: int | None = None,
        norm: str = "BATCH",
    ) -> None:
        super().__init__()
        self.spatial_dims = dims = check_integer("spatial_dims", spatial_dims, low=2, high=3)
        self.in_channels = check_integer("in_channels", in_channels, low=1)
        self.out_channels = check_integer("out_channels", out_channels, low=1)
        self.size = check_option("size", size, SRGAN_SIZES)
        given = {"channels": channels, "num_res_blocks": num_res_blocks, "space_to_depth": space_to_depth}
        overrides: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        self.config = replace(SRGAN_SIZES[self.size], **overrides)
        norm = check_option("norm", str(norm).upper(), ("BATCH", "INSTANCE"))
        width, patch = self.config.channels, self.config.space_to_depth
        folded = self.in_channels * patch**dims
        self.stem = Convolution(dims, folded, width, kernel_size=9, act="PRELU", norm=None)
        self.body = nn.Sequential(
            *[_ResidualUnit(dims, width, norm) for _ in range(self.config.num_res_blocks)],
            Convolution(dims, width, width, act=None, norm=norm, adn_ordering="N"),
        )
        count = patch.bit_length() - 1
        doublings = [SubpixelUpsample(dims, width, width, 2, apply_pad_pool=False) for _ in range(count)]
        self.doublings = nn.Sequential(*[nn.Sequential(doubling, nn.PReLU()) for doubling in doublings])
        for doubling in doublings:
            nn.init.zeros_(doubling.conv_block.bias)
        self.head = Conv[Conv.CONV, dims](width, self.out_channels, kernel_size=9, padding=4)

    @property
    def size_multiple(self) -> int:
        """What image sizes are padded to a multiple of: the side of the stem's patch."""
        return self.config.space_to_depth

    def forward(
        self,
        x: torch.Tensor,
        timesteps: torch.Tensor | float | None = None,
        context: torch.Tensor | None = None,
        class_labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Restore from the condition.

        Args:
            x: condition on the grid of the image, shape (B, in_channels, H, W[, D]), any size from 1.
            timesteps: must be ``None``: the network restores in one call.
            context: must be ``None``.
            class_labels: must be ``None``.

        Returns:
            The image, shape (B, out_channels, H, W[, D]).

        Raises:
            ValueError: if the shape of ``x`` is wrong, or an argument is given that the network does not use.
        """
        check_network_call(self, x, timesteps=timesteps, context=context, class_labels=class_labels)
        padded = pad_to_multiple(x, self.size_multiple)
        stem = self.stem(pixelunshuffle(padded, self.spatial_dims, self.config.space_to_depth))
        h = self.doublings(stem + self.body(stem))
        return crop_to_size(self.head(h), x.shape[2:])


class SRGANDiscriminator(nn.Module):
    """Discriminator of SRGAN, which judges an image as a whole.

    arXiv:1609.04802, section 2.1.1 and figure 4: pairs of 3x3 convolutions with LeakyReLU of slope 0.2 and batch
    normalisation (none in the first), the second of each pair with stride 2, 64 to 512 channels, then dense layers of
    1024 and 1. It returns the logit that the publication's sigmoid takes.

    What differs from the publication: the features are averaged to ``pool_size`` voxels per axis before the first dense
    layer, so that images of any size are taken. With the default 6 that changes nothing at the publication's 96x96.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of what it sees: the image, or the image and the condition.
        channels: width of each pair, the finest first.
        pool_size: side of the features that the dense layers see.
        hidden_channels: width of the first dense layer.

    Raises:
        ValueError: for numbers outside what is allowed.

    Example:
        >>> SRGANDiscriminator(2, in_channels=1, channels=(4, 8), pool_size=2)(torch.zeros(2, 1, 50, 33)).shape
        torch.Size([2, 1])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        channels: Sequence[int] = (64, 128, 256, 512),
        pool_size: int = 6,
        hidden_channels: int = 1024,
    ) -> None:
        super().__init__()
        self.spatial_dims = dims = check_integer("spatial_dims", spatial_dims, low=2, high=3)
        self.in_channels = before = check_integer("in_channels", in_channels, low=1)
        act = (Act.LEAKYRELU, {"negative_slope": 0.2})
        layers: list[nn.Module] = []
        for level, width in enumerate(channels):
            check_integer(f"channels[{level}]", width, low=1)
            for strides in (1, 2):
                norm = "BATCH" if layers else None
                layers.append(Convolution(dims, before, width, strides, act=act, norm=norm, adn_ordering="NA"))
                before = width
        if not layers:
            raise ValueError(f"channels={channels!r} must name at least one level.")
        self.least_size = 2 ** len(channels) + 1
        pool_size = check_integer("pool_size", pool_size, low=1)
        hidden = check_integer("hidden_channels", hidden_channels, low=1)
        self.convolutions = nn.Sequential(*layers)
        self.pool = Pool[Pool.ADAPTIVEAVG, dims](pool_size)
        self.dense = nn.Sequential(
            nn.Flatten(), nn.Linear(before * pool_size**dims, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1)
        )

    def forward(self, x: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        """Judge images.

        Args:
            x: images, shape (B, C, H, W[, D]), sizes at least ``least_size``.
            condition: what they were made from, of the same size, or ``None`` to judge the image alone, as the
                publication does.

        Returns:
            Logits that are high for real images, shape (B, 1).

        Raises:
            ValueError: if channels or sizes are wrong.
        """
        seen = x if condition is None else torch.cat([condition, x], dim=1)
        check_network_call(self, seen)
        if min(seen.shape[2:]) < self.least_size:
            raise ValueError(f"x has shape {tuple(x.shape)}; its sizes must be at least {self.least_size}.")
        return self.dense(self.pool(self.convolutions(seen)))
