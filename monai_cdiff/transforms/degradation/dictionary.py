"""Dictionary forms of the degradations; to degrade a copy, put MONAI's ``CopyItemsd`` before them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import InvertibleTransform, MapTransform, RandomizableTransform

from monai_cdiff.utils import DownsampleDomain

from ..images import DrawnByArray, entry
from .array import DownsampleUpsample, FactorChannel, RandDownsampleUpsample, UpsampleInPlane

__all__ = [
    "DownsampleUpsampleD",
    "DownsampleUpsampleDict",
    "DownsampleUpsampled",
    "FactorChannelD",
    "FactorChannelDict",
    "FactorChanneld",
    "RandDownsampleUpsampleD",
    "RandDownsampleUpsampleDict",
    "RandDownsampleUpsampled",
    "UpsampleInPlaneD",
    "UpsampleInPlaneDict",
    "UpsampleInPlaned",
]


class DownsampleUpsampled(MapTransform):
    """Dictionary form of :class:`DownsampleUpsample`.

    Args:
        keys: keys of the images to degrade, each of shape (C, H, W) or (C, H, W, D).
        factor: how much coarser the grid in between is, a finite number more than 1; or the key under which the data
            holds it, so that each item can have its own.
        domain: ``"image"`` or ``"kspace"``.
        mode: interpolation on the way back.
        allow_missing_keys: pass over keys that the data does not have.

    Raises:
        ValueError: as :class:`DownsampleUpsample`.

    Example:
        >>> from monai.transforms import Compose, CopyItemsd
        >>> make_condition = Compose([CopyItemsd("image", names="condition"), DownsampleUpsampled("condition", 4)])
        >>> sorted(make_condition({"image": torch.ones(1, 64, 64)}))
        ['condition', 'image']
    """

    backend = DownsampleUpsample.backend

    def __init__(
        self,
        keys: KeysCollection,
        factor: float | str,
        domain: str = DownsampleDomain.IMAGE,
        mode: str = "bilinear",
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.factor = factor
        known = 2.0 if isinstance(factor, str) else factor  # the other arguments are checked here all the same
        self.degrade = DownsampleUpsample(known, domain, mode)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, Any]:
        """Return the data with the images at ``keys`` degraded.

        Raises:
            KeyError: if the data lacks the key of the factor.
            ValueError: as :class:`DownsampleUpsample`, of the factor in the data too.
        """
        d: dict[Hashable, Any] = dict(data)
        degrade = self.degrade
        if isinstance(self.factor, str):
            degrade = DownsampleUpsample(entry(d, "factor", self.factor), degrade.domain, degrade.mode)
        for key in self.key_iterator(d):
            d[key] = degrade(d[key])
        return d


class FactorChanneld(MapTransform):
    """Dictionary form of :class:`FactorChannel`.

    Args:
        keys: keys of the images that get the channel, each of shape (C, H, W) or (C, H, W, D).
        factor: a finite number more than 1, or the key under which the data holds it.
        allow_missing_keys: pass over keys that the data does not have.

    Raises:
        ValueError: as :class:`FactorChannel`.

    Example:
        >>> FactorChanneld("condition", factor=4)({"condition": torch.ones(1, 8, 8)})["condition"].shape
        torch.Size([2, 8, 8])
    """

    backend = FactorChannel.backend

    def __init__(self, keys: KeysCollection, factor: float | str, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.factor = factor if isinstance(factor, str) else FactorChannel(factor).factor

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, Any]:
        """Return the data with the channel appended to the images at ``keys``.

        Raises:
            KeyError: if the data lacks the key of the factor.
            ValueError: as :class:`FactorChannel`, of the factor in the data too.
        """
        d: dict[Hashable, Any] = dict(data)
        append = FactorChannel(entry(d, "factor", self.factor) if isinstance(self.factor, str) else self.factor)
        for key in self.key_iterator(d):
            d[key] = append(d[key])
        return d


class RandDownsampleUpsampled(DrawnByArray, RandomizableTransform, MapTransform):
    """Dictionary form of :class:`RandDownsampleUpsample`; all keys share what is drawn.

    Args:
        keys: keys of the images to degrade, each of shape (C, H, W) or (C, H, W, D).
        factors: the factors to choose from, or one factor.
        factor_range: instead of ``factors``, the lowest and highest factor.
        domains: the domains to choose from, or one domain.
        prob: probability that the images are degraded at all, from 0 to 1.
        mode: interpolation on the way back.
        allow_missing_keys: pass over keys that the data does not have.

    Raises:
        ValueError: as :class:`RandDownsampleUpsample`.

    Example:
        >>> degrade = RandDownsampleUpsampled("condition", factors=(2, 4)).set_random_state(seed=0)
        >>> degrade({"condition": torch.ones(1, 64, 64)})["condition"].shape
        torch.Size([1, 64, 64])
    """

    backend = RandDownsampleUpsample.backend

    def __init__(
        self,
        keys: KeysCollection,
        factors: Sequence[float] | float | None = None,
        factor_range: tuple[float, float] | None = None,
        domains: Sequence[str] | str = DownsampleDomain.IMAGE,
        prob: float = 1.0,
        mode: str = "bilinear",
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.drawn = RandDownsampleUpsample(factors, factor_range, domains, prob, mode)
        RandomizableTransform.__init__(self, self.drawn.prob)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, Any]:
        """Return the data with the images at ``keys`` degraded alike."""
        d: dict[Hashable, Any] = dict(data)
        self.randomize()
        for key in self.key_iterator(d):
            d[key] = self.drawn(d[key], randomize=False)
        return d


class UpsampleInPlaned(MapTransform, InvertibleTransform):
    """Dictionary form of :class:`UpsampleInPlane`.

    Args:
        keys: keys of the images to bring to the finer grid, each of shape (C, h, w) or (C, h, w, D).
        factor: how much finer, a finite number more than 1.
        mode: ``"bilinear"``, ``"bicubic"``, ``"nearest-exact"`` or ``"kspace"``.
        allow_missing_keys: pass over keys that the data does not have.

    Raises:
        ValueError: as :class:`UpsampleInPlane`.

    Example:
        >>> UpsampleInPlaned("condition", factor=4)({"condition": torch.ones(1, 16, 16)})["condition"].shape
        torch.Size([1, 64, 64])
    """

    backend = UpsampleInPlane.backend

    def __init__(
        self, keys: KeysCollection, factor: float, mode: str = "bilinear", allow_missing_keys: bool = False
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.upsample = UpsampleInPlane(factor, mode)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, Any]:
        """Return the data with the images at ``keys`` on the finer grid."""
        d: dict[Hashable, Any] = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.upsample(d[key])
        return d

    def inverse(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Return the data with the images at ``keys`` back on the coarser grid."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.upsample.inverse(d[key])
        return d


DownsampleUpsampleD = DownsampleUpsampleDict = DownsampleUpsampled
RandDownsampleUpsampleD = RandDownsampleUpsampleDict = RandDownsampleUpsampled
UpsampleInPlaneD = UpsampleInPlaneDict = UpsampleInPlaned
FactorChannelD = FactorChannelDict = FactorChanneld
