"""Degradations of one channel-first image, thin over :mod:`monai_cdiff.operators`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from monai.config import NdarrayOrTensor
from monai.transforms import InvertibleTransform, RandomizableTransform, Resize, Transform
from monai.transforms.utils import scale_affine
from monai.utils import TraceKeys, TransformBackends, convert_to_tensor, ensure_tuple

from monai_cdiff.operators import UPSAMPLE_MODES, downsample, downsample_upsample, high_resolution_size, upsample
from monai_cdiff.utils import DownsampleDomain, check_number, check_option

from ..images import channel_first, floating, like, with_record

__all__ = ["DownsampleUpsample", "FactorChannel", "RandDownsampleUpsample", "UpsampleInPlane"]


class DownsampleUpsample(Transform):
    """Take in-plane resolution away and return to the same grid: the condition of super-resolution.

    The first two spatial axes are in-plane; slices never mix. Metadata is kept, and what was done is written to
    ``meta["degradation"]`` as a string.

    Args:
        factor: how much coarser the grid in between is, a finite number more than 1; the paper has 2 sqrt(2), 4,
            4 sqrt(2), 8, 8 sqrt(2) and 16.
        domain: ``"image"`` (anti-aliased resize) or ``"kspace"`` (the centre of the Fourier transform is kept).
        mode: interpolation on the way back: ``"bilinear"``, ``"bicubic"``, ``"nearest-exact"`` or ``"kspace"``.

    Raises:
        ValueError: if an argument is out of range or unknown.

    Example:
        >>> DownsampleUpsample(factor=4)(torch.ones(1, 64, 48)).shape
        torch.Size([1, 64, 48])
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, factor: float, domain: str = DownsampleDomain.IMAGE, mode: str = "bilinear") -> None:
        self.factor = check_number("factor", factor, 1.0, open_low=True)
        self.domain = check_option("domain", domain, DownsampleDomain)
        self.mode = check_option("mode", mode, UPSAMPLE_MODES)

    def __call__(self, img: NdarrayOrTensor) -> torch.Tensor:
        """Degrade one image.

        Args:
            img: shape (C, H, W) or (C, H, W, D).

        Returns:
            The degraded image, same shape; of its floating point type, float32 for integers.

        Raises:
            ValueError: if the image has another number of axes or fewer than 2 pixels would remain along one.
        """
        image = channel_first("img", img)
        values = convert_to_tensor(image, track_meta=False)[None]
        low = downsample_upsample(values, self.factor, self.domain, self.mode)[0]
        return with_record(low, image, f"downsample factor={self.factor:.6g} domain={self.domain}")


class RandDownsampleUpsample(RandomizableTransform):
    """:class:`DownsampleUpsample` with a factor and a domain drawn for each image.

    Args:
        factors: the factors to choose from, each as likely; or one factor.
        factor_range: instead of ``factors``, the lowest and highest factor; the logarithm is drawn uniformly, so that
            2 to 4 is as likely as 4 to 8.
        domains: the domains to choose from, each as likely; or one domain.
        prob: probability that an image is degraded at all, from 0 to 1. One that is not keeps its values, and
            ``meta["degradation"]`` is ``"none"``.
        mode: interpolation on the way back; see :class:`DownsampleUpsample`.

    Raises:
        ValueError: if not exactly one of ``factors`` and ``factor_range`` is given, or an argument is out of range or
            unknown.

    Example:
        >>> degrade = RandDownsampleUpsample(factor_range=(2, 8), domains=("image", "kspace")).set_random_state(seed=0)
        >>> degrade(torch.ones(1, 64, 48)).shape
        torch.Size([1, 64, 48])
    """

    backend = DownsampleUpsample.backend

    def __init__(
        self,
        factors: Sequence[float] | float | None = None,
        factor_range: tuple[float, float] | None = None,
        domains: Sequence[str] | str = DownsampleDomain.IMAGE,
        prob: float = 1.0,
        mode: str = "bilinear",
    ) -> None:
        RandomizableTransform.__init__(self, check_number("prob", prob, 0.0, 1.0))
        if (factors is None) == (factor_range is None):
            raise ValueError(
                f"factors={factors!r} and factor_range={factor_range!r}: exactly one of the two must be given."
            )
        given = ensure_tuple(factors if factor_range is None else factor_range)
        name = "factors" if factor_range is None else "factor_range"
        self.factors = tuple(check_number(name, factor, 1.0, open_low=True) for factor in given)
        self.is_range = factor_range is not None
        if self.is_range and (len(self.factors) != 2 or self.factors[0] > self.factors[1]):
            raise ValueError(f"factor_range={factor_range!r} must be the lowest and the highest factor.")
        self.domains = tuple(check_option("domains", domain, DownsampleDomain) for domain in ensure_tuple(domains))
        if not self.factors or not self.domains:
            raise ValueError(f"factors={factors!r} and domains={domains!r} must each hold at least one entry.")
        self.mode = check_option("mode", mode, UPSAMPLE_MODES)
        self._factor = self.factors[0]
        self._domain = self.domains[0]

    def randomize(self, data: Any = None) -> None:
        """Draw whether to degrade, and the factor and domain if so."""
        super().randomize(data)
        if not self._do_transform:
            return
        if self.is_range:
            low, high = self.factors
            self._factor = low * (high / low) ** float(self.R.uniform())
        else:
            self._factor = self.factors[self.R.randint(len(self.factors))]
        self._domain = self.domains[self.R.randint(len(self.domains))]

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> torch.Tensor:
        """Degrade one image.

        Args:
            img: shape (C, H, W) or (C, H, W, D).
            randomize: draw anew; otherwise what was drawn last is used again.

        Returns:
            The degraded image, same shape; of its floating point type, float32 for integers.

        Raises:
            ValueError: if the image has another number of axes or fewer than 2 pixels would remain along one.
        """
        image = channel_first("img", img)
        if randomize:
            self.randomize()
        if self._do_transform:
            return DownsampleUpsample(self._factor, self._domain, self.mode)(image)
        return with_record(floating(image), image, "none")


