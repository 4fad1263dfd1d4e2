"""Masks of inpainting: fixed by a key, drawn for each image, or given; 1 where the image is to be filled."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.config import NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import Randomizable, Transform
from monai.utils import TransformBackends, convert_to_tensor

from monai_cdiff.operators import FILLS, check_area, check_shapes, draw_mask, fill_masked
from monai_cdiff.utils import MaskShape, check_finite, check_integer, check_number, check_option

from ..images import channel_first, like, random_state, slice_states, with_record

__all__ = ["AlignMask", "InpaintMask", "MaskImage", "RandInpaintMask", "RestoreMeasured"]

logger = logging.getLogger(__name__)


class InpaintMask(Transform):
    """The same mask for the same key, on any machine and with any number of workers: for test images.

    Each slice of a volume has a mask of its own, the same that the slice would get alone.

    Args:
        area: lowest and highest share of a slice that is masked, above 0, up to 0.9, to the nearest pixel.
        shapes: kinds of shapes, ``"box"`` and ``"stroke"`` (a free-form line); one is chosen for each mask.
        max_pieces: most boxes, or strokes, that the area is shared among.
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


class AlignMask(Transform):
    """Bring a mask that lies on the image's grid, but was stored along other axes, into the order of the image's.

    A mask drawn on a DICOM series and kept as NIfTI has its axes turned over or exchanged, as its affine says. Nothing
    is resampled. A picture, like any image of two dimensions, has no place in the world, so only its size counts; it
    may be the mask of a volume of one slice. A mask that is 0 everywhere is taken, with a warning that names the image.

    Example:
        >>> image = MetaTensor(torch.zeros(1, 4, 3))
        >>> AlignMask()(MetaTensor(torch.ones(1, 4, 3)), image).shape
        torch.Size([1, 4, 3])
    """

    backend = [TransformBackends.TORCH]

    def __call__(self, img: NdarrayOrTensor, image: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Align one mask.

        Args:
            img: the mask, shape (1, h, w[, d]), finite.
            image: its image, shape (C, H, W[, D]).

        Returns:
            The mask, shape (1, H, W[, D]), float32, with the metadata of the image.

        Raises:
            ValueError: if the two do not lie on one grid, naming both, or the mask holds NaN.
        """
        mask = channel_first("img", img)
        values = check_finite("mask", convert_to_tensor(mask, track_meta=False).float())
        if isinstance(mask, MetaTensor) and isinstance(image, MetaTensor) and mask.ndim == image.ndim == 4:
            values = _turned(values, mask.affine, image.affine)
        elif values.ndim == 4 and image.ndim == 3 and values.shape[3] == 1:
            values = values[..., 0]
        elif values.ndim == 3 and image.ndim == 4 and image.shape[3] == 1:
            values = values[..., None]
        if values.shape[0] != 1 or values.shape[1:] != image.shape[1:]:
            raise ValueError(
                f"mask of {_size(mask)} does not fit the image of {_size(image)}; it must have one channel and the "
                "grid of the image."
            )
        if not values.any():
            logger.warning(
                "%s: the mask%s is 0 everywhere, so nothing is filled and the image comes out as it was.",
                *(_file(image) or "image", f" {_file(mask)}" if _file(mask) else ""),
            )
        return like(values.to(image.device), image)


class MaskImage(Transform):
    """Take what a mask covers out of an image: the condition of inpainting, the filled image and its mask.

    Args:
        fill: what masked pixels become: ``"mean"`` of the measured pixels of the slice, ``"harmonic"`` for what
            continues these smoothly, or a number.

    Raises:
        ValueError: if ``fill`` is neither.

    Example:
        >>> MaskImage(fill=0)(torch.tensor([[[3.0, 5.0]]]), torch.tensor([[[1, 0]]])).flatten().tolist()
        [0.0, 5.0, 1.0, 0.0]
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, fill: float | str = "mean") -> None:
        self.fill = check_option("fill", fill, FILLS) if isinstance(fill, str) else check_number("fill", fill)

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
            ValueError: if the mask does not fit the image, covers all of it, or holds NaN, or the image holds NaN or
                infinite values outside it.
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
            The image, with its metadata; of its type, or a wider one that can hold the measured values.

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
        dtype = _common_dtype(values.dtype, known.dtype)
        return like(torch.where(covered, values.to(dtype), known.to(dtype)), image)


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
    return check_finite("mask", plain) != 0


def _common_dtype(one: torch.dtype, other: torch.dtype) -> torch.dtype:
    """The type that holds the values of both; torch's own choice for int16 beside float16 would round."""
    dtype = torch.promote_types(one, other)
    whole = max((t.itemsize for t in (one, other) if not t.is_floating_point), default=0)
    if dtype.is_floating_point and dtype.itemsize <= whole:
        return torch.float32 if whole == 2 else torch.float64
    return dtype


def _file(image: torch.Tensor) -> str:
    return str(image.meta.get("filename_or_obj", "")) if isinstance(image, MetaTensor) else ""


def _size(image: torch.Tensor) -> str:
    return " x ".join(map(str, image.shape[1:])) + (f" with {image.shape[0]} channels" if image.shape[0] > 1 else "")


def _turned(mask: torch.Tensor, affine: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The mask with its axes exchanged and turned over, so that its affine becomes the wanted one."""
    own, other = (np.asarray(convert_to_tensor(a, track_meta=False).cpu(), dtype=np.float64) for a in (affine, wanted))
    for name, matrix in (("mask", own), ("image", other)):
        if not np.isfinite(matrix).all() or np.linalg.matrix_rank(matrix[:3, :3]) < 3:
            raise ValueError(f"the affine of the {name}, {matrix.tolist()}, is no invertible matrix.")
    steps = np.linalg.solve(other[:3, :3], own[:3, :3])  # a step along an axis of the mask, in voxels of the image
    axes = np.abs(steps).argmax(axis=0)
    if sorted(axes.tolist()) != [0, 1, 2]:
        raise ValueError("mask and image do not lie on one grid: an axis of the mask lies between two of the image.")
    signs = np.sign(steps[axes, range(3)])
    sizes = mask.shape[1:]
    mask = mask.permute(0, *(int(np.flatnonzero(axes == axis)[0]) + 1 for axis in range(3)))
    turned = [axis for axis in range(3) if signs[np.flatnonzero(axes == axis)[0]] < 0]
    size = np.array(mask.shape[1:])
    corner = np.where(np.isin(range(3), turned), size - 1, 0)  # of the image, where the mask's first voxel should be
    place = np.linalg.solve(other, own[:, 3])[:3]
    ideal = np.zeros((3, 3))
    ideal[axes, range(3)] = signs
    drift = np.abs(steps - ideal) @ (np.array(sizes) - 1) + np.abs(place - corner)
    if drift.max() > 0.1:
        raise ValueError(
            f"mask and image do not lie on one grid: their voxels are up to {drift.max():.3g} apart; the first voxel "
            f"of the mask is at {(np.round(place, 2) + 0.0).tolist()} of the image. Resample the mask onto the image."
        )
    return mask.flip([axis + 1 for axis in turned])
