"""Real images and what was generated of them, paired by name and brought to the same greys."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..data import NiftiReader, is_nifti, is_raster, output_stem, read_raster

__all__ = ["ImagePair", "list_pairs", "read_pair"]

_RESTORED = ("_sr", "_denoise", "_inpaint")
_SPREADS = tuple(f"{ending}-std" for ending in _RESTORED)  # what `restore --uncertainty` writes beside an image
_KINDS = "PNG, JPEG, BMP, TIFF or NIfTI"
_WINDOW = (0.5, 99.5)  # percentiles of both images together
_SHOWN = 3  # names in a message
_SAME = "both must agree, or it would give away which is real."


class ImagePair(NamedTuple):
    """A real image and the one that was generated of it.

    Args:
        name: what both are called, less their endings, below their folders.
        real: file of the real image.
        generated: file of the generated image.
    """

    name: str
    real: str
    generated: str


class _Image(NamedTuple):
    pixels: np.ndarray  # rows, columns
    aspect: float  # width of a pixel over its height
    bits: int | None  # of a picture
    affine: np.ndarray | None  # of a volume
    shape: tuple[int, ...]


def list_pairs(real: str | os.PathLike[str], generated: str | os.PathLike[str]) -> list[ImagePair]:
    """Pair the images of two folders, and of the folders below them, by name.

    A generated image has the name of the real one, or that name and ``_sr``, ``_denoise`` or ``_inpaint``, as
    ``restore`` writes it; the formats may differ. Maps of uncertainty (``_sr-std``) and hidden files are passed over.

    Args:
        real: folder of real images: PNG, JPEG, BMP, TIFF or NIfTI.
        generated: folder of generated images.

    Returns:
        The pairs, sorted by name.

    Raises:
        NotADirectoryError: if one is no folder.
        ValueError: if a folder holds no image or two of one name, both are the same, or an image has no partner.

    Example:
        >>> list_pairs("/data/originals", "/data/restored")  # doctest: +SKIP
    """
    if os.path.realpath(real) == os.path.realpath(generated):
        raise ValueError(f"generated={str(generated)!r} is the folder of the real images; give another.")
    originals = _by_name("real", real, {})
    restored = _by_name("generated", generated, originals)
    for argument, folder, alone in (
        ("generated", generated, sorted(set(originals) - set(restored))),
        ("real", real, sorted(set(restored) - set(originals))),
    ):
        if alone:
            shown = ", ".join(alone[:_SHOWN]) + (f" and {len(alone) - _SHOWN} more" if len(alone) > _SHOWN else "")
            raise ValueError(
                f"{argument}={str(folder)!r} has no image for {shown}; each image needs its partner, which has the "
                f"same name, a generated one perhaps with {', '.join(_RESTORED)} at its end."
            )
    return [ImagePair(name, originals[name], restored[name]) for name in sorted(originals)]


def read_pair(pair: ImagePair) -> tuple[np.ndarray, np.ndarray, float]:
    """Both images of a pair as the same greys, and the shape of a pixel.

    Of a volume this is the middle slice across its thickest voxels, turned as radiologists look at it. Pictures of 8
    bits keep their greys; other values get one window for both images, the 0.5 and 99.5 percentiles of their values
    together, so that neither is scaled by itself.

    Args:
        pair: of :py:func:`list_pairs`.

    Returns:
        The real and the generated image, uint8, both of shape (rows, columns); and a pixel's width over its height.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if a file is damaged, holds colour or values that are not finite, or both images differ in size,
            depth or place, or in nothing at all.

    Example:
        >>> real, generated, aspect = read_pair(ImagePair("1", "a/1.png", "b/1_sr.png"))  # doctest: +SKIP
    """
    one, other = (_read(file) for file in (pair.real, pair.generated))
    _check_alike(pair, one, other)
    real, generated = one.pixels, other.pixels
    if one.bits != 8:
        low, high = np.percentile(np.concatenate([real.ravel(), generated.ravel()]), _WINDOW)
        real, generated = ((values - low) / ((high - low) or 1.0) * 255 for values in (real, generated))
    shown = [np.rint(values).clip(0, 255).astype(np.uint8) for values in (real, generated)]
    if np.array_equal(*shown):
        raise ValueError(f"{pair.generated}: shows the same as {pair.real}; there is nothing to tell apart.")
    return shown[0], shown[1], one.aspect


def _by_name(argument: str, folder: str | os.PathLike[str], partners: Any) -> dict[str, str]:
    root = Path(folder)
    if not root.is_dir():
        raise NotADirectoryError(f"{argument}={str(folder)!r} is no folder; give a folder of {_KINDS} images.")
    found: dict[str, str] = {}
    for path in sorted(root.rglob("*")):
        inner = path.relative_to(root)
        if not path.is_file() or not (is_raster(path.name) or is_nifti(path.name)):
            continue
        stem = output_stem(path.name)
        if any(part.startswith(".") for part in inner.parts) or stem.endswith(_SPREADS):
            continue
        name = _partner((inner.parent / stem).as_posix(), partners)
        if name in found:
            raise ValueError(f"{path}: {found[name]} has the same name, {name!r}; allowed is one image of a name.")
        found[name] = str(path)
    if not found:
        raise ValueError(f"{argument}={str(folder)!r} holds no {_KINDS} image.")
    return found


def _partner(name: str, partners: Any) -> str:
    """The real image that a generated one belongs to; its own name if that is what one is called, or none is."""
    cut = (name.removesuffix(ending) for ending in _RESTORED if name.endswith(ending))
    return next((shorter for shorter in (name, *cut) if shorter in partners), name)


def _read(file: str) -> _Image:
    if is_raster(file):
        values, bits = read_raster(file)
        return _Image(values.T, 1.0, bits, None, values.T.shape)
    return _middle_slice(file)


def _middle_slice(file: str) -> _Image:
    from nibabel import orientations

    array, metadata = NiftiReader().get_data([file])
    volume, affine = np.atleast_3d(np.asarray(array, dtype=np.float64)), np.asarray(metadata["affine"])
    # to the left, back and feet of the patient: in every plane, the columns and rows of a radiologist's view
    turn = orientations.ornt_transform(orientations.io_orientation(affine), orientations.axcodes2ornt("LPI"))
    affine = affine @ orientations.inv_ornt_aff(turn, volume.shape)
    volume = orientations.apply_orientation(volume, turn)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    across = max(range(3), key=lambda axis: (volume.shape[axis] == 1, round(spacing[axis] / spacing.min(), 1), axis))
    columns, rows = np.delete(spacing, across)
    pixels = np.take(volume, volume.shape[across] // 2, axis=across).T
    if not np.isfinite(pixels).all():
        raise ValueError(f"{file}: the middle slice holds NaN or infinite values; it must be finite.")
    return _Image(pixels, float(columns / rows), None, affine, volume.shape)


def _check_alike(pair: ImagePair, real: _Image, generated: _Image) -> None:
    where = f"{pair.generated}: "
    if real.shape != generated.shape:
        raise ValueError(f"{where}has {_times(generated.shape)} pixels, {pair.real} has {_times(real.shape)}; {_SAME}")
    if real.bits != generated.bits:
        raise ValueError(f"{where}has {_depth(generated)}, {pair.real} has {_depth(real)}; {_SAME}")
    if real.affine is None or generated.affine is None:
        return
    corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)]) * [*real.shape, 1]
    apart = np.abs((real.affine - generated.affine) @ corners.T).max()
    if apart > np.linalg.norm(real.affine[:3, :3], axis=0).min() / 2:
        raise ValueError(f"{where}lies up to {apart:.3g} mm away from {pair.real}, more than half a voxel; {_SAME}")


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _depth(image: _Image) -> str:
    return "the real values of a NIfTI file" if image.bits is None else f"{image.bits} bits"
