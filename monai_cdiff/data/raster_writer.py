"""X-rays written as PNG, with the depth of their source and a text that says what was done."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import ImageWriter
from monai.utils import convert_data_type

from ..utils import check_flag, check_integer, replacing
from .derivation import Derivation

__all__ = ["RasterWriter"]

_RESEARCH = "Research only, not for diagnosis."
_SYNTHETIC = "Synthetic content: detail is inferred, not measured."
# One grey level is a large spread, so in a PNG of 8 bits a map of spreads would lose most of what it says.
_FINE = 256

logger = logging.getLogger(__name__)


class RasterWriter(ImageWriter):
    """Write a 2-D image as a grey PNG of 8 or 16 bits.

    Values are rounded; what lies outside the range of the depth is cut, never wrapped, and one warning counts it. The
    array is turned by its affine so that a viewer shows it as it shows the source. What was done is in the file, as
    the text chunks Software, Description, Comment (the settings) and Warning. The file is written whole or not at
    all. A map of another quantity than the image (a standard deviation) made from 8 bits is written as 16 bits,
    multiplied by 256; Comment says so. ``SaveImage``'s ``output_dtype`` and ``scale`` do not count.

    Args:
        derivation: what was done; by default no more than that the software processed the image.
        bits: 8 or 16; by default as in the source, ``raster_bits`` of the metadata.
        overwrite: replace a file that exists.
        kwargs: ignored; what ``SaveImage`` gives to every writer.

    Raises:
        ValueError: for other ``bits``.

    Example:
        >>> import numpy as np, tempfile
        >>> writer = RasterWriter(Derivation("denoised", "dn", {"seed": 0}), bits=8)
        >>> writer.set_data_array(np.full((1, 4, 3), 7.4))
        >>> writer.write(tempfile.mkdtemp() + "/seven.png")
    """

    def __init__(
        self,
        derivation: Derivation | None = None,
        bits: int | None = None,
        overwrite: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.derivation = derivation or Derivation("processed", "derived")
        self.bits = None if bits is None else _check_bits(bits)
        self.source_bits: int | None = None
        self.overwrite = check_flag("overwrite", overwrite)
        self.affine: np.ndarray | None = None

    def set_data_array(self, data_array: Any, channel_dim: int | None = 0, **kwargs: Any) -> None:
        """Take the image.

        Args:
            data_array: grey levels, shape (1, X, Y) or without a channel.
            channel_dim: axis of the channel, None if there is none.
            kwargs: ignored.

        Raises:
            ValueError: if there are several channels, or other than two axes beside it.
        """
        array = convert_data_type(data_array, np.ndarray)[0]
        if channel_dim is not None and array.shape[channel_dim] != 1:
            raise ValueError(f"image of shape {array.shape} has {array.shape[channel_dim]} channels; a PNG gets one.")
        flat = array if channel_dim is None else np.take(array, 0, axis=channel_dim)
        if flat.ndim != 2:
            raise ValueError(f"image of shape {array.shape} has {flat.ndim} spatial axes; a PNG has two.")
        self.data_obj = flat

    def set_metadata(self, meta_dict: Mapping | None, resample: bool = True, **options: Any) -> None:
        """Take the orientation and the depth of the image.

        Args:
            meta_dict: with ``affine``, and ``raster_bits`` of what :py:class:`RasterReader` read.
            resample: bring the image back to the grid it was read on (``original_affine``, ``spatial_shape``).
            options: ``mode`` and ``padding_mode`` of that.
        """
        meta = meta_dict or {}
        original, affine, shape = self.get_meta_info(meta)
        if resample and original is not None and affine is not None:
            known = {name: value for name, value in options.items() if name in ("mode", "padding_mode", "dtype")}
            self.data_obj, affine = self.resample_if_needed(
                self.data_obj, affine=affine, target_affine=original, output_spatial_shape=shape, **known
            )
        self.affine = None if affine is None else convert_data_type(affine, np.ndarray, dtype=np.float64)[0]
        self.source_bits = _check_bits(int(meta["raster_bits"])) if "raster_bits" in meta else None

    def write(self, filename: PathLike, verbose: bool = False, **kwargs: Any) -> None:
        """Write the file.

        Raises:
            FileExistsError: if it exists, unless ``overwrite``.
            ValueError: if its name does not end in ".png", values are not finite, or nothing tells the depth.
        """
        from PIL import Image

        if Path(filename).suffix.lower() != ".png":
            raise ValueError(f"{filename}: what is written is PNG; the name must end in .png.")
        if Path(filename).exists() and not self.overwrite:
            raise FileExistsError(f"{filename} exists; remove it, or ask for overwrite.")
        bits, factor = self._depth()
        array: Any = self.data_obj
        pixels = _as_levels(_as_shown(array, self.affine) * factor, bits, str(filename))
        with replacing(filename) as temporary:
            # (columns, rows) to the rows of a picture
            Image.fromarray(np.ascontiguousarray(pixels.T)).save(temporary, "PNG", pnginfo=self._texts(factor))
        if verbose:
            print(f"written: {filename}")

    def _depth(self) -> tuple[int, int]:
        """The bits of a pixel, and what values are multiplied by."""
        if self.bits is not None:
            return self.bits, 1
        if self.source_bits is None:
            raise ValueError("the metadata holds no raster_bits: the image did not come from RasterReader; give bits.")
        fine = self.source_bits == 8 and self.derivation.quantity != "image"
        return (16, _FINE) if fine else (self.source_bits, 1)

    def _texts(self, factor: int) -> Any:
        from PIL.PngImagePlugin import PngInfo

        done, chunks = self.derivation, PngInfo()
        quantity = "" if done.quantity == "image" else f"pixel value={factor} x {done.quantity}"
        texts = {
            "Software": f"{done.software} {done.version}",
            "Description": done.description,
            "Comment": "; ".join(filter(None, [quantity, done.settings_text()])),
            "Warning": f"{_SYNTHETIC} {_RESEARCH}" if done.synthetic else _RESEARCH,
        }
        for keyword, text in texts.items():
            if text:
                chunks.add_text(keyword, text)
        return chunks


def _check_bits(bits: int) -> int:
    if check_integer("bits", bits, 8, 16) not in (8, 16):
        raise ValueError(f"bits={bits!r} must be 8 or 16.")
    return bits


def _as_shown(array: np.ndarray, affine: np.ndarray | None) -> np.ndarray:
    """The array with its axes as the reader gives them: columns to the left in RAS, then rows to the back."""
    if affine is None:
        return array
    linear = affine[:2, :2]
    if abs(linear[0, 1]) + abs(linear[1, 0]) > abs(linear[0, 0]) + abs(linear[1, 1]):
        array, linear = array.T, linear[:, ::-1]
    return np.flip(array, tuple(axis for axis in (0, 1) if linear[axis, axis] > 0))


def _as_levels(values: np.ndarray, bits: int, name: str) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: the image holds NaN or infinite pixels; a PNG cannot.")
    most, rounded = 2**bits - 1, np.rint(values)
    outside = int(((rounded < 0) | (rounded > most)).sum())
    if outside:
        logger.warning(
            "%s: %d of %d pixels lie outside 0 to %d (from %g to %g) and are cut.",
            *(name, outside, rounded.size, most, rounded.min(), rounded.max()),
        )
    return rounded.clip(0, most).astype(np.uint8 if bits == 8 else np.uint16)
