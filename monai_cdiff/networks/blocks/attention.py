"""Self-attention over all positions of a feature map."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["SelfAttentionBlock"]


class SelfAttentionBlock(nn.Module):
    """Residual multi-head self-attention between all positions of an image or a volume.

    Group normalisation, one linear map to queries, keys and values, scaled dot-product attention (Vaswani et al.,
    arXiv:1706.03762, eq. 1) by :func:`torch.nn.functional.scaled_dot_product_attention`, one linear map back. That
    last map starts at zero, so that a fresh block returns its input. There is no position code: the block works at
    any size. MONAI's ``SpatialAttentionBlock`` does the same but needs ``einops``, and does not start at zero.

    Args:
        channels: number of channels C.
        num_head_channels: channels of one head; divides C.
        norm_num_groups: groups of the normalisation; divides C.

    Raises:
        ValueError: if ``num_head_channels`` does not divide ``channels``.

    Example:
        >>> block = SelfAttentionBlock(channels=16, num_head_channels=8, norm_num_groups=4)
        >>> block(torch.zeros(1, 16, 4, 6)).shape
        torch.Size([1, 16, 4, 6])
    """

    def __init__(self, channels: int, num_head_channels: int, norm_num_groups: int = 32) -> None:
        super().__init__()
        if num_head_channels < 1 or channels % num_head_channels:
            raise ValueError(f"num_head_channels={num_head_channels} must divide the number of channels, {channels}.")
        self.num_heads = channels // num_head_channels
        self.norm = nn.GroupNorm(norm_num_groups, channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out_proj = nn.Linear(channels, channels)
        nn.init.zeros_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Args: ``x`` of shape (B, C, H, W[, D]). Returns: the same shape."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        batch, length, channels = tokens.shape
        heads = self.qkv(tokens).view(batch, length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = heads.unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(batch, length, channels)
        return x + self.out_proj(mixed).transpose(1, 2).reshape(x.shape)
