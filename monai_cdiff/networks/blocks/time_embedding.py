"""How a network learns which timestep it is called at."""

from __future__ import annotations

import torch
from monai.networks.nets.diffusion_model_unet import get_timestep_embedding
from torch import nn

from ...utils import check_number

__all__ = ["TimestepEmbedding", "expand_timesteps"]


def expand_timesteps(
    timesteps: torch.Tensor | float | None, batch_size: int, device: torch.device | str | None = None
) -> torch.Tensor:
    """Bring the forms in which a caller can give the timestep to one: a number per item of the batch.

    Args:
        timesteps: tensor of shape (B,), (1,) or (), or a finite number, or ``None`` for 0; fractions are allowed.
        batch_size: number of items B.
        device: device of the result.

    Returns:
        float32 tensor of shape (B,).

    Raises:
        ValueError: if the tensor has another shape or holds no real numbers, or if the number is not finite.

    Example:
        >>> expand_timesteps(2.5, batch_size=2)
        tensor([2.5000, 2.5000])
    """
    if not isinstance(timesteps, torch.Tensor):
        value = 0.0 if timesteps is None else check_number("timesteps", timesteps)
        return torch.full((batch_size,), value, dtype=torch.float32, device=device)
    if timesteps.is_complex() or timesteps.dtype == torch.bool:
        raise ValueError(f"timesteps has dtype {timesteps.dtype}; it must hold whole or fractional numbers.")
    if tuple(timesteps.shape) not in {(), (1,), (batch_size,)}:
        raise ValueError(
            f"timesteps has shape {tuple(timesteps.shape)}; allowed: ({batch_size},) for this batch, (1,) or ()."
        )
    return timesteps.to(device=device, dtype=torch.float32).expand(batch_size)


class TimestepEmbedding(nn.Module):
    """Sinusoids of the timestep, then a two-layer perceptron.

    The sinusoids are those of Ho et al., arXiv:2006.11239 (MONAI's ``get_timestep_embedding``). They are computed in
    float32 whatever the network's precision, since a half type cannot tell neighbouring timesteps near 1000 apart.
    The result has passed its last activation: the blocks it feeds only add a linear map of their own.

    Args:
        frequency_channels: number of sinusoids.
        embedding_channels: size E of the embedding.

    Example:
        >>> TimestepEmbedding(32, 128)(torch.tensor([0.0, 17.5])).shape
        torch.Size([2, 128])
    """

    def __init__(self, frequency_channels: int, embedding_channels: int) -> None:
        super().__init__()
        self.frequency_channels = frequency_channels
        self.first = nn.Linear(frequency_channels, embedding_channels)
        self.second = nn.Linear(embedding_channels, embedding_channels)
        self.act = nn.SiLU()

    def forward(self, timesteps: torch.Tensor) -> torch.Tensor:
        """Args: ``timesteps`` of shape (B,). Returns: shape (B, E)."""
        waves = get_timestep_embedding(timesteps, self.frequency_channels).to(self.first.weight.dtype)
        return self.act(self.second(self.act(self.first(waves))))
