"""Pieces that the networks share."""

from __future__ import annotations

from .attention import SelfAttentionBlock
from .call_check import check_network_call
from .halving import halve
from .padding import crop_to_size, pad_to_multiple
from .residual import ResidualBlock
from .time_embedding import TimestepEmbedding, expand_timesteps

__all__ = [
    "ResidualBlock",
    "SelfAttentionBlock",
    "TimestepEmbedding",
    "check_network_call",
    "crop_to_size",
    "expand_timesteps",
    "halve",
    "pad_to_multiple",
]
