"""The masks of the images to inpaint: a file for one image, or a folder of the same names for many."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..utils import root_cause
from .dicom_series import scan_series
from .patient_folders import is_nifti, is_raster, stem

__all__ = ["check_inputs", "with_masks"]


def with_masks(
    items: Sequence[Mapping[str, Any]], mask: str | os.PathLike[str] | None, input_root: str | os.PathLike[str] = ""
) -> list[dict[str, Any]]:
    """Each image to inpaint with its mask.

    A mask is a NIfTI file, a picture (PNG and the like), or a DICOM series, whatever the image is: 0 where the image
    was measured, any other number where it is to be filled. In a folder of masks, the mask of an image has the name of
    its file (less the ending), that of a series the name of the folder of the series; folders between ``input_root``
    and the image may be repeated.

    Args:
        items: what :py:func:`list_inputs` found.
        mask: a mask for one image, or a folder of masks.
        input_root: the folder that the images lie in.

    Returns:
        The items with ``mask``: a path or the files of a DICOM series.

    Raises:
        FileNotFoundError: if there is no such file or folder, or an image has no mask.
        ValueError: if no mask is given, or several could be meant.

    Example:
        >>> with_masks(list_inputs("/data/t1"), "/data/holes", "/data/t1")  # doctest: +SKIP
    """
    if not mask:
        raise ValueError(f"mask={mask!r}: give what is to be filled, as --mask PATH: a file, or a folder of masks.")
    path = Path(mask).expanduser().absolute()
    if not path.exists():
        raise FileNotFoundError(f"mask={str(path)!r} does not exist.")
    if path.is_file() or _is_series(path):
        if len(items) > 1:
            raise ValueError(
                f"mask={str(path)!r} is one mask for {len(items)} images; give a folder of masks of the same names."
            )
        return [{**item, "mask": _image(path)} for item in items]
    return [{**item, "mask": _find(path, item["image"], input_root)} for item in items]


def check_inputs(items: Sequence[Mapping[str, Any]], transform: Callable[[Any], Any]) -> None:
    """Prepare every image once and forget it, so that what cannot be used is refused before the first is restored.

    Raises:
        ValueError: for the first image that cannot be prepared; the message names its file.
    """
    for item in items:
        try:
            transform(dict(item))
        except Exception as error:
            cause, image = root_cause(error), item["image"]
            file = image if isinstance(image, str) else image[0]
            text = str(cause)
            raise ValueError(text if file in text else f"{file}: {text}") from error


def _find(folder: Path, image: str | Sequence[str], root: str | os.PathLike[str]) -> Any:
    file = image if isinstance(image, str) else image[0]
    series = not isinstance(image, str) and len(image) > 1
    place, name = (Path(file).parent.parent, Path(file).parent.name) if series else (Path(file).parent, stem(file))
    between = os.path.relpath(place, root) if root else "."
    inside = [] if between.startswith(os.pardir) or between == "." else [folder / between]
    for where in (*inside, folder):
        found = [p for p in sorted(where.iterdir()) if _named(p, name)] if where.is_dir() else []
        if len(found) > 1:
            names = ", ".join(p.name for p in found)
            raise ValueError(f"mask: {where} holds several masks named {name!r}: {names}.")
        if found:
            return _image(found[0])
    raise FileNotFoundError(f"mask: no mask named {name!r} for {file} in {[*inside, folder][0]}.")


def _named(path: Path, name: str) -> bool:
    if path.is_dir():
        return path.name == name
    known = is_nifti(path.name) or is_raster(path.name) or path.suffix.lower() in (".dcm", "")
    return known and stem(path.name) == name


def _is_series(path: Path) -> bool:
    return path.is_dir() and any(scan_series([str(p) for p in sorted(path.iterdir()) if p.is_file()]))


def _image(path: Path) -> str | list[str]:
    if path.is_file():
        return str(path) if is_nifti(path.name) or is_raster(path.name) else [str(path)]
    return sorted(str(p) for p in path.rglob("*") if p.is_file())
