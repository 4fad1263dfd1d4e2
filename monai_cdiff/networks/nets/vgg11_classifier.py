"""A network that says which class an image belongs to, as a judge of restorations."""

from __future__ import annotations

import torch
from torch import nn

from ...utils import check_integer, check_number

__all__ = ["VGG11Classifier"]

# Channels of the convolutions of configuration A, grouped by resolution.
_STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))
_LEAST_SIZE = 2 ** len(_STAGES)


class VGG11Classifier(nn.Module):
    """VGG11 (Simonyan & Zisserman, arXiv:1409.1556, configuration A) with batch normalisation and a pooled head.

    The three fully connected layers of the publication, 120 million weights that take one size of image, give way to
    the mean over the image and one linear layer, so that images of any size from 32 x 32 are taken and the network has
    9.2 million weights. Batch normalisation (arXiv:1502.03167) after each convolution lets it learn without weights
    from elsewhere.

    Args:
        in_channels: channels of the images.
        num_classes: how many classes there are.
        dropout: share of the pooled features that is dropped in training, from 0 to less than 1.

    Raises:
        ValueError: for numbers outside what is allowed.

    Example:
        >>> VGG11Classifier(num_classes=3)(torch.zeros(2, 1, 64, 48)).shape
        torch.Size([2, 3])
    """

    def __init__(self, in_channels: int = 1, num_classes: int = 3, dropout: float = 0.5) -> None:
        super().__init__()
        channels = check_integer("in_channels", in_channels, 1)
        layers: list[nn.Module] = []
        for stage in _STAGES:
            for width in stage:
                layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.convolutions = nn.Sequential(*layers)
        self.dropout = nn.Dropout(check_number("dropout", dropout, 0, 1 - 1e-9))
        self.head = nn.Linear(channels, check_integer("num_classes", num_classes, 2))
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """The pooled features, what the head decides by.

        Args:
            x: images (B, in_channels, H, W), H and W at least 32.

        Returns:
            Tensor (B, 512).

        Raises:
            ValueError: if the images are too small.
        """
        if x.ndim != 4 or min(x.shape[2:]) < _LEAST_SIZE:
            raise ValueError(f"x has shape {tuple(x.shape)}; allowed: (B, C, H, W), H and W at least {_LEAST_SIZE}.")
        return self.convolutions(x).mean(dim=(2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, num_classes) of images (B, in_channels, H, W), H and W at least 32."""
        return self.head(self.dropout(self.features(x)))
