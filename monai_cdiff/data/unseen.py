"""Whether what is to be scored was trained on: by subject, and by the bytes of the images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .cache_key import ContentMemo, digest, item_paths, path_files
from .patient_folders import Item

__all__ = ["check_unseen", "image_hashes"]


def check_unseen(
    items: Sequence[Item], trained: Mapping[str, Any], cache_dir: str | os.PathLike[str] | None = None
) -> None:
    """Refuse to score images of subjects that a network was trained on, or the same files under another name.

    Args:
        items: what is to be scored.
        trained: the settings of a training: ``training_subjects``, and ``training_images`` as :py:func:`image_hashes`
            gives them; what is not there is not looked at.
        cache_dir: as for :py:func:`image_hashes`.

    Raises:
        ValueError: if some of ``items`` were in the training; the message names them.
    """
    if not isinstance(trained, Mapping):
        raise ValueError(
            f"trained is {type(trained).__name__}; allowed: the settings of a training. A bundle that an older version "
            "exported says it otherwise: export it again by bundle export --overwrite."
        )
    known = sorted({item["subject"] for item in items} & set(trained.get("training_subjects", [])))
    if known:
        raise ValueError(
            f"{len(known)} subjects to score were in the training: {', '.join(known[:5])}. Give the dataset_dir and "
            "split_seed of the training, or --split training to score them all the same."
        )
    seen = set(trained.get("training_images", []))
    hashes = image_hashes(items, cache_dir) if seen else []
    same = [item_paths(item["image"])[0] for item, found in zip(items, hashes) if found in seen]
    if same:
        raise ValueError(
            f"{len(same)} images to score are, byte by byte, images of the training under other names: "
            f"{', '.join(same[:5])}. Take them out of the datalist, or take their twins out of the training."
        )


def image_hashes(items: Sequence[Item], cache_dir: str | os.PathLike[str] | None = None) -> list[str]:
    """A hash of the bytes of each item's image, the same wherever the files lie and whatever they are called.

    Args:
        items: with ``image``, a file, a folder, or the files of a series in any order.
        cache_dir: where hashes are kept, so that no file is read twice; None keeps none.

    Returns:
        16 hexadecimal digits for each item.

    Raises:
        FileNotFoundError: if an image names no file.
        OSError: if a file cannot be read.
    """
    memo = ContentMemo(None if cache_dir is None else Path(cache_dir) / "contents.json")
    found = [digest(sorted(memo.digest([file]) for file in _files(item)))[:16] for item in items]
    if cache_dir is not None:
        with suppress(OSError):  # they can be found again
            memo.save()
    return found


def _files(item: Item) -> list[Path]:
    files = [file for path in item_paths(item["image"]) for file in path_files(Path(path).expanduser())]
    if not files:
        raise FileNotFoundError(f"image={item['image']!r} names no file.")
    return files
