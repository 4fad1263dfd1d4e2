"""Dictionary forms of the patient-wise intensity scaling."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import InvertibleTransform, MapTransform

from monai_cdiff.utils import check_flag

from ..images import entry
from .array import ScaleIntensityPatientwise, UnscaleIntensityPatientwise

__all__ = [
    "ScaleIntensityPatientwiseD",
    "ScaleIntensityPatientwiseDict",
    "ScaleIntensityPatientwised",
    "UnscaleIntensityPatientwiseD",
    "UnscaleIntensityPatientwiseDict",
    "UnscaleIntensityPatientwised",
]


class ScaleIntensityPatientwised(MapTransform, InvertibleTransform):
    """Dictionary form of :class:`ScaleIntensityPatientwise`, with the statistics of one key for all.

    ``keys=("image", "condition"), ref_key="condition"`` is the recommended recipe, which needs nothing that is missing
    at inference; ``ref_key="image", lower=0, upper=100`` is the paper's.

    Args:
        keys: keys of the images to scale.
        ref_key: key of the image whose statistics all keys use; by default each image uses its own.
        lower: percentile that becomes ``b_min``, from 0 to less than ``upper``.
        upper: percentile that becomes ``b_max``, up to 100.
        b_min: lower end of the scaled range.
        b_max: upper end of the scaled range.
        clip: cut values beyond the range; they cannot be recovered.
        padding_value: stored value that is left out of the statistics.
        allow_missing_keys: pass over ``keys`` that the data does not have; ``ref_key`` must be there.
        mask_key: key of a mask; voxels where it is not 0 are left out of the statistics.
        masked_nan: let voxels under the mask be NaN or infinite, for a ``MaskImaged`` that follows and fills them.

    Raises:
        ValueError: as :class:`ScaleIntensityPatientwise`.

    Example:
        >>> scale = ScaleIntensityPatientwised(("image", "condition"), ref_key="condition", lower=0, upper=100)
        >>> data = scale({"image": torch.tensor([[[0.0, 3.0]]]), "condition": torch.tensor([[[1.0, 2.0]]])})
        >>> data["image"].flatten().tolist(), data["condition"].flatten().tolist()
        ([-3.0, 3.0], [-1.0, 1.0])
    """

    backend = ScaleIntensityPatientwise.backend

    def __init__(
        self,
        keys: KeysCollection,
        ref_key: Hashable | None = None,
        lower: float = 0.5,
        upper: float = 99.5,
        b_min: float = -1.0,
        b_max: float = 1.0,
        clip: bool = False,
        padding_value: float | None = None,
        allow_missing_keys: bool = False,
        mask_key: Hashable | None = None,
        masked_nan: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.ref_key = ref_key
        self.mask_key = mask_key
        self.masked_nan = check_flag("masked_nan", masked_nan)
        self.scaler = ScaleIntensityPatientwise(lower, upper, b_min, b_max, clip, padding_value)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, Any]:
        """Return the data with the images at ``keys`` scaled.

        Raises:
            KeyError: if the data lacks ``ref_key`` or ``mask_key``, or one of ``keys`` without ``allow_missing_keys``.
            ValueError: as :class:`ScaleIntensityPatientwise`.
        """
        d: dict[Hashable, Any] = dict(data)
        mask = None if self.mask_key is None else entry(d, "mask_key", self.mask_key)
        shared = None if self.ref_key is None else self.scaler.intensity_range(entry(d, "ref_key", self.ref_key), mask)
        for key in self.key_iterator(d):
            intensity_range = shared or self.scaler.intensity_range(d[key], mask)
            d[key] = self.scaler.scale(d[key], intensity_range, mask if self.masked_nan else None)
        return d

    def inverse(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Return the data with the images at ``keys`` in stored units."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.scaler.inverse(d[key])
        return d


class UnscaleIntensityPatientwised(MapTransform):
    """Dictionary form of :class:`UnscaleIntensityPatientwise`: predictions back to stored units, for writing.

    Args:
        keys: keys of the predictions in scaled units; they need no metadata.
        ref_key: key of an image that :class:`ScaleIntensityPatientwised` returned; its metadata holds the range.
        allow_missing_keys: pass over ``keys`` that the data does not have; ``ref_key`` must be there.
        spread: the predictions are spreads (standard deviations, differences), so they are only multiplied.

    Example:
        >>> scale = ScaleIntensityPatientwised("condition", lower=0, upper=100)
        >>> data = scale({"condition": torch.tensor([[[0.0, 9.0]]])})
        >>> data["pred"] = torch.zeros(1, 1, 1)
        >>> UnscaleIntensityPatientwised("pred", ref_key="condition")(data)["pred"].item()
        4.5
    """

    backend = UnscaleIntensityPatientwise.backend

    def __init__(
        self, keys: KeysCollection, ref_key: Hashable, allow_missing_keys: bool = False, spread: bool = False
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.ref_key = ref_key
        self.unscaler = UnscaleIntensityPatientwise(spread)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, Any]:
        """Return the data with the predictions at ``keys`` in stored units.

        Raises:
            KeyError: if the data lacks ``ref_key``, or one of ``keys`` without ``allow_missing_keys``.
            ValueError: if the metadata at ``ref_key`` holds no range.
        """
        d: dict[Hashable, Any] = dict(data)
        reference = entry(d, "ref_key", self.ref_key)
        for key in self.key_iterator(d):
            d[key] = self.unscaler(d[key], reference)
        return d


ScaleIntensityPatientwiseD = ScaleIntensityPatientwiseDict = ScaleIntensityPatientwised
UnscaleIntensityPatientwiseD = UnscaleIntensityPatientwiseDict = UnscaleIntensityPatientwised
