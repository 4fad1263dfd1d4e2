"""Patient-wise intensity scaling of one channel-first image, and the exact way back to stored units."""

from __future__ import annotations

import contextlib
import json
from typing import NamedTuple

import numpy as np
import torch
from monai.config import NdarrayOrTensor
from monai.data import MetaTensor, get_track_meta
from monai.transforms import InvertibleTransform, Transform
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_tensor

from monai_cdiff.utils import check_finite, check_flag, check_number

__all__ = ["ScaleIntensityPatientwise", "UnscaleIntensityPatientwise"]

RANGE_KEY = "intensity_range"


class ScaleIntensityPatientwise(InvertibleTransform):
    """Scale an image so that two percentiles of the patient's whole volume fall on ``b_min`` and ``b_max``.

    One line for all voxels: ``y = b_min + (x - low) * (b_max - b_min) / (high - low)``, with ``low`` and ``high`` taken
    over all channels and slices of the volume, or of another one (``reference``). At inference only the degraded volume
    exists, so the recommended recipe takes its robust percentiles in training too and lets the values beyond them be;
    ``lower=0, upper=100`` of the original is the paper's "patient-wise [-1, 1]".

    Special cases:

    - The percentiles coincide, but not all values are equal: minimum and maximum take their place.
    - All values of the reference are equal: ``high - low`` is taken as 1, so that a constant goes to ``b_min``.
    - Voxels equal to ``padding_value`` are left out of the statistics and scaled like all others. Without it, so are
      those that the metadata of a DICOM series call padding (``padding``), and whatever lies beyond all others.
    - NaN or infinite voxels: an error in the image; left out of the statistics in a reference.

    What was used is kept as one string, ``meta["intensity_range"]``: JSON with the numbers ``low``, ``high``, ``b_min``
    and ``b_max``. :meth:`inverse` reads it. Without clipping, the inverse is exact up to float32 rounding.

    Args:
        lower: percentile that becomes ``b_min``, from 0 (the minimum) to less than ``upper``.
        upper: percentile that becomes ``b_max``, up to 100 (the maximum).
        b_min: lower end of the scaled range.
        b_max: upper end of the scaled range, more than ``b_min``.
        clip: cut values beyond the range; they cannot be recovered.
        padding_value: stored value that fills the surroundings of the image, if there is one.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> scale = ScaleIntensityPatientwise(lower=0, upper=100)
        >>> scaled = scale(torch.tensor([[[0.0, 100.0], [50.0, 25.0]]]))
        >>> scaled.flatten().tolist(), scale.inverse(scaled).flatten().tolist()
        ([-1.0, 1.0, 0.0, -0.5], [0.0, 100.0, 50.0, 25.0])
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self,
        lower: float = 0.5,
        upper: float = 99.5,
        b_min: float = -1.0,
        b_max: float = 1.0,
        clip: bool = False,
        padding_value: float | None = None,
    ) -> None:
        self.lower = check_number("lower", lower, 0.0, 100.0)
        self.upper = check_number("upper", upper, 0.0, 100.0)
        if self.lower >= self.upper:
            raise ValueError(f"lower={lower!r} must be less than upper={upper!r}.")
        self.b_min = check_number("b_min", b_min)
        self.b_max = check_number("b_max", b_max)
        if self.b_min >= self.b_max:
            raise ValueError(f"b_min={b_min!r} must be less than b_max={b_max!r}.")
        self.clip = clip
        self.padding_value = None if padding_value is None else check_number("padding_value", padding_value)

    def intensity_range(
        self, reference: NdarrayOrTensor, mask: NdarrayOrTensor | None = None
    ) -> tuple[float, float]:
        """The stored values that become ``b_min`` and ``b_max``.

        Args:
            reference: the volume whose statistics count, any shape.
            mask: what is not to count where it is not 0, of the shape of the reference or with one channel.

        Returns:
            ``(low, high)``, equal only if all values that count are equal.

        Raises:
            ValueError: if no voxel is left to count, the mask does not fit, or the reference has been scaled.
        """
        _refuse_scaled("reference", reference)
        tensor = convert_to_tensor(reference, track_meta=False)
        counted = torch.isfinite(tensor)
        if self.padding_value is not None:
            counted &= tensor != self.padding_value
        else:
            counted &= _not_padding(reference, tensor)
        if mask is not None:
            outside = _outside(mask, "a reference", tensor)
            if not outside.any():
                raise ValueError("mask covers the whole image; nothing is left to go by.")
            counted &= outside
        values = tensor[counted].detach().double().cpu().numpy()
        if values.size == 0:
            raise ValueError(
                f"reference of shape {tuple(tensor.shape)} holds no finite voxel other than padding_value="
                f"{self.padding_value!r}{' outside the mask' if mask is not None else ''}; there is nothing to take "
                "statistics from."
            )
        low, high = np.percentile(values, (self.lower, self.upper))  # torch.quantile refuses large volumes
        if low == high:
            low, high = values.min(), values.max()
        return float(low), float(high)

    def scale(
        self, img: NdarrayOrTensor, intensity_range: tuple[float, float], mask: NdarrayOrTensor | None = None
    ) -> torch.Tensor:
        """Scale one image with given statistics, those :meth:`intensity_range` returns.

        Args:
            img: channel-first image in stored units.
            intensity_range: the stored values that become ``b_min`` and ``b_max``.
            mask: where it is not 0, voxels may be NaN or infinite, and stay so; one channel, or as many as the image.

        Returns:
            The scaled image, float32 (float64 for float64), with ``meta["intensity_range"]``.

        Raises:
            ValueError: if the image holds NaN or infinite voxels outside the mask, the mask does not fit, or the image
                has been scaled before.
        """
        _refuse_scaled("img", img)
        image = convert_to_tensor(img, track_meta=get_track_meta())
        values = convert_to_tensor(image, track_meta=False)
        if mask is None:
            check_finite("img", values)
        else:
            measured = torch.where(_outside(mask, "an image", values), values, values.new_zeros(()))
            check_finite("img outside the mask", measured)
        mapping = _Mapping(*intensity_range, self.b_min, self.b_max)
        scaled = mapping.scale(values)
        if self.clip:
            scaled = scaled.clamp_(self.b_min, self.b_max)
        out = convert_to_dst_type(scaled, image, dtype=scaled.dtype)[0]
        if isinstance(out, MetaTensor):
            out.meta[RANGE_KEY] = json.dumps(mapping._asdict())
        return self.push_transform(out)

    def __call__(self, img: NdarrayOrTensor, reference: NdarrayOrTensor | None = None) -> torch.Tensor:
        """Scale one image.

        Args:
            img: channel-first image in stored units, shape (C, H, W) or (C, H, W, D), the patient's whole volume.
            reference: the volume whose statistics to use, in the same units; by default the image itself.

        Returns:
            The scaled image, float32 (float64 for float64), with ``meta["intensity_range"]``.

        Raises:
            ValueError: if the image holds NaN or infinite voxels, has been scaled before, or no voxel is left to count.
        """
        _refuse_scaled("img", img)
        if reference is None:
            reference = check_finite("img", convert_to_tensor(img, track_meta=False))
        return self.scale(img, self.intensity_range(reference))

    def inverse(self, data: torch.Tensor) -> torch.Tensor:
        """Return to stored units, by the range in the metadata.

        Args:
            data: a scaled image, or what was computed from it and carries its metadata.

        Returns:
            The image in stored units, float32 (float64 for float64), without the range in its metadata.

        Raises:
            ValueError: if the metadata holds no range.
        """
        values = _read_mapping("data", data).unscale(convert_to_tensor(data, track_meta=False))
        out = _without_range(convert_to_dst_type(values, data, dtype=values.dtype)[0])
        # Another object with the same task may have scaled the image: then the trace is not ours to remove.
        with contextlib.suppress(RuntimeError, ValueError):
            self.pop_transform(out)
        return out


class UnscaleIntensityPatientwise(Transform):
    """Bring a prediction to stored units with the range another image was scaled by.

    Args:
        spread: the prediction is a spread (a standard deviation, a difference), so it is only multiplied.

    Example:
        >>> condition = ScaleIntensityPatientwise(0, 100)(torch.tensor([[[0.0, 100.0]]]))
        >>> UnscaleIntensityPatientwise()(torch.tensor([[[0.0, 0.5]]]), condition).flatten().tolist()
        [50.0, 75.0]
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, spread: bool = False) -> None:
        self.spread = check_flag("spread", spread)

    def __call__(self, img: NdarrayOrTensor, reference: torch.Tensor | None = None) -> torch.Tensor:
        """Bring one prediction to stored units.

        Args:
            img: prediction in scaled units, any shape; it needs no metadata.
            reference: an image that :class:`ScaleIntensityPatientwise` returned, of any shape; by default ``img``,
                if it carries the metadata of one.

        Returns:
            The prediction in stored units, float32 (float64 for float64), with its own metadata less a range.

        Raises:
            ValueError: if the metadata of the reference holds no range.
        """
        mapping = _read_mapping("img", img) if reference is None else _read_mapping("reference", reference)
        image = convert_to_tensor(img, track_meta=get_track_meta())
        plain = convert_to_tensor(image, track_meta=False)
        values = mapping.unscale_spread(plain) if self.spread else mapping.unscale(plain)
        return _without_range(convert_to_dst_type(values, image, dtype=values.dtype)[0])


