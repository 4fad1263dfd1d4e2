"""What was found in a data set, and who goes into which split."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["SPLITS", "Findings", "Found", "Skipped", "assign", "checksum", "named_splits", "unrepeated"]

SPLITS = ("training", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Found:
    """An image that goes into the list.

    Args:
        files: its file, or the files of its DICOM series; absolute.
        subject: key of the patient.
        what: words for the report.
        dimensions: 2 for a slice or projection, 3 for a volume.
        extra: further entries of the item, for example ``{"class": "normal"}``; those in ``paths`` are absolute paths.
        paths: which of ``extra`` are paths.
        split: the split that the data set itself prescribes.
        original: the file that ``files`` are to be converted from.
    """

    files: tuple[str, ...]
    subject: str
    what: str
    dimensions: int
    extra: Mapping[str, str] = dataclasses.field(default_factory=dict)
    paths: tuple[str, ...] = ()
    split: str | None = None
    original: str | None = None


@dataclasses.dataclass(frozen=True)
class Skipped:
    """A file or series that does not go into the list, and why."""

    path: str
    reason: str
    what: str = ""


@dataclasses.dataclass
class Findings:
    """All that was seen in the folders of a data set, and remarks on it."""

    found: list[Found] = dataclasses.field(default_factory=list)
    skipped: list[Skipped] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)


def named_splits(
    validation: Sequence[str] | None, test: Sequence[str] | None, split_file: str | None
) -> dict[str, list[str]]:
    """The subjects that the user names, by split; a split that is not named is absent.

    Args:
        validation: subjects of ``--validation-subjects``.
        test: subjects of ``--test-subjects``.
        split_file: JSON with lists training, validation and test of subjects, or of items of a datalist.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if both ways are used, or the file is malformed.
    """
    named = {"validation": validation, "test": test}
    given = {split: list(subjects) for split, subjects in named.items() if subjects is not None}
    if split_file is None:
        return given
    if given:
        raise ValueError("--split-file names all subjects; leave out --validation-subjects and --test-subjects.")
    path = Path(split_file).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"--split-file {split_file!r} is no file.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"--split-file {split_file!r} is no valid JSON: {error}") from error
    lists = {split: content[split] for split in SPLITS if split in content} if isinstance(content, dict) else {}
    if not lists or not all(isinstance(entries, list) for entries in lists.values()):
        raise ValueError(f"--split-file {split_file!r} must hold lists training, validation or test of subjects.")
    return {split: _subjects(entries, split_file, split) for split, entries in lists.items()}


def _subjects(entries: Sequence[Any], split_file: str, split: str) -> list[str]:
    """Subjects of a list of subjects, or of items with a subject each."""
    found = [entry.get("subject") if isinstance(entry, dict) else entry for entry in entries]
    for entry, subject in zip(entries, found):
        if not isinstance(subject, (str, int)):
            raise ValueError(f"--split-file {split_file!r}: {split} holds {entry!r}; allowed: names, items with one.")
    return list(dict.fromkeys(map(str, found)))


def assign(
    found: Sequence[Found],
    named: Mapping[str, Sequence[str]],
    fractions: Mapping[str, float],
    seed: int,
    strict: bool = True,
) -> dict[str, str]:
    """The split of each subject; one that is absent from the result is in none.

    Splits that the data set prescribes stay. Named subjects go where they are named. Of the others, each split that is
    not named gets its fraction, in the order of their hashes, as in ``monai_cdiff.data.make_datalist``; the rest is for
    training, or for nothing where the subjects of the training are named.

    Args:
        found: the images.
        named: subjects, or their PatientIDs, by split.
        fractions: share of the subjects for validation and test.
        seed: decides the draw, together with the subjects alone.
        strict: whether a named subject must be there.

    Raises:
        ValueError: if a named subject is in two splits, or not there though ``strict``.
    """
    from monai_cdiff.utils import derive_seed

    from .series import patient_key

    split_of: dict[str, str] = {}
    for image in found:
        if image.split is not None:
            _put(split_of, image.subject, image.split)
    known = {image.subject for image in found}
    for split, names in named.items():
        for name in names:
            key = next((key for key in (name, patient_key(name)) if key in known), None)
            if key is not None:
                _put(split_of, key, split)
            elif strict:
                some = ", ".join(sorted(known)[:5]) + (", ..." if len(known) > 5 else "")
                raise ValueError(f"{name!r} is no subject or PatientID of the {len(known)} patients there are: {some}")
    pool = sorted(known - set(split_of), key=lambda subject: derive_seed(seed, subject))
    prescribed = {image.split for image in found}
    shares = {s: share for s, share in fractions.items() if s not in named and s not in prescribed and share > 0}
    counts = {split: max(1, round(len(pool) * share)) for split, share in shares.items()}
    while counts and sum(counts.values()) >= len(pool) and any(counts.values()):
        counts[max(counts, key=lambda split: counts[split])] -= 1
    dealt = iter(pool)
    for split, count in counts.items():
        split_of.update((next(dealt), split) for _ in range(count))
    if "training" not in named:
        split_of.update((subject, "training") for subject in dealt)
    return split_of


def _put(split_of: dict[str, str], subject: str, split: str) -> None:
    if split_of.setdefault(subject, split) != split:
        raise ValueError(f"subject {subject!r} is in {split_of[subject]} and in {split}; allowed: one split only.")


def checksum(image: Found) -> str:
    """SHA-256 of the file; of several, of their sorted hexadecimal SHA-256 joined by newlines."""
    files = image.files if image.original is None or Path(image.files[0]).exists() else (image.original,)
    digests = []
    for file in files:
        with open(file, "rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def unrepeated(
    images: Sequence[Found], split_of: Mapping[str, str], checksums: Mapping[tuple[str, ...], str]
) -> tuple[list[Found], list[Skipped]]:
    """The images without those whose very content is in a split that scores, under the name of another patient.

    Args:
        images: all with a split.
        split_of: split of each subject.
        checksums: of each image, by its files.
    """
    first: dict[str, Found] = {}
    kept, skipped = [], []
    for image in sorted(images, key=lambda image: -SPLITS.index(split_of[image.subject])):
        twin = first.setdefault(checksums[image.files], image)
        if split_of[twin.subject] == split_of[image.subject]:
            kept.append(image)
        else:
            reason = f"the same content is in {split_of[twin.subject]}, as {twin.files[0]}"
            skipped.append(Skipped(image.files[0], reason, image.what))
    return kept, skipped
