"""X-rays kept as PNG, JPEG, BMP or TIFF for MONAI's ``LoadImaged``: one channel, the values as stored."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple

from .patient_folders import RASTER_SUFFIXES, is_raster

__all__ = ["RasterReader", "read_raster"]

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
# A grey picture saved as colour JPEG has no chroma, so its channels are equal. An encoder that errs by one step of
# either chroma lets red and blue drift apart by 1.402 + 1.772 levels, which are 4 at most when rounded.
_JPEG_SPREAD = 4
_COLOUR = ("P", "PA", "LA", "RGB", "RGBA")  # and yet often grey, which only the pixels tell
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # a tag of TIFF, and the value that stands for MINISWHITE
_HOW = "Convert it to one grey channel first."
_LARGE = "Crop it, or raise PIL.Image.MAX_IMAGE_PIXELS if the file can be trusted."


class RasterReader(ImageReader):
    """Read a grey picture in a PNG, JPEG, BMP or TIFF file as an X-ray of one channel.

    Values are those stored, of 8 or 16 bits; levels of fewer bits are the 8-bit greys they stand for (a pixel of one
    bit is 0 or 255), and greys of a palette are looked up. Colour channels that are equal count as one, in a JPEG also
    where they differ by 4 levels or less, which is rounding; the value is then the luma. The orientation that EXIF
    gives is applied, so the image is what a viewer shows. Real colour, transparency, several pages and more pixels
    than ``PIL.Image.MAX_IMAGE_PIXELS`` are refused. A picture has no pixel size that could be trusted (dots per inch
    speak of paper), so its spacing is 1.
    ``LoadImage`` swallows what ``read`` raises and tries its next reader, so all refusals come from ``get_data``.

    Example:
        >>> from monai.transforms import LoadImaged
        >>> load = LoadImaged("image", reader=RasterReader(), ensure_channel_first=True)
    """

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """True for files that are all named as PNG, JPEG, BMP or TIFF."""
        names = [os.fspath(name) for name in ensure_tuple(filename)]
        return bool(names) and all(map(is_raster, names))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> tuple[str, ...]:
        """Record the file.

        Raises:
            ValueError: if it is not named as one of these formats; it is left to the other readers.
        """
        names = tuple(os.fspath(name) for name in ensure_tuple(data))
        if not self.verify_suffix(names):
            raise ValueError(f"{names[:1]}: no picture; its name must end in {', '.join(RASTER_SUFFIXES)}.")
        return names

    def get_data(self, img: Sequence[str]) -> tuple[np.ndarray, dict[str, Any]]:
        """Read what :py:meth:`read` recorded.

        Returns:
            The image, float32, of shape (columns, rows); and its metadata with the affine ``diag(-1, -1, 1, 1)``, as
            that of an X-ray in DICOM, and ``raster_bits``, the depth of the file: 8 or 16.

        Raises:
            FileNotFoundError: if the file does not exist.
            ValueError: as :py:func:`read_raster`, or if several files are given for one image.
        """
        names = ensure_tuple(img)
        if len(names) != 1:
            raise ValueError(f"{len(names)} pictures, {names[0]} the first; give one.")
        values, bits = read_raster(names[0])
        affine = np.diag([-1.0, -1.0, 1.0, 1.0])
        return values, {
            MetaKeys.AFFINE: affine,
            MetaKeys.ORIGINAL_AFFINE: affine.copy(),
            MetaKeys.SPATIAL_SHAPE: np.asarray(values.shape),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.ORIGINAL_CHANNEL_DIM: "no_channel",
            "filename_or_obj": names[0],
            "raster_bits": bits,
            "dicom_source": "",
            "padding": "none",
        }


def read_raster(file: str | os.PathLike[str]) -> tuple[np.ndarray, int]:
    """The grey values of a picture, and their depth.

    Args:
        file: PNG, JPEG, BMP or TIFF.

    Returns:
        Values as stored, float32, of shape (columns, rows); and 8 or 16, the bits of each.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is damaged or of another format, has too many pixels or several pages, is not opaque, or
            holds colour or values of more than 16 bits; the message names the file.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    name = os.fspath(file)
    if not os.path.isfile(name):
        raise FileNotFoundError(f"{name} does not exist.")
    try:
        # given a name, Pillow 13 maps a plain TIFF into memory and scrambles one that lies on its side
        with open(name, "rb") as stream, Image.open(stream, formats=_FORMATS) as image:
            _check_header(name, image)
            inverted = image.mode in _SIXTEEN_BITS and _photometric(image) == _WHITE_IS_ZERO
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            values = _grey(name, image)
    except _Refusal as refusal:
        raise ValueError(str(refusal)) from None
    except UnidentifiedImageError:
        raise ValueError(f"{name}: is no PNG, JPEG, BMP or TIFF image, whatever its name says.") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"{name}: {error} {_LARGE}") from error
    except Exception as error:  # Pillow raises many kinds on damaged files
        raise ValueError(f"{name}: the image cannot be read; is the file whole? {error}") from error
    bits = 8 * values.dtype.itemsize
    array = np.ascontiguousarray(values.T, dtype=np.float32)
    # Pillow turns such values of 8 bits, but not these
    return (65535 - array if inverted else array), bits


