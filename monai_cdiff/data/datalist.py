"""Which images there are and who trains on them: lists in MONAI's decathlon form, split by subject.

A list is ``{"training": [...], "validation": [...], "test": [...]}`` with items
``{"image": path or DICOM files, "subject": key}``. A subject is never in two splits.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from ..utils import check_integer, check_number, check_option, derive_seed, write_json
from .dicom_series import scan_series
from .patient_folders import Item, dicom_items, find_items, image_dimensions, is_nifti, is_raster, stem

__all__ = ["make_datalist", "summarize_datalist", "write_datalist"]

PathLike: TypeAlias = "str | os.PathLike[str]"

SPLITS = ("training", "validation", "test")
# what the items of a JSON may have besides image and subject
FURTHER = ("class", "label", "zones")
FURTHER_PATHS = ("label", "zones")

logger = logging.getLogger(__name__)


def make_datalist(
    dataset_dir: PathLike | Sequence[PathLike],
    series: str | None = None,
    plane: str | None = None,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    dimensions: int | None = None,
    required: Sequence[str] = (),
    needed: Sequence[str] = SPLITS,
) -> dict[str, list[Item]]:
    """Find the images of a data set and split them by subject.

    A folder holds one folder for each patient, with NIfTI files, pictures (PNG, JPEG, BMP, TIFF) or DICOM series at
    any depth. All NIfTI files or pictures of a patient folder are taken, and its name is the subject; those beside the
    patient folders are a subject each.
    Of DICOM, one series of each study is taken, of an X-ray series each file as an image, and the subject is a hash of
    the header's PatientID, so a patient who fills two folders stays one subject. A datalist JSON names its images
    itself, with paths relative to it; a list that it lacks is split from its training list.

    Who goes where depends on ``seed`` and the subjects alone, not on the order of the folders.

    Args:
        dataset_dir: a folder of patient folders, several such folders, or a datalist JSON file.
        series: which DICOM series, as a pattern of the description with ``*`` and ``?`` ("t2*"); None takes any.
        plane: which DICOM series, by its plane: "axial", "coronal" or "sagittal"; None takes any.
        fractions: share of the subjects in training, validation and test; each above 0, together 1.
        seed: whole number that decides the split.
        dimensions: 2 or 3, where images of the other kind are not to be taken; None takes either.
        required: entries that every item must have, of "class", "label" and "zones"; only a datalist JSON names them.
        needed: the splits that may not be empty; a datalist JSON without training images is enough to score its test.

    Returns:
        The three lists; paths are absolute, and a DICOM image is the list of its files. Of a datalist JSON, items keep
        "class", and the paths of "label" and "zones", which are relative to it too. Where a subject has several
        images, each has a ``key`` of its own: the subject and a hash of the file names, or, where two images have the
        same, of the paths within the folder that holds them.

    Raises:
        FileNotFoundError: if a folder, or a file that the JSON names, does not exist, or one of ``required`` entries.
        ValueError: if an item lacks a required entry, there are no images or fewer than three subjects, a patient
            folder is ambiguous, the JSON is malformed, a subject is in two splits, or images of two and three
            dimensions are mixed.

    Example:
        >>> make_datalist("/data/prostate", series="t2*", plane="axial")  # doctest: +SKIP
    """
    shares = dict(zip(SPLITS, _check_fractions(fractions)))
    seed = check_integer("seed", seed, 0)
    if isinstance(needed, str) or not needed:
        raise ValueError(f"needed={needed!r} must be a list of at least one of {', '.join(SPLITS)}.")
    for split in needed:
        check_option("needed", split, SPLITS)
    paths = _check_paths(dataset_dir)
    if paths[0].is_file():
        datalist = _complete(_read_json(paths[0], series, plane, needed), shares, seed, paths[0])
    else:
        items = [item for path in paths for item in find_items(path, series, plane)]
        datalist = _split(items, shares, seed, f"dataset_dir={[str(path) for path in paths]}")
    _check_disjoint(datalist)
    _check_dimensions(datalist, dimensions)
    _check_required(datalist, required, str(paths[0]))
    return {split: _with_keys(items) for split, items in datalist.items()}


def summarize_datalist(datalist: dict[str, list[Item]]) -> str:
    """How many subjects and images each split holds, one line a split.

    Example:
        >>> print(summarize_datalist({"training": [{"image": "a.nii.gz", "subject": "a"}], "test": []}))
        training: 1 subject, 1 image
        test: 0 subjects, 0 images
    """

    def count(number: int, noun: str) -> str:
        return f"{number} {noun}{'' if number == 1 else 's'}"

    return "\n".join(
        f"{split}: {count(len({item['subject'] for item in items}), 'subject')}, {count(len(items), 'image')}"
        for split, items in datalist.items()
    )


def write_datalist(datalist: dict[str, Any], path: PathLike) -> None:
    """Write a datalist as JSON, whole or not at all; the folder is made if need be."""
    write_json(datalist, path)


def _check_fractions(fractions: Sequence[float]) -> tuple[float, ...]:
    if not isinstance(fractions, Sequence) or isinstance(fractions, str) or len(fractions) != 3:
        raise ValueError(f"fractions={fractions!r} must be three numbers (training, validation, test) of sum 1.")
    shares = tuple(check_number("fractions", share, 0.0, 1.0, open_low=True) for share in fractions)
    if abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"fractions={fractions!r} must be three numbers (training, validation, test) of sum 1.")
    return shares


def _check_paths(dataset_dir: PathLike | Sequence[PathLike]) -> list[Path]:
    sources = dataset_dir if isinstance(dataset_dir, Sequence) and not isinstance(dataset_dir, str) else [dataset_dir]
    named = [source for source in sources if source and isinstance(source, (str, os.PathLike))]
    if not named or len(named) < len(sources):
        raise ValueError(f"dataset_dir={dataset_dir!r} must be a path or a list of paths.")
    paths = [Path(os.path.abspath(os.path.expanduser(source))) for source in named]
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"dataset_dir={str(path)!r} does not exist.")
        if path.is_file() and (len(paths) > 1 or path.suffix.lower() != ".json"):
            raise ValueError(f"dataset_dir={str(path)!r} is a file; allowed: folders, or one datalist JSON file.")
    return paths


def _split(items: list[Item], shares: dict[str, float], seed: int, source: str) -> dict[str, list[Item]]:
    """Deal the subjects out in the order of their hashes; every split gets at least one."""
    subjects = sorted({item["subject"] for item in items}, key=lambda subject: derive_seed(seed, subject))
    if len(subjects) < len(shares):
        raise ValueError(
            f"{source} holds {len(items)} image(s) of {len(subjects)} subject(s); a split into {', '.join(shares)} "
            f"needs at least {len(shares)} subjects. Add subjects, or give a datalist JSON file as dataset_dir with "
            "the lists training, validation and test."
        )
    training, *others = shares
    total = sum(shares.values())
    counts = {split: max(1, round(len(subjects) * shares[split] / total)) for split in others}
    while sum(counts.values()) >= len(subjects):
        counts[max(counts, key=lambda split: counts[split])] -= 1
    split_of = dict.fromkeys(subjects, training)
    dealt = iter(subjects)
    for split, count in counts.items():
        split_of.update((next(dealt), split) for _ in range(count))
    ordered = sorted(items, key=lambda item: (item["subject"], item["image"]))
    return {split: [item for item in ordered if split_of[item["subject"]] == split] for split in shares}


def _complete(lists: dict[str, list[Item]], shares: dict[str, float], seed: int, path: Path) -> dict[str, list[Item]]:
    """Split the training list where the JSON lacks a list for validation or test."""
    absent = [split for split in SPLITS if not lists[split]]
    if not absent or not lists["training"]:
        return lists
    needed = {split: share for split, share in shares.items() if split in ("training", *absent)}
    dealt = _split(lists["training"], needed, seed, f"the training list of {path}")
    counts = ", ".join(f"{len(dealt[split])} to {split}" for split in absent)
    logger.info("%s has no list for %s; of its training list go %s.", path, " and ".join(absent), counts)
    return {**lists, **dealt}


def _read_json(path: Path, series: str | None, plane: str | None, needed: Sequence[str]) -> dict[str, list[Item]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"dataset_dir={str(path)!r} is no valid JSON: {error}") from error
    lists = {split: content.get(split) or [] for split in SPLITS} if isinstance(content, dict) else {}
    served = lists.get("training") or (lists and "training" not in needed and all(lists[split] for split in needed))
    if not served or not all(isinstance(entries, list) for entries in lists.values()):
        keys = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        enough = "" if "training" in needed else f" (or {' and '.join(needed)}, which is enough here)"
        raise ValueError(
            f"dataset_dir={str(path)!r} must hold a non-empty list training{enough}, and may hold lists validation and "
            f"test; it holds: {keys or 'nothing'}."
        )
    named = {
        split: [_entry(entry, path, f"{split}[{i}]") for i, entry in enumerate(entries)]
        for split, entries in lists.items()
    }
    files = [file for items in named.values() for item in items for file in item["image"]]
    gone = [file for file in files if not os.path.exists(file)]
    if gone:
        listed = ", ".join(gone[:5]) + (", ..." if len(gone) > 5 else "")
        raise FileNotFoundError(f"{path} names {len(files)} files, of which {len(gone)} do not exist: {listed}")
    return {
        split: [found for item in items for found in _resolve(item, path, series, plane)]
        for split, items in named.items()
    }


def _entry(entry: Any, path: Path, where: str) -> Item:
    """One entry with its paths made absolute, as a list."""
    item = entry if isinstance(entry, dict) else {"image": entry}
    images = item.get("image")
    images = [images] if isinstance(images, str) else images
    if not isinstance(images, list) or not images or not all(isinstance(image, str) and image for image in images):
        raise ValueError(f'{path}: {where}={entry!r} must be a path or {{"image": path or list of paths, ...}}.')
    absolute = [os.path.normpath(os.path.join(path.parent, os.path.expanduser(image))) for image in images]
    further = {name: item[name] for name in FURTHER if item.get(name) is not None}
    for name, value in further.items():
        if not isinstance(value, str) or not value:
            raise ValueError(f"{path}: {where}: {name}={value!r} must be text.")
        if name in FURTHER_PATHS:
            further[name] = os.path.normpath(os.path.join(path.parent, os.path.expanduser(value)))
    return {"image": absolute, "subject": item.get("subject"), **further}


def _resolve(item: Item, path: Path, series: str | None, plane: str | None) -> list[Item]:
    """The items as the loader wants them, several for a series of X-rays.

    Without a subject, DICOM takes the header's, another file its own path.
    """
    images, subject = item["image"], item["subject"]
    if len(images) == 1 and os.path.isdir(images[0]):
        found = dicom_items(scan_series(images[0]), images[0], series, plane)
    elif not is_nifti(images[0]) and not is_raster(images[0]) and (dicom := scan_series(images)):
        found = dicom_items(dicom, f"{path}: {images[0]}")
    else:
        own = os.path.join(os.path.relpath(os.path.dirname(images[0]), path.parent), stem(images[0]))
        found = [{"image": images if len(images) > 1 else images[0], "subject": os.path.normpath(own)}]
    further = {name: item[name] for name in FURTHER if name in item}
    own_subject = {} if subject is None else {"subject": str(subject)}
    return [{**one, **further, **own_subject} for one in found]


def _check_disjoint(datalist: dict[str, list[Item]]) -> None:
    seen: dict[str, str] = {}
    for split, items in datalist.items():
        for subject in {item["subject"] for item in items}:
            if subject in seen:
                raise ValueError(f"subject {subject!r} is in {seen[subject]} and in {split}; allowed: one split only.")
            seen[subject] = split


def _check_required(datalist: dict[str, list[Item]], required: Sequence[str], source: str) -> None:
    for name in required:
        check_option("required", name, FURTHER)
        for item in (item for items in datalist.values() for item in items):
            if name not in item:
                raise ValueError(f"dataset_dir={source!r}: {_files(item)[0]} has no {name!r}, which is needed here.")
            if name in FURTHER_PATHS and not os.path.isfile(item[name]):
                raise FileNotFoundError(f"{_files(item)[0]}: its {name} {item[name]} does not exist.")


def _with_keys(items: list[Item]) -> list[Item]:
    of_subject: dict[str, list[list[str]]] = {}
    for item in items:
        of_subject.setdefault(item["subject"], []).append(_files(item))
    return [
        {**item, "key": _key(item, of_subject[item["subject"]])} if len(of_subject[item["subject"]]) > 1 else item
        for item in items
    ]


def _key(item: Item, images: list[list[str]]) -> str:
    names = [[os.path.basename(file) for file in files] for files in images]
    own = names[images.index(_files(item))]
    if names.count(own) > 1:
        shared = os.path.commonpath([os.path.dirname(file) for files in images for file in files])
        own = [Path(os.path.relpath(file, shared)).as_posix() for file in _files(item)]
    digest = hashlib.blake2b("\n".join(own).encode(), digest_size=4).hexdigest()
    return f"{item['subject']}/{digest}"


def _files(item: Item) -> list[str]:
    return [item["image"]] if isinstance(item["image"], str) else sorted(item["image"])


def _check_dimensions(datalist: dict[str, list[Item]], wanted: int | None) -> None:
    example: dict[int, Any] = {}
    for item in (item for items in datalist.values() for item in items):
        dimensions = image_dimensions(item["image"])
        if dimensions is not None:
            example.setdefault(dimensions, item["image"] if isinstance(item["image"], str) else item["image"][0])
    if len(example) > 1:
        raise ValueError(
            f"images of two and of three dimensions are mixed: {example[2]} and {example[3]}; keep one kind."
        )
    if wanted is not None and example and wanted not in example:
        (found,) = example
        raise ValueError(f"{example[found]}: an image of {found} dimensions; this bundle takes images of {wanted}.")