def _not_padding(reference: NdarrayOrTensor, tensor: torch.Tensor) -> torch.Tensor | bool:
    text = reference.meta.get("padding") if isinstance(reference, MetaTensor) else None
    if not isinstance(text, str) or text in ("", "none"):
        return True
    padding = json.loads(text)
    low, high = padding["valid_range"]  # interpolation blends padding into values that no voxel had
    values = torch.tensor(padding["values"], dtype=tensor.dtype, device=tensor.device)
    return (tensor >= low) & (tensor <= high) & ~torch.isin(tensor, values)


def _outside(mask: NdarrayOrTensor, name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Where a mask is 0.

    Raises:
        ValueError: if it does not fit the tensor, which the message calls ``name``.
    """
    given = convert_to_tensor(mask, track_meta=False).to(tensor.device)
    if given.shape[1:] != tensor.shape[1:] or given.shape[0] not in (1, tensor.shape[0]):
        raise ValueError(
            f"mask of shape {tuple(given.shape)} does not fit {name} of shape {tuple(tensor.shape)}; "
            "it must have the same size and one channel, or as many."
        )
    return given == 0


class _Mapping(NamedTuple):
    """The line through (low, b_min) and (high, b_max), of slope (b_max - b_min) where low equals high."""

    low: float
    high: float
    b_min: float
    b_max: float

    @property
    def slope(self) -> float:
        return (self.b_max - self.b_min) / ((self.high - self.low) or 1.0)

    def scale(self, values: torch.Tensor) -> torch.Tensor:
        # float64 in between: stored values far from zero would lose digits to the differences
        return values.double().sub(self.low).mul_(self.slope).add_(self.b_min).to(_result_dtype(values))

    def unscale(self, values: torch.Tensor) -> torch.Tensor:
        return values.double().sub(self.b_min).div_(self.slope).add_(self.low).to(_result_dtype(values))

    def unscale_spread(self, values: torch.Tensor) -> torch.Tensor:
        return values.double().div(self.slope).to(_result_dtype(values))


def _result_dtype(values: torch.Tensor) -> torch.dtype:
    return torch.float64 if values.dtype == torch.float64 else torch.float32


def _refuse_scaled(name: str, image: NdarrayOrTensor) -> None:
    text = image.meta.get(RANGE_KEY) if isinstance(image, MetaTensor) else None
    if text is not None:
        raise ValueError(f"{name} is scaled already, {RANGE_KEY}={text!r}; apply the inverse first.")


def _read_mapping(name: str, image: NdarrayOrTensor) -> _Mapping:
    text = image.meta.get(RANGE_KEY) if isinstance(image, MetaTensor) else None
    if not isinstance(text, str):
        raise ValueError(
            f"{name} has {RANGE_KEY}={text!r} in its metadata; what is needed is the string that "
            "ScaleIntensityPatientwise writes there for one image (decollate a batch first)."
        )
    return _Mapping(**json.loads(text))


def _without_range(image: torch.Tensor) -> torch.Tensor:
    if isinstance(image, MetaTensor):
        image.meta.pop(RANGE_KEY, None)
    return image
