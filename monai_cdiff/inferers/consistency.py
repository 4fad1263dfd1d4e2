"""Data consistency: hooks that hold a restored image to what was measured, and the check that it was.

A hook is called ``hook(image, inputs)`` with the image as the sampler predicts it, (B, C_out, H, W[, D]), and what the
inferer was given, (B, C_in, H, W[, D]), whose first C_out channels are the degraded image on the grid of the output.
It returns the corrected image. Hooks hold settings only, no state: one can serve many inferers. What depends on the
inputs alone (checks among it) is done once for all steps of a chain by ``hook.bind(inputs)``, which returns a function
of the image. The ``finish(image, inputs)`` of the last hook, if it has one, gets the finished image in the type of the
inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from monai.utils import convert_to_dst_type

from ..operators import UPSAMPLE_MODES, downsample, match_low_resolution, recover_low_resolution, upsample
from ..utils import DownsampleDomain, as_plain, check_integer, check_number, check_option

__all__ = ["KeepMeasured", "MatchLowResolution", "residual_map"]


class KeepMeasured:
    """Inpainting: outside the mask the image takes the values of the inputs, bit by bit.

    The mask is a channel of the inputs that the image does not have: 1 where the image is to be filled, 0 where it was
    measured.

    Args:
        mask_channel: which channel of the inputs the mask is, counted from 0, after those of the image; -1 is the last.

    Raises:
        ValueError: if ``mask_channel`` is not a whole number, at least -1.

    Example:
        >>> inputs = torch.tensor([[[[0.25, 0.0]], [[0.0, 1.0]]]])  # the image, and the mask
        >>> KeepMeasured()(torch.tensor([[[[0.75, 0.5]]]]), inputs)
        tensor([[[[0.2500, 0.5000]]]])
    """

    def __init__(self, mask_channel: int = -1) -> None:
        self.mask_channel = check_integer("mask_channel", mask_channel, -1)

    def bind(self, inputs: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """Check the mask of the inputs once; returns a function of the image. Arguments and errors as in a call."""
        channels = inputs.shape[1]
        channel = channels - 1 if self.mask_channel == -1 else self.mask_channel
        if not 0 < channel < channels:
            raise ValueError(
                f"mask_channel={self.mask_channel} must be a channel of inputs after those of the image, or -1; inputs "
                f"has shape {tuple(inputs.shape)}."
            )
        mask = as_plain(inputs)[:, channel : channel + 1]
        wrong = int(((mask != 0) & (mask != 1)).sum())
        if wrong:
            raise ValueError(
                f"mask_channel={self.mask_channel} of inputs holds {wrong} values of {mask.numel()} that are neither 0 "
                "nor 1; a mask is 1 where the image is to be filled, 0 elsewhere."
            )

        def keep(image: torch.Tensor) -> torch.Tensor:
            predicted, measured = _fitting(image, inputs)
            if channel < image.shape[1]:
                raise ValueError(
                    f"mask_channel={self.mask_channel} must be a channel of inputs after those of the image, from "
                    f"{image.shape[1]} on or -1; inputs has shape {tuple(inputs.shape)}, image {tuple(image.shape)}."
                )
            return _like(torch.where(mask.to(predicted.device) == 1, predicted, measured.to(predicted)), image)

        return keep

    def finish(self, image: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """The same for a finished image in the type of the inputs, so that no rounding on the way is left."""
        return self(image, inputs)

    def __call__(self, image: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """Put the measured values in their places.

        Args:
            image: (B, C_out, H, W) or (B, C_out, H, W, D).
            inputs: (B, C_in, H, W[, D]): the degraded image in the first C_out channels, the mask in a later one.

        Returns:
            The corrected image, of the shape, floating type, device and metadata of ``image``.

        Raises:
            ValueError: if the shapes do not fit, the inputs lack the mask's channel, or a value of the mask is
                neither 0 nor 1.
        """
        _fitting(image, inputs)
        return self.bind(inputs)(image)


class MatchLowResolution:
    """Super-resolution: the nearest image whose downsampling is the low-resolution image that was measured.

    What was measured is recovered from the inputs, which are its interpolation, so the inputs must be whole: windows
    cut from a larger interpolated image are refused. See :func:`monai_cdiff.operators.match_low_resolution`. The
    projection comes after all bounds, so a few voxels may leave the range of images.

    Args:
        factor: how much coarser the measured grid is, a finite number more than 1.
        domain: where resolution was taken away, ``"image"`` or ``"kspace"``.
        mode: how the measured image was interpolated to the inputs, one of ``UPSAMPLE_MODES``.
        spatial_axes: the axes that lost resolution, numbered after batch and channel.
        tolerance: how much of the inputs may be left unexplained, root mean square; see
            :func:`monai_cdiff.operators.recover_low_resolution`. Inputs of type bfloat16 need about 0.005.

    Raises:
        ValueError: for an argument outside what is allowed.

    Example:
        >>> low = torch.rand(1, 1, 16, 20)
        >>> matched = MatchLowResolution(2)(torch.rand(1, 1, 32, 40), upsample(low, (32, 40)))
        >>> torch.allclose(downsample(matched, 2), low, atol=1e-5)
        True
    """

    def __init__(
        self,
        factor: float,
        domain: str = DownsampleDomain.IMAGE,
        mode: str = "bilinear",
        spatial_axes: Sequence[int] = (0, 1),
        tolerance: float = 1e-3,
    ) -> None:
        self.factor = check_number("factor", factor, 1.0, open_low=True)
        self.domain = check_option("domain", domain, DownsampleDomain)
        self.mode = check_option("mode", mode, UPSAMPLE_MODES)
        self.spatial_axes = tuple(check_integer("spatial_axes", axis, 0, 2) for axis in spatial_axes)
        if not self.spatial_axes or len(set(self.spatial_axes)) < len(self.spatial_axes):
            raise ValueError(f"spatial_axes={self.spatial_axes} must name at least one axis, and each only once.")
        self.tolerance = check_number("tolerance", tolerance, 0)

    def bind(self, inputs: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """Recover once what was measured; returns a function of the image. Arguments and errors as in a call."""
        condition = _widened(as_plain(inputs))
        recovered: dict[int, torch.Tensor] = {}

        def match(image: torch.Tensor) -> torch.Tensor:
            predicted, _ = _fitting(image, inputs)
            channels = image.shape[1]
            if channels not in recovered:
                measured = condition[:, :channels].to(predicted.device)
                recovered[channels] = recover_low_resolution(
                    measured, self.factor, self.mode, self.spatial_axes, self.tolerance
                )
            low = recovered[channels]
            return _like(match_low_resolution(predicted, low, self.domain, self.spatial_axes), image)

        return match

    def __call__(self, image: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """Project the image onto those that agree with the inputs.

        Args:
            image: (B, C_out, H, W) or (B, C_out, H, W, D).
            inputs: (B, C_in, H, W[, D]): the interpolated image in the first C_out channels.

        Returns:
            The projected image, of the shape, floating type, device and metadata of ``image``.

        Raises:
            ValueError: if the shapes do not fit, an axis does not exist, or the inputs are not an interpolation by
                ``factor`` and ``mode``.
        """
        _fitting(image, inputs)
        return self.bind(inputs)(image)


def residual_map(
    restored: torch.Tensor,
    inputs: torch.Tensor,
    factor: float,
    domain: str = DownsampleDomain.IMAGE,
    mode: str = "bilinear",
    spatial_axes: Sequence[int] = (0, 1),
    upsampled: bool = True,
    tolerance: float = 1e-3,
) -> torch.Tensor:
    """Degrade a restored image again and subtract what was measured: where they differ, structure was invented.

    Args:
        restored: (B, C_out, H, W) or (B, C_out, H, W, D).
        inputs: (B, C_in, H, W[, D]): the interpolated low-resolution image in the first C_out channels.
        factor: how much coarser the measured grid is, a finite number more than 1.
        domain: where resolution was taken away, ``"image"`` or ``"kspace"``.
        mode: how the measured image was interpolated to the inputs, and how the map is.
        spatial_axes: the axes that lost resolution, numbered after batch and channel.
        upsampled: interpolate the map to the grid of ``restored``; False leaves it on the measured grid.
        tolerance: as :class:`MatchLowResolution`'s.

    Returns:
        Downsampled ``restored`` less measured image, in the units of ``restored`` and of its floating type. With
        ``upsampled`` its shape and metadata are those of ``restored``; without, it is a plain tensor.

    Raises:
        TypeError: if either image is complex.
        ValueError: as :class:`MatchLowResolution`, of its arguments and when called.

    Example:
        >>> low = torch.rand(1, 1, 16, 20)
        >>> residual_map(torch.rand(1, 1, 32, 40), upsample(low, (32, 40)), 2, upsampled=False).shape
        torch.Size([1, 1, 16, 20])
    """
    image, measured = _fitting(restored, inputs)
    condition = measured.to(image.device)
    low = recover_low_resolution(_widened(condition), factor, mode, spatial_axes, tolerance)
    fine = [image.shape[axis + 2] for axis in spatial_axes]
    degraded = downsample(_widened(image), factor, domain=domain, spatial_axes=spatial_axes)
    difference = degraded - low.to(degraded)
    dtype = image.dtype if image.is_floating_point() else torch.float32
    if not upsampled:
        return difference.to(dtype)
    return _like(upsample(difference, fine, mode, spatial_axes).to(dtype), restored)


def _fitting(image: torch.Tensor, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The image, and the channels of the inputs that are its degraded version, without metadata."""
    fits = image.ndim in (4, 5) and inputs.ndim == image.ndim and inputs.shape[1] >= image.shape[1]
    if not fits or inputs.shape[0] != image.shape[0] or inputs.shape[2:] != image.shape[2:]:
        raise ValueError(
            f"image of shape {tuple(image.shape)} and inputs of shape {tuple(inputs.shape)} must be "
            "(B, C_out, H, W[, D]) and (B, C_in, H, W[, D]) of equal sizes, with C_in at least C_out."
        )
    return as_plain(image), as_plain(inputs)[:, : image.shape[1]]


def _like(result: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """The result with the metadata of the image, if it has any."""
    return convert_to_dst_type(result, dst=image, dtype=result.dtype)[0]


def _widened(image: torch.Tensor) -> torch.Tensor:
    """Half types as float32, so that nothing is rounded in between."""
    return image.float() if image.is_floating_point() and image.dtype.itemsize < 4 else image
