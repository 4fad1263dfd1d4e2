"""A reader study by two-alternative forced choice: one page to read, and one key that stays with who made it.

Hung et al. (Bioengineering 10:1258, 2023) asked readers to tell real images from restored ones, pair by pair. The page
is one file that needs no network and says nothing of what is real: the images carry no name, and are stored as PNG
without compression, so that the smoothness of one does not show in its size.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import logging
import os
import re
import secrets
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..data import is_jpeg
from ..utils import check_integer, derive_seed, replacing
from .image_pairs import ImagePair, list_pairs, read_pair

__all__ = ["KEY_FORMAT", "SIDES", "key_path", "make_study"]

KEY_FORMAT = "monai_cdiff reader study key 1"
SIDES = ("left", "right")
_LARGE_MIB = 200

logger = logging.getLogger(__name__)


def make_study(
    real: str | os.PathLike[str],
    generated: str | os.PathLike[str],
    out: str | os.PathLike[str],
    num_pairs: int | None = None,
    seed: int | None = None,
    title: str = "Reader study",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write the page of a study, and beside it the key.

    Which pairs are drawn, their order and which side is real hang on the seed and the names of the images. Both sides
    are real as often, for an odd number of pairs but for one.

    Args:
        real: folder of real images, as :py:func:`list_pairs` takes it.
        generated: folder of what was generated of them.
        out: the page to write, ending in .html; ``.key.json`` in place of that is the key.
        num_pairs: how many pairs to draw; by default all.
        seed: of what is random, at least 0; by default drawn anew, so that nobody knows it who has not seen the key.
        title: what the page calls the study.
        overwrite: replace files that exist.

    Returns:
        The key, as it was written.

    Raises:
        FileExistsError: if the page or the key exists, unless ``overwrite``.
        ValueError: if an argument is wrong, or images are, as :py:func:`list_pairs` and :py:func:`read_pair` say.

    Example:
        >>> key = make_study("/data/originals", "/data/restored", "study.html", num_pairs=50)  # doctest: +SKIP
    """
    page, key_file = _check_out(out, overwrite)
    if not title.strip():
        raise ValueError(f"title={title!r} is empty; give some words.")
    pairs = list_pairs(real, generated)
    count = len(pairs) if num_pairs is None else check_integer("num_pairs", num_pairs, 1, len(pairs))
    seed = secrets.randbits(62) if seed is None else check_integer("seed", seed, 0)
    drawn = _shuffled(seed, "order", _shuffled(seed, "draw", pairs)[:count])
    sides = _sides(seed, drawn)
    shown = [_shown(pair, side) for pair, side in zip(drawn, sides)]
    study = hashlib.blake2b(json.dumps([title, shown]).encode(), digest_size=12).hexdigest()
    key = {
        "format": KEY_FORMAT,
        "study": study,
        "title": title,
        "software": f"monai_cdiff {__version__}",
        "seed": seed,
        "pairs": [
            {"pair": number, "real": side, "name": pair.name}
            for number, (pair, side) in enumerate(zip(drawn, sides), start=1)
        ],
    }
    text = _page(title, {"study": study, "pairs": shown})
    _warn(drawn, len(text))
    # both or neither
    with replacing(page) as new_page, replacing(key_file) as new_key:
        new_page.write_text(text, encoding="utf-8")
        new_key.write_text(json.dumps(key, indent=2) + "\n", encoding="utf-8")
    return key


def key_path(page: str | os.PathLike[str]) -> Path:
    """Where the key of a page is.

    Example:
        >>> key_path("study.html").name
        'study.key.json'
    """
    return Path(page).with_suffix(".key.json")


def _check_out(out: str | os.PathLike[str], overwrite: bool) -> tuple[Path, Path]:
    page = Path(out)
    if page.suffix.lower() != ".html":
        raise ValueError(f"out={str(out)!r}: what is written is a page; its name must end in .html.")
    for file in (page, key_path(page)):
        if file.is_dir():
            raise IsADirectoryError(f"out={str(out)!r}: {file} is a folder; give another name.")
        if file.exists() and not overwrite:
            raise FileExistsError(f"out={str(out)!r}: {file} exists; remove it, or ask for overwrite.")
    return page, key_path(page)


def _shuffled(seed: int, purpose: str, pairs: list[ImagePair]) -> list[ImagePair]:
    return sorted(pairs, key=lambda pair: derive_seed(seed, purpose, pair.name))


def _sides(seed: int, pairs: list[ImagePair]) -> list[str]:
    """The side of each pair's real image."""
    first = derive_seed(seed, "first", *(pair.name for pair in pairs)) % 2
    place = {pair.name: place for place, pair in enumerate(_shuffled(seed, "side", pairs))}
    return [SIDES[(place[pair.name] + first) % 2] for pair in pairs]


def _shown(pair: ImagePair, side: str) -> dict[str, Any]:
    real, generated, aspect = read_pair(pair)
    rows, columns = real.shape
    left, right = (real, generated) if side == "left" else (generated, real)
    return {"left": _data_uri(left), "right": _data_uri(right), "aspect": round(columns * aspect / rows, 4)}


def _data_uri(pixels: np.ndarray) -> str:
    from PIL import Image

    file = io.BytesIO()
    # a smooth image would compress to fewer bytes
    Image.fromarray(pixels).save(file, "PNG", compress_level=0)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _page(title: str, study: dict[str, Any]) -> str:
    template = files(__package__).joinpath("reader_study.html").read_text(encoding="utf-8")
    # the study is numbers, an id and base64, none of which HTML could take for its own
    values = {"title": html.escape(title), "study": json.dumps(study)}
    return re.sub(r"\{\{(title|study)\}\}", lambda match: values[match[1]], template)


def _warn(pairs: list[ImagePair], size: int) -> None:
    lossy = [[is_jpeg(file) for file in (pair.real, pair.generated)] for pair in pairs]
    mixed = sum(one != other for one, other in lossy)
    if mixed:
        logger.warning(
            "%d of %d pairs hold a JPEG and an image of another format; its blocks may show which is real.",
            *(mixed, len(pairs)),
        )
    if size > _LARGE_MIB * 2**20:
        logger.warning("the page has %d MiB, which some browsers will not open; draw fewer pairs.", size // 2**20)