class FactorChannel(Transform):
    """Tell the network the factor: a further channel that holds ``log2(factor) - 2`` everywhere, 0 at factor 4.

    One network then serves many factors, between those of its training too.

    Args:
        factor: how much coarser the measured grid is, a finite number more than 1.

    Raises:
        ValueError: if the factor is out of range.

    Example:
        >>> FactorChannel(factor=8)(torch.zeros(1, 2, 2))[1].tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, factor: float) -> None:
        self.factor = check_number("factor", factor, 1.0, open_low=True)

    def __call__(self, img: NdarrayOrTensor) -> torch.Tensor:
        """Append the channel to one image.

        Args:
            img: shape (C, H, W) or (C, H, W, D).

        Returns:
            Shape (C + 1, H, W[, D]); of the image's floating point type, float32 for integers.

        Raises:
            ValueError: if the image has another number of axes.
        """
        image = channel_first("img", img)
        values = floating(image)
        channel = torch.full_like(values[:1], math.log2(self.factor) - 2)
        return like(torch.cat([values, channel]), image)


class UpsampleInPlane(InvertibleTransform):
    """Bring a low-resolution image to the grid that is finer in-plane, over exactly the same field of view.

    The affine follows: along each in-plane axis of ``n`` old and ``N = round(n * factor)`` new pixels the spacing is
    multiplied by ``n / N``, and the origin moves by ``(n / N - 1) / 2`` old pixels, so that the outer edges stay where
    they are in the world. The inverse returns to the coarser grid by an anti-aliased resize.

    Args:
        factor: how much finer, a finite number more than 1, not necessarily whole.
        mode: ``"bilinear"``, ``"bicubic"``, ``"nearest-exact"`` or ``"kspace"``; slices never mix.

    Raises:
        ValueError: if an argument is out of range or unknown.

    Example:
        >>> UpsampleInPlane(factor=2.5)(torch.ones(1, 20, 16, 5)).shape
        torch.Size([1, 50, 40, 5])
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, factor: float, mode: str = "bilinear") -> None:
        self.factor = check_number("factor", factor, 1.0, open_low=True)
        self.mode = check_option("mode", mode, UPSAMPLE_MODES)

    def __call__(self, img: NdarrayOrTensor) -> torch.Tensor:
        """Bring one image to the finer grid.

        Args:
            img: shape (C, h, w) or (C, h, w, D).

        Returns:
            The image on the finer grid; of its floating point type, float32 for integers.

        Raises:
            ValueError: if the image has another number of axes.
        """
        image = channel_first("img", img)
        values = convert_to_tensor(image, track_meta=False)[None]
        fine = upsample(values, high_resolution_size(image.shape[1:3], self.factor), self.mode)[0]
        return self._on_new_grid(fine, image)

    def inverse(self, data: torch.Tensor) -> torch.Tensor:
        """Return to the coarser grid the image came from.

        Args:
            data: what the transform returned, or what was computed from it on the same grid, shape (C, H, W[, D]).

        Returns:
            The image on the coarser grid, with that grid's affine.

        Raises:
            ValueError: if the data does not carry the trace of a transform.
            RuntimeError: if it carries that of others only.
        """
        image = like(convert_to_tensor(data, track_meta=False), data)
        info = self.pop_transform(image)
        size = tuple(info[TraceKeys.ORIG_SIZE])
        if info[TraceKeys.EXTRA_INFO]["mode"] == "nearest":  # set by MONAI's Invertd, for labels
            resize = Resize(size, mode="nearest-exact")
            with resize.trace_transform(False):
                return resize(image)
        values = downsample(convert_to_tensor(image, track_meta=False)[None], size=size[:2])[0]
        with self.trace_transform(False):
            return self._on_new_grid(values, image)

    def _on_new_grid(self, values: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        out = like(values, image)
        old, new = tuple(image.shape[1:]), tuple(values.shape[1:])
        info = {"mode": self.mode}
        return self.push_transform(out, sp_size=new, affine=scale_affine(old, new), orig_size=old, extra_info=info)
