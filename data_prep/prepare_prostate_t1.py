"""Write a datalist of axial T1w prostate MRI."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:  # started as a file
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_prep.command import DataSet, make_parser, run, walk  # noqa: E402
from data_prep.series import MrHeader, Rule, add_series_options, anatomy_faults, find_series, finest_mm  # noqa: E402
from data_prep.splits import Findings  # noqa: E402

if TYPE_CHECKING:
    from monai_cdiff.data import SeriesInfo

__all__ = ["main"]

DATA_SET = DataSet(
    script="prepare_prostate_t1",
    name="axial T1w prostate MRI",
    description="Axial T1w spoiled gradient echo (SPGR, FLASH, VIBE) of the prostate",
    licence="that of each data set",
)

HELP = """Write a datalist of the axial T1w series of prostate MRI: spoiled gradient echo (SPGR, FLASH, VIBE, LAVA,
THRIVE, TFE, Dixon) in DICOM folders of any form. Wanted are an echo time of 10 ms or less, a repetition time of 800 ms
or less and a flip angle of at least 1.5 times the Ernst angle of tissue with a T1 of 1500 ms, below which contrast
follows the proton density. Where a header does not say which echo it is, the names of the sequence must. Never
diffusion, ADC, dynamic, proton density, maps, localizers, derived series. Of several in a study the one without
contrast agent, then the finest, with most slices, with the largest flip angle, the latest is taken. Patients are told
apart by PatientID."""

MAX_ECHO_TIME_MS = 10.0
MAX_REPETITION_TIME_MS = 800.0
TISSUE_T1_MS = 1500.0
MIN_ERNST_ANGLES = 1.5

_SPOILED = re.compile(r"vibe|spgr|flash|fl[23]d|lava|thrive|tfe|fame|ffe|dixon")
_NO_T1 = re.compile(r"(?<![a-z])pd(?![a-z])|proton|(?<![a-z])t2|(?<![a-z])map(?![a-z])|twist|(?<![a-z])b1(?![0-9])")
_DIXON = ("WATER", "W", "IN_PHASE", "IP")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; returns 0, or 2 for wrong input."""
    parser = make_parser(DATA_SET, HELP)
    add_series_options(parser)
    return run(parser, find, DATA_SET, arguments)


def find(args: argparse.Namespace, roots: list[Path]) -> Findings:
    """All axial T1w series below the folders."""
    rule = Rule(_faults, None if args.all_series else _rank, args.min_slices)
    return find_series([files for _, files in walk(roots)], rule, args.skip_unreadable)


def ernst_angle(repetition_time_ms: float, t1_ms: float = TISSUE_T1_MS) -> float:
    """The flip angle of most signal in a spoiled gradient echo, in degrees: arccos(exp(-TR / T1)).

    Example:
        >>> round(ernst_angle(3.85), 1)
        4.1
    """
    return math.degrees(math.acos(math.exp(-repetition_time_ms / t1_ms)))


def _faults(info: SeriesInfo, header: MrHeader | None) -> list[str]:
    """The reasons against an MR series."""
    if header is None:
        return []
    faults = anatomy_faults(info, header, derived=_DIXON)
    names = f"{header.sequence} {info.description.lower()}"
    if _NO_T1.search(info.description.lower()):
        faults.append("proton density, T2 or a map by its description")
    if header.echo == "spin":
        faults.append("spin echo, not gradient echo")
    if not _SPOILED.search(names) and not (header.echo == "gradient" and "SP" in header.variant):
        faults.append("no spoiled gradient echo by its header or names")
    for name, value, high in [
        ("echo time", header.echo_time_ms, MAX_ECHO_TIME_MS),
        ("repetition time", header.repetition_time_ms, MAX_REPETITION_TIME_MS),
    ]:
        if value is not None and value > high:
            faults.append(f"{name} {value:g} ms, above {high:g} ms")
    if header.flip_angle is not None and header.repetition_time_ms:
        low = MIN_ERNST_ANGLES * ernst_angle(header.repetition_time_ms)
        if header.flip_angle < low:
            faults.append(f"flip angle {header.flip_angle:g} degrees, below {low:.1f} for its repetition time")
    return faults


def _rank(info: SeriesInfo, header: MrHeader | None) -> tuple[float, ...]:
    contrast, flip = (header.contrast, header.flip_angle or 0) if header else (False, 0)
    return (contrast, finest_mm(info), -info.shape[2], -flip, -(info.number or 0))


if __name__ == "__main__":
    sys.exit(main())
