"""Perceptual distance between a restoration and the original."""

from __future__ import annotations

import hashlib
import os
import warnings

import torch
from monai.metrics.regression import RegressionMetric
from monai.utils import MetricReduction, look_up_option

from ..utils import check_finite, check_number, check_option

__all__ = ["LPIPSMetric"]

# Net -> the torchvision weights it stands on, and the least side of an image that reaches its last layer.
_BACKBONES = {
    "alex": ("alexnet-owt-7be5be79.pth", 31),
    "vgg": ("vgg16-397923af.pth", 16),
    "squeeze": ("squeezenet1_1-b8a52dc0.pth", 17),
}
_URL = "https://download.pytorch.org/models/"


class LPIPSMetric(RegressionMetric):
    """Learned perceptual image patch similarity (LPIPS), per image; 0 for equal images, less is better.

    Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", arXiv:1801.03924, eq. 1:
    squared differences of normalised features of a network, weighted per channel by heads that were fitted to human
    judgements, averaged over each layer and summed over the layers. Computed by the package ``lpips`` in float32.

    Values of different nets or versions cannot be compared: print the metric (``str``) beside them. The networks were
    trained on photographs; a grey image is repeated to three channels. Volumes are measured slice by slice along their
    last axis and averaged over the slices.

    ``lpips`` brings the heads only. The network below them is loaded from ``weights`` or from torch hub's cache, and
    never from the internet.

    Args:
        net: "alex", "vgg" or "squeeze".
        weights: file of torchvision's weights (a state dict) of AlexNet, VGG-16 or SqueezeNet 1.1; default: the file
            of torchvision's name in torch hub's cache, ``<torch.hub.get_dir()>/checkpoints``.
        version: of the heads and the scaling, "0.1" or "0.0" (of the paper's first release, with an input not scaled).
        data_range: images are from 0 to this; they are mapped to [-1, 1], and values beyond are not clipped.
        reduction: how images are combined, as in MONAI's metrics.
        get_not_nans: whether ``aggregate`` also returns how many values were not NaN.

    Raises:
        ValueError: for an argument outside what is allowed, or weights of another network; when called, if a shape is
            not (B, C, H, W) or (B, C, H, W, D) with C of 1 or 3, H or W is too small for the net, or an image holds NaN
            or infinite values.
        FileNotFoundError: if the weights are not there; the message says which file is wanted, where to get it and
            where to put it.

    Example:
        >>> metric = LPIPSMetric("alex", weights="alexnet-owt-7be5be79.pth")  # doctest: +SKIP
        >>> metric(restored, original).shape  # doctest: +SKIP
        torch.Size([2, 1])
    """

    def __init__(
        self,
        net: str = "alex",
        weights: str | os.PathLike[str] | None = None,
        version: str = "0.1",
        data_range: float = 1.0,
        reduction: MetricReduction | str = "mean",
        get_not_nans: bool = False,
    ) -> None:
        super().__init__(reduction=look_up_option(reduction, MetricReduction), get_not_nans=get_not_nans)
        self.net = check_option("net", net, _BACKBONES)
        self.version = check_option("version", version, ("0.1", "0.0"))
        self.data_range = check_number("data_range", data_range, low=0, open_low=True)
        self.weights = _find(self.net, weights)
        self.model = _build(self.net, self.version, self.weights)

    def __str__(self) -> str:
        return f"LPIPSMetric(net={self.net}, version={self.version})"

    def _check_shape(self, y_pred: torch.Tensor, y: torch.Tensor) -> None:
        super()._check_shape(y_pred, y)
        least = _BACKBONES[self.net][1]
        if y.ndim not in (4, 5) or y.shape[1] not in (1, 3) or min(y.shape[2:4]) < least or 0 in y.shape:
            raise ValueError(
                f"y has shape {tuple(y.shape)}; it must be (B, C, H, W[, D]), with C = 1 or 3 and H, W >= {least} for "
                f"net={self.net!r}."
            )

    @torch.no_grad()
    def _compute_metric(self, y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        self.model.to(y.device)
        restored, original = self._slices("y_pred", y_pred), self._slices("y", y)
        values = [self.model(a, b).flatten(1) for a, b in zip(restored, original, strict=True)]
        return torch.stack(values).mean(0)

    def _slices(self, name: str, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The images, or the slices of volumes, with three channels on [-1, 1]."""
        scaled = check_finite(name, images).float() * (2 / self.data_range) - 1
        scaled = scaled if scaled.ndim == 5 else scaled.unsqueeze(-1)
        return scaled.expand(-1, 3, -1, -1, -1).unbind(-1)


def _find(net: str, weights: str | os.PathLike[str] | None) -> str:
    """Path of the weights; an error that helps if there are none."""
    file = _BACKBONES[net][0]
    cached = os.path.join(torch.hub.get_dir(), "checkpoints", file)
    path = cached if weights is None else os.fspath(weights)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"weights={weights!r}: {path} does not exist. net={net!r} needs torchvision's {file}: get it from "
            f"{_URL}{file} and give its path as weights, or put it at {cached}."
        )
    return path


def _build(net: str, version: str, path: str) -> torch.nn.Module:
    """The network of ``lpips`` with the weights of a file, without touching the global random state."""
    from lpips import LPIPS

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?s).*(pretrained|weight enum)")  # lpips' call of torchvision
        model = LPIPS(net=net, version=version, pnet_rand=True, verbose=False)
    given = torch.load(path, map_location="cpu", weights_only=True)
    # "slice2.3.weight" of lpips is "features.3.weight" of torchvision
    names = {name: "features." + name.partition(".")[2] for name in model.net.state_dict()}
    missing = [name for name in names.values() if not isinstance(given, dict) or name not in given]
    if missing:
        raise ValueError(f"weights={path!r} lacks {missing[0]!r}: these are not torchvision's weights for net={net!r}.")
    try:
        model.net.load_state_dict({name: given[source] for name, source in names.items()})
    except RuntimeError as error:
        raise ValueError(f"weights={path!r} do not fit net={net!r}: {error}") from error
    if not _is_published(net, path):
        warnings.warn(
            f"weights={path!r} are not torchvision's {_BACKBONES[net][0]} by checksum: values cannot be compared with "
            "those of others.",
            stacklevel=3,
        )
    return model.requires_grad_(False).eval()


def _is_published(net: str, path: str) -> bool:
    """Whether the file's SHA-256 begins as torchvision's file name says."""
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return digest.startswith(_BACKBONES[net][0].rpartition("-")[2].removesuffix(".pth"))
