"""``dicom scan``: which series there are, and whether they can be restored."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .errors import FAILURE

__all__ = ["add_command"]

_HEAD = ("number", "UID", "study", "modality", "description", "plane", "size", "spacing mm", "files", "state")


def add_command(commands: Any) -> None:
    """Add ``dicom`` to the commands of an argument parser."""
    group = commands.add_parser("dicom", help="look at DICOM files")
    actions = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    scan = actions.add_parser(
        "scan",
        help="list the image series in a folder",
        description="List the image series in a file or folder (or DICOMDIR) and all folders below it, by their "
        "headers, study by study, and say of each whether it can be read as one volume and a series be derived "
        "from it (ok), only be read (read only), or neither (refused). No patient's name or ID is taken from a header. "
        "The exit code is 0 if at least one can be read, else 1.",
    )
    scan.add_argument("path", metavar="DIR", help="folder, file or DICOMDIR")
    scan.add_argument("--json", action="store_true", help="print JSON, with full UIDs and files")
    scan.add_argument("--debug", action="store_true", help="show the traceback of an error")
    scan.set_defaults(run=_scan)


def _scan(args: argparse.Namespace) -> int:
    from ..data import scan_series, series_problems

    path = os.path.dirname(os.path.abspath(args.path)) if os.path.basename(args.path) == "DICOMDIR" else args.path
    path = os.path.expanduser(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"DIR={args.path!r} does not exist.")
    with _warnings() as notes:
        found = scan_series(path)
        studies = list(dict.fromkeys(info.study_uid for info in found))
        found.sort(key=lambda info: studies.index(info.study_uid))
        problems = [series_problems(info) for info in found]
        obstacles = [None if faults else _obstacle(info) for info, faults in zip(found, problems)]
    if args.json:
        series = [
            {**_as_json(info, faults), "read_only": obstacle}
            for info, faults, obstacle in zip(found, problems, obstacles)
        ]
        print(json.dumps({"series": series, "notes": notes}, indent=2))
    else:
        print(_report(found, problems, obstacles, notes) or f"{args.path}: no DICOM images.")
    return 0 if any(not faults for faults in problems) else FAILURE


def _obstacle(info: Any) -> str | None:
    """Why no series can be derived from one that can be read; None if one can."""
    from ..data import DicomError, check_writable, source_record

    try:
        for file in info.files if info.planes == () else [info]:
            check_writable(source_record(file))
    except DicomError as error:
        return str(error)
    return None


def _as_json(info: Any, problems: Sequence[str]) -> dict[str, Any]:
    hidden = ("patient_id", "patient_name")
    return {**{k: v for k, v in dataclasses.asdict(info).items() if k not in hidden}, "problems": list(problems)}


def _report(
    found: Sequence[Any], problems: Sequence[Sequence[str]], obstacles: Sequence[str | None], notes: Sequence[str]
) -> str:
    rows = [_HEAD, *(_row(info, faults, obstacle) for info, faults, obstacle in zip(found, problems, obstacles))]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in rows if found]
    faults = [
        f"{_number(info)} {_short(info.series_uid)}: {' '.join(fault.split())}"
        for info, some, obstacle in zip(found, problems, obstacles)
        for fault in [*some, *([obstacle] if obstacle else [])]
    ]
    return "\n".join([*lines, *([""] if faults or notes else []), *faults, *notes]).strip("\n")


def _row(info: Any, problems: Sequence[str], obstacle: str | None) -> tuple[str, ...]:
    spacing = "-" if info.spacing_mm is None else " x ".join(f"{size:.4g}" for size in info.spacing_mm)
    size, files = " x ".join(map(str, info.shape)), len(info.files)
    return (
        _number(info),
        _short(info.series_uid),
        _short(info.study_uid),
        info.modality or "-",
        info.description or "-",
        info.plane or "-",
        size,
        spacing,
        str(files) if files == info.shape[-1] or len(info.shape) < 3 else f"{files} ({info.shape[-1]} images)",
        "refused" if problems else "read only" if obstacle else "ok",
    )


def _short(uid: str) -> str:
    return f"...{uid[-8:]}" if len(uid) > 11 else uid or "-"


def _number(info: Any) -> str:
    return "-" if info.number is None else str(info.number)


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """What the package warns of meanwhile, as lines instead of log messages."""

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    lines: list[str] = []
    logger, collector = logging.getLogger("monai_cdiff"), Collector(logging.WARNING)
    before = logger.propagate
    logger.addHandler(collector)
    logger.propagate = False
    try:
        yield lines
    finally:
        logger.removeHandler(collector)
        logger.propagate = before
