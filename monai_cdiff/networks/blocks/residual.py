"""The residual block of the diffusion networks."""

from __future__ import annotations

import torch
from monai.networks.layers.factories import Conv
from torch import nn

__all__ = ["ResidualBlock"]


class ResidualBlock(nn.Module):
    """Two times group normalisation, SiLU and a 3x3 convolution, beside a shortcut, told the time by scale and shift.

    The embedding of the timestep scales and shifts the second normalisation's output, ``norm(h) * (1 + scale) +
    shift`` (Dhariwal and Nichol, arXiv:2105.05233, section 4.3). Adding it before that normalisation, as in the
    first diffusion models, would let the normalisation take most of it out again; there, scale and shift were also
    the better of the two in image quality. The second convolution starts at zero: a fresh block is its shortcut.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        out_channels: channels of the output; where they differ from the input's, the shortcut is a 1x1 convolution.
        embedding_channels: size E of the time embedding.
        norm_num_groups: groups of both normalisations; divides both channel counts.
        dropout: probability of dropping a value before the second convolution, from 0 to below 1.

    Example:
        >>> block = ResidualBlock(2, in_channels=8, out_channels=16, embedding_channels=32, norm_num_groups=4)
        >>> block(torch.zeros(1, 8, 5, 7), torch.zeros(1, 32)).shape
        torch.Size([1, 16, 5, 7])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        embedding_channels: int,
        norm_num_groups: int = 32,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, spatial_dims]
        self.norm1 = nn.GroupNorm(norm_num_groups, in_channels)
        self.conv1 = conv(in_channels, out_channels, kernel_size=3, padding=1)
        self.time_proj = nn.Linear(embedding_channels, 2 * out_channels)
        self.norm2 = nn.GroupNorm(norm_num_groups, out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = conv(out_channels, out_channels, kernel_size=3, padding=1)
        self.shortcut = nn.Identity() if in_channels == out_channels else conv(in_channels, out_channels, kernel_size=1)
        self.act = nn.SiLU()
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Args: ``x`` of shape (B, C, H, W[, D]), ``embedding`` of shape (B, E). Returns: (B, C_out, H, W[, D])."""
        h = self.conv1(self.act(self.norm1(x)))
        modulation = self.time_proj(embedding)
        scale, shift = modulation.view(*modulation.shape, *[1] * (x.ndim - 2)).chunk(2, dim=1)
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        return self.shortcut(x) + self.conv2(self.dropout(self.act(h)))
