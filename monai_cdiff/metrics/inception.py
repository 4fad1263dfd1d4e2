"""The features of the literature's FID and KID."""

from __future__ import annotations

import os

import torch

from ..utils import check_number

__all__ = ["inception_features"]

_FILE = "weights-inception-2015-12-05-6726825d.pth"
_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{_FILE}"


def inception_features(weights: str | os.PathLike[str], data_range: float = 1.0) -> torch.nn.Module:
    """Last pooled features of the Inception network on which FID and KID are defined, by the package torch-fidelity.

    The package is Apache-2.0 and comes with ``pip install "monai_cdiff[evaluation]"``. Nothing is downloaded. The
    network was trained on photographs: its features say little of what matters in a medical image.

    Args:
        weights: torch-fidelity's file of weights, ``weights-inception-2015-12-05-6726825d.pth``.
        data_range: images are from 0 to this; they are rounded to 8 bits, values beyond are clipped.

    Returns:
        Images (B, C, H, W), C of 1 (repeated) or 3, to features (B, 2048), float32; resized to 299 x 299 within.

    Raises:
        ImportError: if torch-fidelity is not installed.
        FileNotFoundError: if there is no such file; the message says where to get it.
        ValueError: for a ``data_range`` that is not more than 0; when called, if the shape does not fit.

    Example:
        >>> features = inception_features("weights-inception-2015-12-05-6726825d.pth")  # doctest: +SKIP
        >>> metric = FIDMetric(features, name="inception-2015-12-05")  # doctest: +SKIP
    """
    limit = check_number("data_range", data_range, low=0, open_low=True)
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise ImportError(
            'inception_features needs the package torch-fidelity: pip install "monai_cdiff[evaluation]".'
        ) from error
    path = os.fspath(weights)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"weights={path!r} does not exist; give the path of {_FILE}, which is at {_URL}.")
    torch.load(path, map_location="cpu", weights_only=True)  # torch-fidelity itself would run what a pickle holds
    return _Inception(FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], path), limit)


class _Inception(torch.nn.Module):
    """The extractor, fed with what it takes: three channels of bytes."""

    def __init__(self, extractor: torch.nn.Module, data_range: float) -> None:
        super().__init__()
        self.extractor, self.data_range = extractor, data_range

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 1 or 3, H, W) -> (B, 2048)."""
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ValueError(f"images have shape {tuple(images.shape)}; they must be (B, C, H, W), C = 1 or 3.")
        levels = (images.float() * (255 / self.data_range)).round().clamp(0, 255).to(torch.uint8)
        return torch.as_tensor(self.extractor(levels.expand(-1, 3, -1, -1))[0])
