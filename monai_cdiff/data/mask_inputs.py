"""The masks of the images to inpaint: a file for one image, or a folder of the same names for many."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .dicom_series import scan_series
from .patient_folders import is_jpeg, is_nifti, is_raster, stem

__all__ = ["with_masks"]


def with_masks(
    items: Sequence[Mapping[str, Any]], mask: str | os.PathLike[str] | None, input_root: str | os.PathLike[str] = ""
) -> list[dict[str, Any]]:
    """Each image to inpaint with its mask.

    A mask is a NIfTI file, a picture (PNG and the like, but no JPEG, which blurs edges), or a DICOM series, whatever
    the image is: 0 where the image was measured, any other number where it is to be filled. In a folder of masks, the
    mask of an image has the name of its file (less the ending), that of a series, and of one that is a single file, the
    name of the folder of the series; folders between ``input_root`` and the image may be repeated.

    Args:
        items: what :py:func:`list_inputs` found.
        mask: a mask for one image, or a folder of masks.
        input_root: the folder that the images lie in.

    Returns:
        The items with ``mask``: a path or the files of a DICOM series.

    Raises:
        FileNotFoundError: if there is no such file or folder, or an image has no mask.
        ValueError: if no mask is given, several could be meant, or one is a JPEG.

    Example:
        >>> with_masks(list_inputs("/data/t1"), "/data/holes", "/data/t1")  # doctest: +SKIP
    """
    if not mask:
        raise ValueError(f"mask={mask!r}: give what is to be filled, as --mask PATH: a file, or a folder of masks.")
    path = Path(mask).expanduser().absolute()
    if not path.exists():
        raise FileNotFoundError(f"mask={str(path)!r} does not exist.")
    if path.is_file() and len(items) > 1:
        raise ValueError(
            f"mask={str(path)!r} is one mask for {len(items)} images; give a folder of masks of the same names."
        )
    if path.is_file():
        return [{**item, "mask": _image(path)} for item in items]
    folders = Counter(_folder(item["image"]) for item in items)
    try:
        return [{**item, "mask": _find(path, item["image"], input_root, folders)} for item in items]
    except FileNotFoundError:
        if len(items) == 1 and _is_series(path):
            return [{**items[0], "mask": _image(path)}]
        raise


def _find(
    folder: Path, image: str | Sequence[str], root: str | os.PathLike[str], folders: Mapping[Path, int]
) -> str | list[str]:
    own, series = _folder(image), not isinstance(image, str) and len(image) > 1
    file = image if isinstance(image, str) else image[0]
    known = [] if series else [(own, stem(file))]
    if series or (file != image and folders[own] == 1):  # a series of one file, not one of many X-rays in a folder
        known.append((own.parent, own.name))
    places = [(where, name) for place, name in known for where in _places(folder, place, root)]
    for where, name in places:
        found = [p for p in sorted(where.iterdir()) if _named(p, name)] if where.is_dir() else []
        if len(found) > 1:
            names = ", ".join(p.name for p in found)
            raise ValueError(f"mask: {where} holds several masks named {name!r}: {names}.")
        if found:
            return _image(found[0])
    names = " or ".join(repr(name) for _, name in known)
    raise FileNotFoundError(f"mask: no mask named {names} for {file} in {places[0][0]}.")


def _places(folder: Path, place: Path, root: str | os.PathLike[str]) -> list[Path]:
    """Where the mask of an image in ``place`` may lie: below the same folders, or in ``folder`` itself."""
    between = os.path.relpath(place, root) if root else os.curdir
    inside = between != os.curdir and Path(between).parts[0] != os.pardir
    return [folder / between, folder] if inside else [folder]


def _folder(image: str | Sequence[str]) -> Path:
    return Path(image if isinstance(image, str) else image[0]).parent


def _named(path: Path, name: str) -> bool:
    if path.is_dir():
        return path.name == name
    known = is_nifti(path.name) or is_raster(path.name) or path.suffix.lower() in (".dcm", "")
    return known and stem(path.name) == name


def _is_series(path: Path) -> bool:
    return path.is_dir() and any(scan_series([str(p) for p in sorted(path.iterdir()) if p.is_file()]))


def _image(path: Path) -> str | list[str]:
    if is_jpeg(path.name):
        raise ValueError(f"mask={str(path)!r}: a JPEG is not exact, so it would cover more than was drawn; give a PNG.")
    if path.is_file():
        return str(path) if is_nifti(path.name) or is_raster(path.name) else [str(path)]
    return sorted(str(p) for p in path.rglob("*") if p.is_file())
