"""The hierarchical probabilistic U-Net: a U-Net whose coarse decoder levels are told what cannot be known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from monai.networks.layers.factories import Conv, Pool
from torch import nn
from torch.nn import functional as F

from ...utils import Generators, check_integer, check_option, randn
from ..blocks import check_network_call, crop_to_size, pad_to_multiple

__all__ = ["HPUNET_SIZES", "HPUNetSize", "HierarchicalProbabilisticUNet", "VariationalOutput", "kl_of_normals"]

_LOG_SIGMA_RANGE = 5.0


class VariationalOutput(NamedTuple):
    """What a variational network says in training.

    Args:
        reconstruction: the image from latents of the posterior, shape (B, C, H, W[, D]).
        kl: divergence of posterior and prior in nats, summed over the latents of each scale, shape (B, scales), the
            coarsest scale first.
    """

    reconstruction: torch.Tensor
    kl: torch.Tensor


class _Normal(NamedTuple):
    mean: torch.Tensor
    log_sigma: torch.Tensor


def kl_of_normals(
    mean_q: torch.Tensor, log_sigma_q: torch.Tensor, mean_p: torch.Tensor, log_sigma_p: torch.Tensor
) -> torch.Tensor:
    """``KL(q || p)`` of independent normal distributions, value by value.

    ``log(sigma_p / sigma_q) + (sigma_q^2 + (mu_q - mu_p)^2) / (2 sigma_p^2) - 1/2``

    Args:
        mean_q: means of q.
        log_sigma_q: logarithms of the standard deviations of q.
        mean_p: means of p.
        log_sigma_p: logarithms of the standard deviations of p.

    Returns:
        The divergences in nats, shape of the arguments.

    Example:
        >>> zero = torch.zeros(1)
        >>> kl_of_normals(zero + 2, zero, zero, zero)
        tensor([2.])
    """
    difference = log_sigma_p - log_sigma_q
    return difference + 0.5 * (torch.exp(-2 * difference) + ((mean_q - mean_p) * torch.exp(-log_sigma_p)) ** 2 - 1)


@dataclass(frozen=True)
class HPUNetSize:
    """The shape of a :class:`HierarchicalProbabilisticUNet`.

    Args:
        channels: width of each level, the finest first, each even.
        latent_channels: latents per position at each scale, the coarsest level first; fewer than levels.
        num_res_blocks: residual blocks of each level, on the way down and on the way up.

    Raises:
        ValueError: if a value is out of range.
    """

    channels: tuple[int, ...]
    latent_channels: tuple[int, ...]
    num_res_blocks: int

    def __post_init__(self) -> None:
        for name in ("channels", "latent_channels"):
            for i, value in enumerate(getattr(self, name)):
                check_integer(f"{name}[{i}]", value, low=1)
        check_integer("num_res_blocks", self.num_res_blocks, low=1)
        if any(width % 2 for width in self.channels):
            raise ValueError(f"channels={self.channels} must be even: the residual blocks work at half their width.")
        if not 1 <= len(self.latent_channels) < len(self.channels):
            raise ValueError(
                f"latent_channels={self.latent_channels} must name at least one scale and fewer than the "
                f"{len(self.channels)} levels of channels={self.channels}."
            )


HPUNET_SIZES: Mapping[str, HPUNetSize] = MappingProxyType(
    {
        "paper": HPUNetSize((24, 48, 96, 192, 192, 192, 192, 192), (1, 1, 1, 1), 3),
        "small": HPUNetSize((32, 64, 128, 128, 128), (1, 1, 1), 1),
        "tiny": HPUNetSize((4, 8, 8), (1, 1), 1),
    }
)


class _ResidualBlock(nn.Module):
    """Three activated 3x3 convolutions at half the width and a 1x1 convolution back, beside a shortcut."""

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        conv, half = Conv[Conv.CONV, spatial_dims], out_channels // 2
        self.convolutions = nn.ModuleList(
            [conv(before, half, kernel_size=3, padding=1) for before in (in_channels, half, half)]
        )
        self.expand = conv(half, out_channels, kernel_size=1)
        self.shortcut = nn.Identity() if in_channels == out_channels else conv(in_channels, out_channels, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x
        for convolution in self.convolutions:
            h = convolution(F.relu(h))
        return self.shortcut(x) + self.expand(h)


def _blocks(spatial_dims: int, in_channels: int, out_channels: int, count: int) -> nn.Sequential:
    widths = [in_channels, *[out_channels] * count]
    return nn.Sequential(*[_ResidualBlock(spatial_dims, a, b) for a, b in zip(widths, widths[1:])])


class _HierarchicalCore(nn.Module):
    """Encoder, and as much of the decoder as has latents: one of them is the prior, one the posterior.

    The normal distribution of a scale depends on the latents of all coarser ones, which are concatenated to the
    features before these are brought to the next level.
    """

    def __init__(self, spatial_dims: int, in_channels: int, config: HPUNetSize) -> None:
        super().__init__()
        widths, count, latents = config.channels, config.num_res_blocks, config.latent_channels
        conv, coarse = Conv[Conv.CONV, spatial_dims], widths[::-1]
        self.pool = Pool[Pool.AVG, spatial_dims](2)
        self.encoder = nn.ModuleList(
            [_blocks(spatial_dims, a, b, count) for a, b in zip((in_channels, *widths), widths)]
        )
        self.heads = nn.ModuleList([conv(width, 2 * n, kernel_size=1) for width, n in zip(coarse, latents)])
        # the level after the last latent belongs to the decoder that both share
        self.decoder = nn.ModuleList(
            [
                _blocks(spatial_dims, coarse[i] + n + coarse[i + 1], coarse[i + 1], count)
                for i, n in enumerate(latents[:-1])
            ]
        )

    def encode(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Features of each level, the finest first."""
        features: list[torch.Tensor] = []
        for blocks in self.encoder:
            features.append(blocks(self.pool(features[-1]) if features else x))
        return features

    def distribution(self, scale: int, h: torch.Tensor) -> _Normal:
        """What the latents of a scale are, given the features there."""
        mean, raw = self.heads[scale](h).float().chunk(2, dim=1)
        return _Normal(mean, _LOG_SIGMA_RANGE * torch.tanh(raw / _LOG_SIGMA_RANGE))