class _Refusal(ValueError):
    """What this module says about a file, as against what Pillow says."""


def _check_header(name: str, image: Any) -> None:
    """Refuse what the header tells, before memory is taken for the pixels."""
    from PIL import Image

    columns, rows = image.size
    if Image.MAX_IMAGE_PIXELS is not None and columns * rows > Image.MAX_IMAGE_PIXELS:
        raise _Refusal(f"{name}: {columns} x {rows} pixels are more than {Image.MAX_IMAGE_PIXELS}. {_LARGE}")
    pages = getattr(image, "n_frames", 1)
    if pages > 1 or getattr(image, "is_animated", False):
        raise _Refusal(f"{name}: holds {pages} pages or frames; allowed is one, so write a file for each.")
    known = ("1", "L", *_COLOUR, *_SIXTEEN_BITS)
    if image.mode not in known:
        raise _Refusal(f"{name}: holds pixels of mode {image.mode!r}; allowed are grey levels of 1 to 16 bits. {_HOW}")
    if image.mode in _COLOUR and any(";16" in str(tile[3]) for tile in image.tile):
        raise _Refusal(f"{name}: holds several channels of 16 bits, of which 8 would be lost. {_HOW}")
    if "transparency" in image.info and image.mode != "P":
        raise _Refusal(f"{name}: calls a grey or colour transparent; allowed are opaque images. {_HOW}")


def _grey(name: str, image: Any) -> np.ndarray:
    """The pixels (rows, columns) as uint8 or uint16."""
    if image.mode in _SIXTEEN_BITS:
        return np.asarray(image).astype(np.uint16)
    if image.mode not in _COLOUR:
        return np.asarray(image.convert("L"))
    if image.mode.endswith("A") or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getextrema()[3][0] < 255:
            raise _Refusal(f"{name}: is transparent in places; allowed are opaque images. {_HOW}")
    compressed = image.format in ("JPEG", "MPO")
    channels = np.asarray(image.convert("RGB"))
    spread = int((channels.max(axis=-1) - channels.min(axis=-1)).max())
    if spread > (_JPEG_SPREAD if compressed else 0):
        raise _Refusal(
            f"{name}: is a colour image, its channels differ by up to {spread} levels; allowed is grey. If the colour "
            'means nothing, convert it first, for example with Pillow: image.convert("L").'
        )
    return channels[..., 0] if spread == 0 else np.asarray(image.convert("L"))


def _photometric(image: Any) -> int | None:
    tags = getattr(image, "tag_v2", None)
    return None if tags is None else tags.get(_PHOTOMETRIC)
