"""Dictionary forms of the masks: ``InpaintMaskd`` writes a mask, ``MaskImaged`` takes what it covers out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform

from monai_cdiff.utils import MaskShape

from ..images import DrawnByArray, entry, key_of
from .array import AlignMask, InpaintMask, MaskImage, RandInpaintMask, RestoreMeasured

__all__ = [
    "AlignMaskD",
    "AlignMaskDict",
    "AlignMaskd",
    "InpaintMaskD",
    "InpaintMaskDict",
    "InpaintMaskd",
    "MaskImageD",
    "MaskImageDict",
    "MaskImaged",
    "RandInpaintMaskD",
    "RandInpaintMaskDict",
    "RandInpaintMaskd",
    "RestoreMeasuredD",
    "RestoreMeasuredDict",
    "RestoreMeasuredd",
]


class AlignMaskd(MapTransform):
    """Dictionary form of :class:`AlignMask`.

    Args:
        keys: keys of the masks, each of shape (1, h, w[, d]).
        ref_key: key of their image.
        allow_missing_keys: pass over ``keys`` that the data does not have; the image must be there.

    Example:
        >>> import torch
        >>> data = {"mask": torch.ones(1, 8, 8), "image": torch.ones(1, 8, 8)}
        >>> AlignMaskd("mask", ref_key="image")(data)["mask"].shape
        torch.Size([1, 8, 8])
    """

    backend = AlignMask.backend

    def __init__(self, keys: KeysCollection, ref_key: Hashable, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.ref_key = ref_key
        self.align = AlignMask()

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, Any]:
        """Return the data with the masks at ``keys`` aligned.

        Raises:
            KeyError: if the data lacks the image.
            ValueError: as :class:`AlignMask`.
        """
        d: dict[Hashable, Any] = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.align(d[key], entry(d, "ref_key", self.ref_key))
        return d


class InpaintMaskd(MapTransform):
    """Dictionary form of :class:`InpaintMask`: writes the mask of the item's ``key``, or else its ``subject``.

    Args:
        keys: key of the image that the mask is for, of shape (C, H, W) or (C, H, W, D).
        mask_key: where the mask goes.
        area: lowest and highest share of a slice that is masked.
        shapes: kinds of shapes.
        max_pieces: most boxes, or strokes, in a mask.
        seed: whole number; another one gives other masks.
        allow_missing_keys: pass over a key that the data does not have.

    Raises:
        ValueError: as :class:`InpaintMask`.

    Example:
        >>> import torch
        >>> InpaintMaskd("image")({"image": torch.zeros(1, 64, 64), "subject": "a"})["mask"].shape
        torch.Size([1, 64, 64])
    """

    backend = InpaintMask.backend

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: Hashable = "mask",
        area: Sequence[float] = (0.05, 0.25),
        shapes: Sequence[str] | str = tuple(MaskShape),
        max_pieces: int = 4,
        seed: int = 0,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.mask_key = mask_key
        self.draw = InpaintMask(area, shapes, max_pieces, seed)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, Any]:
        """Return the data with the mask."""
        d: dict[Hashable, Any] = dict(data)
        for key in self.key_iterator(d):
            d[self.mask_key] = self.draw(d[key], key_of(d))
        return d


class RandInpaintMaskd(DrawnByArray, MapTransform):
    """Dictionary form of :class:`RandInpaintMask`: writes a mask drawn for the image beside it.

    Args:
        keys: key of the image that the mask is for, of shape (C, H, W) or (C, H, W, D).
        mask_key: where the mask goes.
        area: lowest and highest share of a slice that is masked.
        shapes: kinds of shapes.
        max_pieces: most boxes, or strokes, in a mask.
        allow_missing_keys: pass over a key that the data does not have.

    Raises:
        ValueError: as :class:`RandInpaintMask`.

    Example:
        >>> import torch
        >>> draw = RandInpaintMaskd("image").set_random_state(seed=0)
        >>> draw({"image": torch.zeros(1, 64, 64)})["mask"].shape
        torch.Size([1, 64, 64])
    """

    backend = RandInpaintMask.backend

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: Hashable = "mask",
        area: Sequence[float] = (0.05, 0.25),
        shapes: Sequence[str] | str = tuple(MaskShape),
        max_pieces: int = 4,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.mask_key = mask_key
        self.drawn = RandInpaintMask(area, shapes, max_pieces)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, Any]:
        """Return the data with the mask."""
        d: dict[Hashable, Any] = dict(data)
        self.randomize()
        for key in self.key_iterator(d):
            d[self.mask_key] = self.drawn(d[key], randomize=False)
        return d


class MaskImaged(MapTransform):
    """Dictionary form of :class:`MaskImage`; to mask a copy, put MONAI's ``CopyItemsd`` before it.

    Args:
        keys: keys of the images to mask, each of shape (C, H, W) or (C, H, W, D).
        mask_key: key of the mask, of shape (1, H, W[, D]).
        fill: ``"mean"`` of the measured pixels of the slice, ``"harmonic"``, or a number.
        allow_missing_keys: pass over keys that the data does not have; the mask must be there.

    Raises:
        ValueError: as :class:`MaskImage`.

    Example:
        >>> import torch
        >>> data = {"condition": torch.ones(1, 8, 8), "mask": torch.eye(8)[None]}
        >>> MaskImaged("condition", fill=0)(data)["condition"].shape
        torch.Size([2, 8, 8])
    """

    backend = MaskImage.backend

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: Hashable = "mask",
        fill: float | str = "mean",
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.mask_key = mask_key
        self.mask_image = MaskImage(fill)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, Any]:
        """Return the data with the images at ``keys`` filled and their mask appended.

        Raises:
            KeyError: if the data lacks the mask.
            ValueError: as :class:`MaskImage`.
        """
        d: dict[Hashable, Any] = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.mask_image(d[key], entry(d, "mask_key", self.mask_key))
        return d


class RestoreMeasuredd(MapTransform):
    """Dictionary form of :class:`RestoreMeasured`.

    Args:
        keys: keys of the inpainted images in stored units, each of shape (C, H, W) or (C, H, W, D).
        measured_key: key of the image as it was read.
        mask_key: key of the mask.
        allow_missing_keys: pass over ``keys`` that the data does not have; the others must be there.

    Example:
        >>> import torch
        >>> data = {"pred": torch.zeros(1, 2, 2), "measured": torch.ones(1, 2, 2), "mask": torch.eye(2)[None]}
        >>> RestoreMeasuredd("pred", "measured")(data)["pred"].tolist()
        [[[0.0, 1.0], [1.0, 0.0]]]
    """

    backend = RestoreMeasured.backend

    def __init__(
        self,
        keys: KeysCollection,
        measured_key: Hashable,
        mask_key: Hashable = "mask",
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.measured_key = measured_key
        self.mask_key = mask_key
        self.restore = RestoreMeasured()

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, Any]:
        """Return the data with the measured pixels in the images at ``keys``.

        Raises:
            KeyError: if the data lacks the measured image or the mask.
            ValueError: as :class:`RestoreMeasured`.
        """
        d: dict[Hashable, Any] = dict(data)
        measured, mask = entry(d, "measured_key", self.measured_key), entry(d, "mask_key", self.mask_key)
        for key in self.key_iterator(d):
            d[key] = self.restore(d[key], measured, mask)
        return d


AlignMaskD = AlignMaskDict = AlignMaskd
InpaintMaskD = InpaintMaskDict = InpaintMaskd
MaskImageD = MaskImageDict = MaskImaged
RandInpaintMaskD = RandInpaintMaskDict = RandInpaintMaskd
RestoreMeasuredD = RestoreMeasuredDict = RestoreMeasuredd
