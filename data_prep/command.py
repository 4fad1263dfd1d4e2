"""What all scripts here share: arguments, the datalist with its checksums, the report, and how errors are shown."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import logging
import os
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

from .splits import SPLITS, Findings, Found, Skipped, assign, checksum, named_splits, unrepeated
from .volumes import VOLUMES, convert, image_fault

__all__ = ["DataSet", "make_parser", "run", "walk"]

Lists: TypeAlias = "dict[str, list[Found]]"

WRONG_INPUT = 2
_THREADS = 4
_SHOWN = 30  # longer lists are cut on the screen and whole in the report file
_SHOWN_OF_A_REASON = 3
_NO_CONTENT = ("roots", "out", "overwrite", "dry_run")


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A script and what it says of its data set.

    Args:
        script: name of the module.
        name: of the data set.
        description: of the data set, for the datalist.
        licence: of the images.
        official_test: whether the data set prescribes who is in the test.
    """

    script: str
    name: str
    description: str
    licence: str
    official_test: bool = False


def make_parser(data_set: DataSet, help_text: str, several: bool = True) -> argparse.ArgumentParser:
    """The arguments that all scripts have; those of one script are added by it.

    Args:
        data_set: what the script is for.
        help_text: what ``--help`` begins with.
        several: whether it takes several folders.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m data_prep.{data_set.script}",
        description=help_text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="The exit code is 0 when the list is written, or was there already; 2 for wrong input.",
    )
    parser.add_argument("roots", metavar="ROOT", nargs="+" if several else 1, help="folder of the data set")
    parser.add_argument("out", metavar="OUT.json", help="datalist to write; OUT.report.json comes beside it")
    split = parser.add_argument_group("who goes where (always whole patients)")
    for name in ("validation",) if data_set.official_test else ("validation", "test"):
        split.add_argument(f"--{name}", type=float, default=0.15, metavar="SHARE", help="default %(default)s")
        split.add_argument(f"--{name}-subjects", nargs="+", metavar="NAME", help="PatientIDs, or subjects of the list")
    split.add_argument("--split-file", metavar="JSON", help="lists of names; or another datalist, to split as it does")
    split.add_argument("--seed", type=int, default=0, help="decides who is drawn; default %(default)s")
    split.add_argument("--allow-empty", action="store_true", help="write the list although a split is empty")
    parser.add_argument("--skip-unreadable", action="store_true", help="leave out damaged files instead of stopping")
    parser.add_argument("--overwrite", action="store_true", help="replace a list of other content")
    parser.add_argument("--dry-run", action="store_true", help="only report; write nothing")
    return parser


def run(
    parser: argparse.ArgumentParser,
    find: Callable[[argparse.Namespace, list[Path]], Findings],
    data_set: DataSet,
    arguments: Sequence[str] | None,
) -> int:
    """Find the images, split them, write list and report.

    Args:
        parser: from :py:func:`make_parser`.
        find: what looks through the folders.
        data_set: what the script is for.
        arguments: words of the command line; default: those of this process.

    Returns:
        0, or 2 for wrong input, whose reason is on stderr.
    """
    args = parser.parse_args(arguments)
    logger = logging.getLogger("monai_cdiff")
    level = logger.level
    logger.setLevel(logging.ERROR)  # what it would warn of is in the report, with its reason
    try:
        lines = _prepare(args, find, data_set)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_INPUT
    finally:
        logger.setLevel(level)
    try:
        print("\n".join(lines), flush=True)
    except BrokenPipeError:  # who reads only the first lines, as head does, has the list all the same
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def walk(roots: Sequence[Path]) -> list[tuple[Path, list[str]]]:
    """The files below each folder."""
    from monai_cdiff.data import list_files

    return [(root, list_files(root)) for root in roots]


def _prepare(args: argparse.Namespace, find: Callable[..., Findings], data_set: DataSet) -> list[str]:
    out = _check(args)
    roots = _roots(args.roots)
    fractions = {split: getattr(args, split) for split in ("validation", "test") if hasattr(args, split)}
    named = named_splits(args.validation_subjects, getattr(args, "test_subjects", None), args.split_file)
    findings = find(args, roots)
    findings.found = list({image.files: image for image in findings.found}.values())
    if not findings.found:
        listed = "\n".join(_skipped_lines(findings.skipped))
        raise ValueError(f"{', '.join(map(str, roots))}: no matching image.\n{listed}")
    _check_readable(findings, args.skip_unreadable)
    _check_dimensions(findings.found)
    split_of = assign(findings.found, named, fractions, args.seed, strict=args.split_file is None)
    for image in findings.found:
        if image.original is not None and not args.dry_run:
            convert(image.original, image.files[0], args.overwrite)
    lists, checksums = _lists(findings, split_of)
    _check_filled(lists, args.allow_empty)
    keys = {split: sorted(s for s in split_of if split_of[s] == split) for split in named}
    head = _head(args, data_set, roots, out, keys)
    datalist = {**head, **_content(lists, checksums, out)}
    report = _report(head, findings, lists)
    files = {out: _text(datalist), out.with_suffix(".report.json"): _text(report)}
    return [*_printed(findings, lists), _write(files, args.overwrite, args.dry_run)]


def _check(args: argparse.Namespace) -> Path:
    from monai_cdiff.utils import check_integer, check_number

    shares = [check_number(f"--{s}", getattr(args, s), 0, 1) for s in ("validation", "test") if hasattr(args, s)]
    if sum(shares) >= 1:
        raise ValueError(f"--validation and --test are {sum(shares):g} together; something must be left for training.")
    check_integer("--seed", args.seed, 0)
    out = Path(os.path.abspath(os.path.expanduser(args.out)))
    if out.suffix != ".json" or out.is_dir():
        raise ValueError(f"OUT.json={args.out!r} must be the name of a file that ends in .json.")
    if any(parent.is_file() for parent in out.parents):
        raise ValueError(f"OUT.json={args.out!r} lies in a file; allowed: a folder, or one that can be made.")
    return out


def _roots(given: Sequence[str]) -> list[Path]:
    roots = [Path(os.path.abspath(os.path.expanduser(root))) for root in given]
    for root in roots:
        if not root.exists():
            raise FileNotFoundError(f"ROOT={str(root)!r} does not exist.")
        if not root.is_dir():
            raise ValueError(f"ROOT={str(root)!r} is a file; allowed: a folder.")
        if not any(root.iterdir()):
            raise ValueError(f"ROOT={str(root)!r} is empty.")
        twice = next((other for other in roots if other is not root and root.is_relative_to(other)), None)
        if twice is not None:
            raise ValueError(f"ROOT={str(root)!r} lies in {str(twice)!r}, which is given too; give one of them.")
    return roots


def _check_readable(findings: Findings, skip: bool) -> None:
    """Read what is no DICOM to its end; DICOM series were read when they were found."""
    from monai_cdiff.data import is_raster

    files = {image.files: image.original or image.files[0] for image in findings.found}
    files = {key: file for key, file in files.items() if is_raster(file) or file.lower().endswith(VOLUMES)}
    with ThreadPoolExecutor(_THREADS) as pool:
        faults = dict(zip(files, pool.map(image_fault, files.values())))
    bad = {key: fault for key, fault in faults.items() if fault}
    if bad and not skip:
        key, fault = next(iter(bad.items()))
        more = f" {len(bad)} files are like that." if len(bad) > 1 else ""
        raise ValueError(f"{files[key]}: {fault.rstrip('.')}.{more} --skip-unreadable leaves out what cannot be read.")
    findings.skipped += [Skipped(files[key], fault) for key, fault in bad.items()]
    findings.found = [image for image in findings.found if image.files not in bad]


def _check_dimensions(found: Sequence[Found]) -> None:
    example = {image.dimensions: image.files[0] for image in found}
    if len(example) > 1:
        raise ValueError(f"images of two and three dimensions are mixed: {example[2]} and {example[3]}; keep one kind.")


def _lists(findings: Findings, split_of: dict[str, str]) -> tuple[Lists, dict[tuple[str, ...], str]]:
    """The images of each split, in the order of the list, and the checksum of each."""
    outside = [image for image in findings.found if image.subject not in split_of]
    reason = "its subject is in none of the lists of --split-file"
    findings.skipped += [Skipped(image.files[0], reason, image.what) for image in outside]
    images = [image for image in findings.found if image.subject in split_of]
    with ThreadPoolExecutor(_THREADS) as pool:
        checksums = dict(zip((image.files for image in images), pool.map(checksum, images)))
    images, repeated = unrepeated(images, split_of, checksums)
    findings.skipped += repeated
    images.sort(key=lambda image: (image.subject, image.files))
    lists = {split: [image for image in images if split_of[image.subject] == split] for split in SPLITS}
    return lists, checksums


def _check_filled(lists: Lists, allow_empty: bool) -> None:
    empty = [split for split, images in lists.items() if not images]
    if not empty or allow_empty:
        return
    subjects = len({image.subject for images in lists.values() for image in images})
    raise ValueError(
        f"nobody is left for {' and '.join(empty)}: {subjects} patient(s) for {', '.join(SPLITS)}. Add patients, or "
        "change the shares or names of the splits; --allow-empty writes the list all the same."
    )


def _head(
    args: argparse.Namespace, data_set: DataSet, roots: Sequence[Path], out: Path, keys: dict[str, list[str]]
) -> dict[str, Any]:
    """What stands above the lists; the command holds all options, and keys where PatientIDs were given."""
    options: dict[str, Any] = {k: v for k, v in vars(args).items() if k not in _NO_CONTENT}
    if args.split_file is None:
        options.update((f"{split}_subjects", subjects) for split, subjects in keys.items())
    for path in {"split_file", "labels", "convert"} & {name for name, value in options.items() if value is not None}:
        options[path] = _relative(os.path.abspath(os.path.expanduser(options[path])), out)
    words = ["python", "-m", f"data_prep.{data_set.script}", *(_relative(str(root), out) for root in roots), out.name]
    for name, value in options.items():
        if value is not None and value is not False:
            values = value if isinstance(value, list) else [] if value is True else [value]
            words += [f"--{name.replace('_', '-')}", *map(str, values)]
    head = {"name": data_set.name, "description": data_set.description, "licence": data_set.licence}
    return {**head, "command": shlex.join(words)}


def _content(lists: Lists, checksums: dict[tuple[str, ...], str], out: Path) -> dict[str, Any]:
    def item(image: Found) -> dict[str, Any]:
        files = [_relative(file, out) for file in image.files]
        extra = {k: _relative(v, out) if k in image.paths else v for k, v in image.extra.items()}
        # one DICOM file of a volume stays a list, which tells it from a slice
        single = len(files) == 1 and (image.dimensions == 2 or image.files[0].lower().endswith((".nii", ".nii.gz")))
        head = {"image": files[0] if single else files, "subject": image.subject}
        return {**head, **extra, "sha256": checksums[image.files]}

    written = {split: [item(image) for image in images] for split, images in lists.items()}
    everything = "\n".join(f"{split} {i['subject']} {i['sha256']}" for split, items in written.items() for i in items)
    return {"sha256": hashlib.sha256(everything.encode()).hexdigest(), **written}


def _report(head: dict[str, Any], findings: Findings, lists: Lists) -> dict[str, Any]:
    taken = [
        {"path": i.files[0], "files": len(i.files), "subject": i.subject, "split": split, "what": i.what}
        for split, images in lists.items()
        for i in images
    ]
    skipped = [dataclasses.asdict(skip) for skip in _ordered(findings.skipped)]
    counts = {split: _counts(images) for split, images in lists.items()}
    return {"command": head["command"], "notes": findings.notes, "splits": counts, "taken": taken, "skipped": skipped}


def _counts(images: Sequence[Found]) -> dict[str, Any]:
    classes = Counter(image.extra["class"] for image in images if "class" in image.extra)
    counts: dict[str, Any] = {"subjects": len({image.subject for image in images}), "images": len(images)}
    return {**counts, "classes": dict(sorted(classes.items()))} if classes else counts


def _printed(findings: Findings, lists: Lists) -> list[str]:
    from monai_cdiff.data import summarize_datalist

    summary = summarize_datalist({split: [{"subject": i.subject} for i in images] for split, images in lists.items()})
    lines = []
    for line, images in zip(summary.splitlines(), lists.values()):
        classes = _counts(images).get("classes", {})
        lines.append(line + (f" ({', '.join(f'{n} {c}' for c, n in classes.items())})" if classes else ""))
    taken = [(split, image) for split, images in lists.items() for image in images]
    if len(taken) <= _SHOWN:
        for split, image in taken:
            added = "".join(f", with {name}" for name in image.paths if name in image.extra)
            lines.append(f"  {split}: {image.subject}, {image.what}{added}: {image.files[0]}")
    return [*lines, *_skipped_lines(findings.skipped), *findings.notes]


def _ordered(skipped: Sequence[Skipped]) -> list[Skipped]:
    return sorted(skipped, key=lambda skip: (skip.path, skip.what, skip.reason))


def _skipped_lines(skipped: Sequence[Skipped]) -> list[str]:
    """Each reason, how often it holds, and the first for which it does."""
    reasons: dict[str, list[Skipped]] = {}
    for skip in _ordered(skipped):
        reasons.setdefault(skip.reason, []).append(skip)
    lines = [f"skipped: {len(skipped)}"]
    for reason, some in list(reasons.items())[:_SHOWN]:
        lines.append(f"  {len(some)} x {reason if len(reason) < 240 else reason[:237] + '...'}")
        lines += [f"      {skip.what + ': ' if skip.what else ''}{skip.path}" for skip in some[:_SHOWN_OF_A_REASON]]
        lines += [f"      and {len(some) - _SHOWN_OF_A_REASON} more"] if len(some) > _SHOWN_OF_A_REASON else []
    return lines + ([f"  and {len(reasons) - _SHOWN} more reasons"] if len(reasons) > _SHOWN else [])


def _write(files: dict[Path, str], overwrite: bool, dry_run: bool) -> str:
    """Write what has changed, and tell what was done; a report of other files left out is no change of the list."""
    changed = [path for path, text in files.items() if not _has(path, text)]
    there = [str(path) for path in changed if path.exists()]
    out, report = files
    if not overwrite and _same_lists(out, files[out]):
        changed, there = [path for path in changed if path == report], []
    if dry_run:
        state = "would be replaced" if there else "would be written" if out in changed else "is there already, the same"
        return f"dry run, nothing is written: {out} {state}"
    if there and not overwrite:
        raise FileExistsError(
            f"{' and '.join(there)}: there, with other content (the images, options or checksums differ). --overwrite "
            "replaces it."
        )
    from monai_cdiff.data import write_datalist

    for path in changed:
        write_datalist(json.loads(files[path]), path)
    state = "is written" if out in changed else "is there already, the same"
    return f"{out} {state}{'; its report is written anew' if changed == [report] else ''}"


def _has(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()


def _same_lists(path: Path, text: str) -> bool:
    """Whether a datalist on disk has the same items with the same checksums; the command may be another."""
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(there, dict) and {**there, "command": ""} == {**json.loads(text), "command": ""}


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"


def _relative(path: str, out: Path) -> str:
    return Path(os.path.relpath(path, out.parent)).as_posix()
