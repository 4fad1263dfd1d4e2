"""The U-Net that predicts the noise (or v, or x0) of a noisy image beside its condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, cast

import torch
from monai.networks.layers.factories import Conv
from monai.networks.utils import pixelshuffle, pixelunshuffle
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ...utils import check_integer, check_number, check_option
from ..blocks import (
    ResidualBlock,
    SelfAttentionBlock,
    TimestepEmbedding,
    check_network_call,
    crop_to_size,
    expand_timesteps,
    halve,
    pad_to_multiple,
)

__all__ = ["UNET_SIZES", "ConditionalUNet", "UNetSize"]


@dataclass(frozen=True)
class UNetSize:
    """The shape of a :class:`ConditionalUNet`; one value per level, the finest first.

    Args:
        channels: width of each level.
        num_res_blocks: residual blocks of each level on the way down (the way up has one more).
        attention_levels: whether a level's blocks are followed by self-attention. Where any is, the middle has it too.
        space_to_depth: side s of the patch that the stem folds into channels, so that the first level works on a
            grid s times coarser; 1 for none.
        num_head_channels: channels of one attention head; divides the widths of the levels with attention.
        norm_num_groups: groups of each normalisation; divides every width.

    Raises:
        ValueError: if a value is out of range or the lengths differ.
    """

    channels: tuple[int, ...]
    num_res_blocks: tuple[int, ...]
    attention_levels: tuple[bool, ...]
    space_to_depth: int
    num_head_channels: int
    norm_num_groups: int

    def __post_init__(self) -> None:
        if not self.channels:
            raise ValueError("channels=() must name at least one level.")
        for name in ("channels", "num_res_blocks"):
            for i, value in enumerate(getattr(self, name)):
                check_integer(f"{name}[{i}]", value, low=1)
        for name in ("space_to_depth", "num_head_channels", "norm_num_groups"):
            check_integer(name, getattr(self, name), low=1)
        for name in ("num_res_blocks", "attention_levels"):
            if len(getattr(self, name)) != len(self.channels):
                raise ValueError(
                    f"{name}={getattr(self, name)} needs one value for each of the {len(self.channels)} "
                    f"channels={self.channels}."
                )
        if any(width % self.norm_num_groups for width in self.channels):
            raise ValueError(f"norm_num_groups={self.norm_num_groups} must divide each of channels={self.channels}.")


# "paper" has SR3's 32 groups. The others have 16 channels or more in a group: below that, torch's group normalisation
# in channels_last takes a scalar path on the CPU, whose backward pass is 3 to 20 times slower.
UNET_SIZES: Mapping[str, UNetSize] = MappingProxyType(
    {
        "paper": UNetSize((64, 128, 256, 512, 512), (2,) * 5, (False, False, False, True, False), 1, 64, 32),
        "base": UNetSize((128, 192, 256, 256), (2,) * 4, (False, False, False, True), 2, 64, 8),
        "small": UNetSize((64, 96, 128), (1,) * 3, (False, False, False), 2, 32, 4),
        "tiny": UNetSize((16, 32), (1,) * 2, (False, False), 2, 16, 1),
    }
)


def _per_level(value: Sequence[Any] | Any | None, preset: tuple[Any, ...], levels: int) -> tuple[Any, ...]:
    """One value per level: as given, or one for all, or those of the size, which fit any depth where all are equal."""
    if value is None:
        return preset[:1] * levels if len(set(preset)) == 1 else preset
    return tuple(value) if isinstance(value, Sequence) else (value,) * levels


class _Stage(nn.Module):
    """A residual block, after joining it with a skip connection if one is given, and attention if asked for."""

    def __init__(self, residual: ResidualBlock, attention: SelfAttentionBlock | None) -> None:
        super().__init__()
        self.residual = residual
        self.attention = nn.Identity() if attention is None else attention

    def forward(self, x: torch.Tensor, embedding: torch.Tensor, skip: torch.Tensor | None = None) -> torch.Tensor:
        joined = x if skip is None else torch.cat([x, skip], dim=1)
        return self.attention(self.residual(joined, embedding))


class ConditionalUNet(nn.Module):
    """U-Net with time embedding for conditional diffusion, 2-D and 3-D, for images of any size.

    The noise predictor of Med-cDiff: a U-Net with group normalisation whose input is the noisy image and its condition,
    concatenated as channels by the inferer (Saharia et al., "Image super-resolution via iterative refinement",
    arXiv:2104.07636). The call is that of MONAI's ``DiffusionModelUNet``. What is built in:

    - The output convolution and the second convolution of each residual block start at zero: a fresh net returns
      exactly 0, which is the best constant guess for noise and for v.
    - Sizes that do not divide by ``size_multiple`` are padded at the far end by repeating the border, and cropped.
    - The stem can fold s x s patches into channels (space to depth) and the head unfolds them, so that most of the
      work is done on a grid s times coarser; a call then costs about s^2 times less.

    =========  ========================  ======  =========  ====  ==========  =====
    size       channels                  blocks  attention  stem  parameters  GFLOP
    =========  ========================  ======  =========  ====  ==========  =====
    ``paper``  64, 128, 256, 512, 512    2       level 4    1     103.1 M     85.5
    ``base``   128, 192, 256, 256        2       level 4    2     34.3 M      35.4
    ``small``  64, 96, 128               1       none       2     3.85 M      5.83
    ``tiny``   16, 32                    1       none       2     0.179 M     0.456
    =========  ========================  ======  =========  ====  ==========  =====

    Parameters and operations (two per multiplication with addition) are for one 2-D call at 128x128 with
    ``in_channels=2, out_channels=1``. ``paper`` has the shape of SR3, for GPUs; ``base`` is for one GPU; ``small``
    trains on two CPU cores, in bfloat16 and ``channels_last``; ``tiny`` is for tests.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input: those of the image and those of the condition.
        out_channels: channels of the output: those of the image.
        size: a row of the table above; the other arguments replace single entries of it.
        channels: width of each level, the finest first.
        num_res_blocks: residual blocks of each level on the way down (the way up has one more); one number for all.
        attention_levels: for each level, whether self-attention follows its blocks; one value for all. Where any does,
            the middle has it too. Its cost grows with the square of the number of positions. For ``paper`` and
            ``base`` it must be given together with ``channels`` of another length.
        space_to_depth: side of the patch that the stem folds into channels; 1 for none.
        num_head_channels: channels of one attention head.
        norm_num_groups: groups of each normalisation; divides each of ``channels``.
        dropout: probability of dropping a value inside the residual blocks, from 0 to 1.
        use_checkpoint: if true, training stores only the input of each block and computes the rest again in the
            backward pass (gradient checkpointing): less memory, about a third more time, the same gradients.

    Raises:
        ValueError: if an argument is out of range, or ``size`` is not in the table; the message says what is allowed.

    Example:
        >>> net = ConditionalUNet(spatial_dims=2, in_channels=2, out_channels=1, size="tiny")
        >>> noisy, condition = torch.randn(1, 1, 50, 33), torch.randn(1, 1, 50, 33)
        >>> net(torch.cat([noisy, condition], dim=1), timesteps=torch.tensor([999])).shape
        torch.Size([1, 1, 50, 33])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        size: str = "base",
        channels: Sequence[int] | None = None,
        num_res_blocks: Sequence[int] | int | None = None,
        attention_levels: Sequence[bool] | bool | None = None,
        space_to_depth: int | None = None,
        num_head_channels: int | None = None,
        norm_num_groups: int | None = None,
        dropout: float = 0.0,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.spatial_dims = check_integer("spatial_dims", spatial_dims, low=2, high=3)
        self.in_channels = check_integer("in_channels", in_channels, low=1)
        self.out_channels = check_integer("out_channels", out_channels, low=1)
        self.size = check_option("size", size, UNET_SIZES)
        preset = UNET_SIZES[self.size]
        channels = preset.channels if channels is None else tuple(channels)
        overrides: dict[str, Any] = {
            "channels": channels,
            "num_res_blocks": _per_level(num_res_blocks, preset.num_res_blocks, len(channels)),
            "attention_levels": _per_level(attention_levels, preset.attention_levels, len(channels)),
            "space_to_depth": space_to_depth,
            "num_head_channels": num_head_channels,
            "norm_num_groups": norm_num_groups,
        }
        self.config = replace(preset, **{name: value for name, value in overrides.items() if value is not None})
        self.dropout = check_number("dropout", dropout, low=0.0, high=1.0)
        self.use_checkpoint = bool(use_checkpoint)
        self._build()

    @property
    def size_multiple(self) -> int:
        """What image sizes are padded to a multiple of: one voxel of the coarsest level, in voxels of the image."""
        return self.config.space_to_depth * 2 ** (len(self.config.channels) - 1)

    def _build(self) -> None:
        conv = Conv[Conv.CONV, self.spatial_dims]
        config, widths = self.config, tuple(self.config.channels)
        levels, patch = range(len(widths)), config.space_to_depth**self.spatial_dims
        self.time_embedding = TimestepEmbedding(widths[0], 4 * widths[0])
        self.conv_in = conv(self.in_channels * patch, widths[0], kernel_size=3, padding=1)
        self.encoder = nn.ModuleList([self._level(level, is_decoder=False) for level in levels])
        self.downsamples = nn.ModuleList(
            [conv(fine, coarse, kernel_size=3, stride=2, padding=1) for fine, coarse in zip(widths, widths[1:])]
        )
        attends = any(config.attention_levels)
        self.middle = nn.ModuleList([self._stage(widths[-1], widths[-1], attends and i == 0) for i in range(2)])
        self.upsamples = nn.ModuleList(
            [
                nn.Sequential(nn.Upsample(scale_factor=2.0), conv(coarse, fine, kernel_size=3, padding=1))
                for fine, coarse in zip(widths, widths[1:])
            ]
        )
        self.decoder = nn.ModuleList([self._level(level, is_decoder=True) for level in levels])
        self.norm_out = nn.GroupNorm(config.norm_num_groups, widths[0])
        self.conv_out = conv(widths[0], self.out_channels * patch, kernel_size=3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)
        if self.spatial_dims == 2:
            self.to(memory_format=torch.channels_last)  # the layout that bfloat16 convolutions are fast in

    def _level(self, level: int, is_decoder: bool) -> nn.ModuleList:
        config = self.config
        width, blocks, attends = config.channels[level], config.num_res_blocks[level], config.attention_levels[level]
        if is_decoder:
            return nn.ModuleList([self._stage(2 * width, width, attends) for _ in range(blocks + 1)])
        return nn.ModuleList([self._stage(width, width, attends) for _ in range(blocks)])

    def _stage(self, in_channels: int, out_channels: int, attends: bool) -> _Stage:
        config = self.config
        residual = ResidualBlock(
            spatial_dims=self.spatial_dims,
            in_channels=in_channels,
            out_channels=out_channels,
            embedding_channels=4 * config.channels[0],
            norm_num_groups=config.norm_num_groups,
            dropout=self.dropout,
        )
        if not attends:
            return _Stage(residual, None)
        return _Stage(residual, SelfAttentionBlock(out_channels, config.num_head_channels, config.norm_num_groups))

    def forward(
        self,
        x: torch.Tensor,
        timesteps: torch.Tensor | float | None = None,
        context: torch.Tensor | None = None,
        class_labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Predict at one timestep per item.

        Args:
            x: noisy image and condition, shape (B, in_channels, H, W[, D]), any size from 1.
            timesteps: tensor of shape (B,), (1,) or (), or a number, or ``None`` for 0; fractions are allowed.
            context: must be ``None``: the condition is concatenated to ``x``, not attended to.
            class_labels: must be ``None``: the net knows no classes.

        Returns:
            The prediction, shape (B, out_channels, H, W[, D]).

        Raises:
            ValueError: if the shape of ``x`` or ``timesteps`` is wrong, or an argument is given that the net does not
                use.
        """
        check_network_call(self, x, context=context, class_labels=class_labels)
        embedding = self.time_embedding(expand_timesteps(timesteps, x.shape[0], x.device))
        padded = pad_to_multiple(x, self.size_multiple)
        h = self.conv_in(pixelunshuffle(padded, self.spatial_dims, self.config.space_to_depth))
        skips = []
        for level, stages in enumerate(self.encoder):
            h = halve(self.downsamples[level - 1], h) if level else h
            skips.append(h)
            for stage in cast(nn.ModuleList, stages):
                h = self._run(stage, h, embedding)
                skips.append(h)
        for stage in self.middle:
            h = self._run(stage, h, embedding)
        for level in reversed(range(len(self.decoder))):
            for stage in cast(nn.ModuleList, self.decoder[level]):
                h = self._run(stage, h, embedding, skips.pop())
            h = self.upsamples[level - 1](h) if level else h
        h = self.conv_out(F.silu(self.norm_out(h)))
        return crop_to_size(pixelshuffle(h, self.spatial_dims, self.config.space_to_depth), x.shape[2:])

    def _run(
        self, stage: nn.Module, h: torch.Tensor, embedding: torch.Tensor, skip: torch.Tensor | None = None
    ) -> torch.Tensor:
        if self.use_checkpoint and torch.is_grad_enabled():
            return checkpoint(stage, h, embedding, skip, use_reentrant=False)
        return stage(h, embedding, skip)
