"""Masks of inpainting: fixed by a key, drawn for each image, or given; 1 where the image is to be filled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.config import NdarrayOrTensor
from monai.transforms import Randomizable, Transform
from monai.utils import TransformBackends, convert_to_tensor

from monai_cdiff.operators import check_area, check_shapes, draw_mask, fill_masked
from monai_cdiff.utils import MaskShape, check_integer, check_number, check_option

from ..images import channel_first, like, random_state, slice_states, with_record

__all__ = ["InpaintMask", "MaskImage", "RandInpaintMask", "RestoreMeasured"]


class InpaintMask(Transform):
    """The same mask for the same key, on any machine and with any number of workers: for test images.

    Each slice of a volume has a mask of its own, the same that the slice would get alone.

    Args:
        area: lowest and highest share of a slice that is masked, above 0, up to 0.9.
        shapes: kinds of shapes, ``"box"`` and ``"stroke"`` (a free-form line); one is chosen for each mask.
        max_pieces: most boxes, or strokes, in a mask.
        seed: whole number; another one gives other masks.

    Raises:
        ValueError: if an argument is out of range or unknown.

    Example:
        >>> mask = InpaintMask(area=(0.1, 0.2))(torch.zeros(1, 64, 64), key="patient-1")
        >>> tuple(mask.shape), bool(0.1 <= mask.mean() <= 0.2)
        ((1, 64, 64), True)
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self,
        area: Sequence[float] = (0.05, 0.25),
        shapes: Sequence[str] | str = tuple(MaskShape),
        max_pieces: int = 4,
        seed: int = 0,
    ) -> None:
        self.area = check_area(area)
        self.shapes = check_shapes(shapes)
        self.max_pieces = check_integer("max_pieces", max_pieces, 1)
        self.seed = check_integer("seed", seed, 0)

    def __call__(self, img: NdarrayOrTensor, key: str | None = None) -> torch.Tensor:
        """The mask of a key for one image.

        Args:
            img: shape (C, H, W) or (C, H, W, D).
            key: of the image; default: ``key`` or ``subject`` of the metadata, or else the content.

        Returns:
            The mask, shape (1, H, W[, D]), float32, with the metadata of the image.

        Raises:
            ValueError: if the image has another number of axes, or fewer than 8 pixels along one.
        """
        image = channel_first("img", img)
        states = slice_states(self.seed, "mask", image, key)
        size = image.shape[1:3]
        masks = [draw_mask(size, state, self.area, self.shapes, self.max_pieces) for state in states]
        mask = torch.stack(masks, -1) if image.ndim == 4 else masks[0]
        return like(mask[None].float().to(image.device), image)


class RandInpaintMask(Randomizable, Transform):
    """A mask drawn for each image: for training images. All slices of a volume share it.

    Args:
        area: as for :class:`InpaintMask`.
        shapes: as for :class:`InpaintMask`.
        max_pieces: as for :class:`InpaintMask`.

    Raises:
        ValueError: if an argument is out of range or unknown.

    Example:
        >>> RandInpaintMask().set_random_state(seed=0)(torch.zeros(1, 64, 64)).shape
        torch.Size([1, 64, 64])
    """

    backend = InpaintMask.backend

    def __init__(
        self,
        area: Sequence[float] = (0.05, 0.25),
        shapes: Sequence[str] | str = tuple(MaskShape),
        max_pieces: int = 4,
    ) -> None:
        self.area = check_area(area)
        self.shapes = check_shapes(shapes)
        self.max_pieces = check_integer("max_pieces", max_pieces, 1)
        self._seed = 0

    def randomize(self, data: Any = None) -> None:
        """Draw the seed of the mask."""
        self._seed = int(self.R.randint(2**31))

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> torch.Tensor:
        """A mask for one image.

        Args:
            img: shape (C, H, W) or (C, H, W, D).
            randomize: draw anew; otherwise what was drawn last is used again.

        Returns:
            The mask, shape (1, H, W[, D]), float32, with the metadata of the image.

        Raises:
            ValueError: if the image has another number of axes, or fewer than 8 pixels along one.
        """
        image = channel_first("img", img)
        if randomize:
            self.randomize()
        mask = draw_mask(image.shape[1:3], random_state(self._seed), self.area, self.shapes, self.max_pieces)
        mask = mask[None, ..., None].expand(1, *image.shape[1:]) if image.ndim == 4 else mask[None]
        return like(mask.float().to(image.device), image)