def _finer(h: torch.Tensor, z: torch.Tensor | None, skip: torch.Tensor) -> torch.Tensor:
    """Features and latents on the grid of the next level, with that level's features."""
    joined = h if z is None else torch.cat([z.to(h.dtype), h], dim=1)
    return torch.cat([F.interpolate(joined, scale_factor=2.0, mode="nearest"), skip], dim=1)


class HierarchicalProbabilisticUNet(nn.Module):
    """Hierarchical probabilistic U-Net, 2-D and 3-D, for images of any size.

    Kohl et al., "A hierarchical probabilistic U-Net for modeling multi-scale ambiguities", arXiv:1905.13077. The prior
    ``p(z | x) = prod_i p(z_i | z_<i, x)`` is a U-Net whose coarsest decoder levels each give a normal distribution for
    the latents of their scale; the posterior ``q(z | y, x)`` is a second such network that sees the original as well.
    A restoration draws the latents of one scale after another from the prior. In training the latents come from the
    posterior, and :class:`monai_cdiff.losses.EvidenceLowerBoundLoss` or :class:`monai_cdiff.losses.GECOLoss` weighs
    reconstruction against ``sum_i KL(q(z_i | z_<i, y, x) || p(z_i | z_<i, x))``. Hung et al., cited by the paper as
    reference 2, use such a network to inpaint ultrasound images.

    =========  =====================================  =========  ======  ==========  =====
    size       channels                               latents    blocks  parameters  GFLOP
    =========  =====================================  =========  ======  ==========  =====
    ``paper``  24, 48, 96, 192, 192, 192, 192, 192    1, 1, 1, 1  3      20.6 M      5.32
    ``small``  32, 64, 128, 128, 128                  1, 1, 1     1      2.12 M      2.91
    ``tiny``   4, 8, 8                                1, 1        1      0.0052 M    0.030
    =========  =====================================  =========  ======  ==========  =====

    Parameters are of prior, posterior and decoder together; operations (two per multiplication with addition) are for
    one 2-D restoration at 128x128 with ``in_channels=1, out_channels=1``.

    What differs from the publication:

    - It returns an image, not the logits of a segmentation.
    - The heads of the latents start at zero: at first prior and posterior are the standard normal distribution and
      the divergence is exactly 0. Their log standard deviation is kept within -5 and 5, softly.
    - The posterior ends at its last latents; the publication's has a further decoder level that nothing uses.
    - Sizes that do not divide by ``size_multiple`` are padded at the far end by repeating the border, and cropped.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the condition.
        out_channels: channels of the image.
        size: a row of the table above; the other arguments replace single entries of it.
        channels: width of each level, the finest first, each even.
        latent_channels: latents per position at each scale, the coarsest level first; fewer than levels.
        num_res_blocks: residual blocks of each level.

    Raises:
        ValueError: if an argument is out of range, or ``size`` is not in the table.

    Example:
        >>> net = HierarchicalProbabilisticUNet(spatial_dims=2, in_channels=1, out_channels=1, size="tiny").eval()
        >>> condition, original = torch.zeros(1, 1, 50, 33), torch.ones(1, 1, 50, 33)
        >>> net(condition, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([1, 1, 50, 33])
        >>> net(condition, target=original).kl.shape
        torch.Size([1, 2])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        size: str = "paper",
        channels: Sequence[int] | None = None,
        latent_channels: Sequence[int] | None = None,
        num_res_blocks: int | None = None,
    ) -> None:
        super().__init__()
        self.spatial_dims = dims = check_integer("spatial_dims", spatial_dims, low=2, high=3)
        self.in_channels = check_integer("in_channels", in_channels, low=1)
        self.out_channels = check_integer("out_channels", out_channels, low=1)
        self.size = check_option("size", size, HPUNET_SIZES)
        given: dict[str, Any] = {
            "channels": None if channels is None else tuple(channels),
            "latent_channels": None if latent_channels is None else tuple(latent_channels),
            "num_res_blocks": num_res_blocks,
        }
        self.config = replace(HPUNET_SIZES[self.size], **{k: v for k, v in given.items() if v is not None})
        self.prior = _HierarchicalCore(dims, self.in_channels, self.config)
        self.posterior = _HierarchicalCore(dims, self.in_channels + self.out_channels, self.config)
        coarse, latents = self.config.channels[::-1], self.config.latent_channels
        self.decoder = nn.ModuleList(
            _blocks(
                dims,
                coarse[i] + coarse[i + 1] + (latents[i] if i < len(latents) else 0),
                coarse[i + 1],
                self.config.num_res_blocks,
            )
            for i in range(len(latents) - 1, len(coarse) - 1)
        )
        self.head = Conv[Conv.CONV, dims](coarse[-1], self.out_channels, kernel_size=1)
        self._init_weights()

    def _init_weights(self) -> None:
        """Orthogonal weights, as in the publication."""
        for module in self.modules():
            if isinstance(module, nn.modules.conv._ConvNd) and module.bias is not None:
                nn.init.orthogonal_(module.weight)
                nn.init.trunc_normal_(module.bias, std=0.001)
        for core in (self.prior, self.posterior):
            for head in core.heads:
                for parameter in head.parameters():
                    nn.init.zeros_(parameter)

    @property
    def size_multiple(self) -> int:
        """What image sizes are padded to a multiple of: one voxel of the coarsest level."""
        return 2 ** (len(self.config.channels) - 1)

    def forward(
        self,
        x: torch.Tensor,
        timesteps: torch.Tensor | float | None = None,
        context: torch.Tensor | None = None,
        class_labels: torch.Tensor | None = None,
        target: torch.Tensor | None = None,
        generator: Generators = None,
    ) -> torch.Tensor | VariationalOutput:
        """Restore from the condition, or with ``target`` reconstruct the original for the loss.

        Args:
            x: condition, shape (B, in_channels, H, W[, D]), any size from 1.
            timesteps: must be ``None``: the network restores in one call.
            context: must be ``None``.
            class_labels: must be ``None``.
            target: the original, shape (B, out_channels, H, W[, D]): latents come from the posterior then.
            generator: where the noise of the latents comes from, one for the batch or one per item. Without it, latents
                are drawn by torch's own generator in training mode and are the means in evaluation mode.

        Returns:
            The image, shape (B, out_channels, H, W[, D]); with ``target`` the reconstruction and its divergences.

        Raises:
            ValueError: if a shape is wrong, or an argument is given that the network does not use.
        """
        check_network_call(self, x, timesteps=timesteps, context=context, class_labels=class_labels)
        wanted = (len(x), self.out_channels, *x.shape[2:])
        if target is not None and target.shape != wanted:
            raise ValueError(f"target has shape {tuple(target.shape)}; expected {wanted} for this x.")
        padded, latents, posteriors = pad_to_multiple(x, self.size_multiple), None, None
        if target is not None:
            seen = torch.cat([padded, pad_to_multiple(target, self.size_multiple)], dim=1)
            latents, posteriors = self._descend(self.posterior, self.posterior.encode(seen), None, generator)[1:]
        features = self.prior.encode(padded)
        h, used, priors = self._descend(self.prior, features, latents, generator)
        image = crop_to_size(self._finish(h, used[-1], features), x.shape[2:])
        if posteriors is None:
            return image
        kl = [kl_of_normals(*q, *p).flatten(1).sum(dim=1) for q, p in zip(posteriors, priors)]
        return VariationalOutput(image, torch.stack(kl, dim=1))

    def _descend(
        self,
        core: _HierarchicalCore,
        features: list[torch.Tensor],
        latents: list[torch.Tensor] | None,
        generator: Generators,
    ) -> tuple[torch.Tensor, list[torch.Tensor], list[_Normal]]:
        """From the coarsest features to the last scale with latents: features there, latents, distributions."""
        used: list[torch.Tensor] = []
        distributions: list[_Normal] = []
        h = features[-1]
        for scale in range(len(self.config.latent_channels)):
            if scale:
                h = core.decoder[scale - 1](_finer(h, used[-1], features[-1 - scale]))
            distributions.append(core.distribution(scale, h))
            used.append(self._draw(distributions[-1], generator) if latents is None else latents[scale])
        return h, used, distributions

    def _finish(self, h: torch.Tensor, z: torch.Tensor | None, features: list[torch.Tensor]) -> torch.Tensor:
        """From the last scale with latents to the image."""
        level = len(self.config.latent_channels)
        for blocks in self.decoder:
            h = blocks(_finer(h, z, features[-1 - level]))
            z, level = None, level + 1
        return self.head(h)

    def _draw(self, distribution: _Normal, generator: Generators) -> torch.Tensor:
        mean, log_sigma = distribution
        if generator is None and not self.training:
            return mean
        return mean + log_sigma.exp() * randn(mean.shape, generator, mean.device, mean.dtype)
