"""Pieces that the networks share."""

from __future__ import annotations

from .attention import SelfAttentionBlock
from .halving import halve
from .residual import ResidualBlock
from .time_embedding import TimestepEmbedding, expand_timesteps

__all__ = ["ResidualBlock", "SelfAttentionBlock", "TimestepEmbedding", "expand_timesteps", "halve"]