class MaskImage(Transform):
    """Take what a mask covers out of an image: the condition of inpainting, the filled image and its mask.

    Args:
        fill: what masked pixels become: ``"mean"`` of the measured pixels of the slice, or a number.

    Raises:
        ValueError: if ``fill`` is neither.

    Example:
        >>> MaskImage(fill=0)(torch.tensor([[[3.0, 5.0]]]), torch.tensor([[[1, 0]]])).flatten().tolist()
        [0.0, 5.0, 1.0, 0.0]
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, fill: float | str = "mean") -> None:
        self.fill = check_option("fill", fill, ["mean"]) if isinstance(fill, str) else check_number("fill", fill)

    def __call__(  # type: ignore[override]
        self, img: NdarrayOrTensor, mask: NdarrayOrTensor
    ) -> torch.Tensor:
        """Mask one image.

        Args:
            img: shape (C, H, W) or (C, H, W, D).
            mask: shape (1, H, W[, D]), 0 where the image was measured, any other number where it is to be filled.

        Returns:
            Shape (C + 1, H, W[, D]): the image, filled, and the mask (0 and 1); of the image's floating point type,
            float32 for integers, with its metadata.

        Raises:
            ValueError: if the mask does not fit the image, covers all of it, or holds NaN.
        """
        image = channel_first("img", img)
        covered = binary_mask(mask, image).to(image.device)
        values = fill_masked(convert_to_tensor(image, track_meta=False), covered, self.fill)
        filled = torch.cat([values, covered.to(values.dtype)])
        return with_record(filled, image, f"mask of {float(covered.double().mean()):.2%}")


class RestoreMeasured(Transform):
    """Put the measured pixels back, as they were stored: outside the mask an inpainted image equals its input.

    Example:
        >>> measured, mask = torch.tensor([[[3.0, 5.0]]]), torch.tensor([[[1, 0]]])
        >>> RestoreMeasured()(torch.tensor([[[4.0, 4.9]]]), measured, mask).flatten().tolist()
        [4.0, 5.0]
    """

    backend = [TransformBackends.TORCH]

    def __call__(  # type: ignore[override]
        self, img: NdarrayOrTensor, measured: NdarrayOrTensor, mask: NdarrayOrTensor
    ) -> torch.Tensor:
        """Take the measured pixels of one image.

        Args:
            img: the inpainted image in stored units, shape (C, H, W) or (C, H, W, D).
            measured: the image as it was read, of the same shape.
            mask: shape (1, H, W[, D]), 0 where the image was measured.

        Returns:
            The image, with its metadata.

        Raises:
            ValueError: if the shapes do not fit.
        """
        image = channel_first("img", img)
        known = convert_to_tensor(measured, track_meta=False).to(image.device)
        if known.shape != image.shape:
            raise ValueError(
                f"measured of shape {tuple(known.shape)} must have the shape of img, {tuple(image.shape)}."
            )
        covered = binary_mask(mask, image).to(image.device)
        values = convert_to_tensor(image, track_meta=False)
        return like(torch.where(covered, values, known.to(values.dtype)), image)


def binary_mask(mask: NdarrayOrTensor, image: torch.Tensor) -> torch.Tensor:
    """A mask as bool, of one channel.

    Raises:
        ValueError: if it does not fit the image or holds NaN.
    """
    plain = convert_to_tensor(mask, track_meta=False)
    if plain.shape[1:] != image.shape[1:] or plain.shape[0] != 1:
        raise ValueError(
            f"mask of shape {tuple(plain.shape)} does not fit an image of {tuple(image.shape)}; it must have one "
            "channel and the size of the image."
        )
    if plain.is_floating_point() and not torch.isfinite(plain).all():
        raise ValueError("mask holds NaN or infinite values; allowed: 0 (measured) and other numbers (to be filled).")
    return plain != 0
