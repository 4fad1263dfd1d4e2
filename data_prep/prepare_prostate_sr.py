"""Write a datalist of axial T2w prostate MRI for super-resolution."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:  # started as a file
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_prep.command import DataSet, make_parser, run, walk  # noqa: E402
from data_prep.series import MrHeader, Rule, add_series_options, anatomy_faults, find_series, finest_mm  # noqa: E402
from data_prep.splits import Findings, Found, Skipped  # noqa: E402
from data_prep.volumes import image_size, matches_plane  # noqa: E402

if TYPE_CHECKING:
    from monai_cdiff.data import SeriesInfo

__all__ = ["main"]

DATA_SET = DataSet(
    script="prepare_prostate_sr",
    name="axial T2w prostate MRI",
    description="Axial T2w turbo spin echo of the prostate: Prostate-3T, PROSTATEx, Prostate158, PI-CAI, or like them",
    licence="that of each data set: Prostate-3T and PROSTATEx CC BY 3.0, PI-CAI CC BY-NC 4.0, Prostate158 as it states",
)

HELP = """Write a datalist of the axial T2w series of prostate MRI. In the folders are looked for:

  DICOM, in any folders (Prostate-3T, PROSTATEx): series with an axial plane, spin echo, echo time of 60 ms or more
    and repetition time of 1500 ms or more; where a header says nothing of them, a description with "t2". Never
    diffusion, ADC, localizers, derived series. Of several in a study the finest, then the one with most slices, then
    the latest is taken. Patients are told apart by PatientID.
  Prostate158: ID/t2.nii.gz, with the zones of ID/t2_anatomy_reader1.nii.gz
  PI-CAI: PATIENT/PATIENT_STUDY_t2w.mha, converted to NIfTI by --convert; zones from --labels

Segmentations on the grid of a series, in or beside its folder, and a DICOM SEG that refers to it become "zones"."""

MIN_ECHO_TIME_MS = 60.0
MIN_REPETITION_TIME_MS = 1500.0

_PROSTATE158 = "t2.nii.gz"
_PROSTATE158_ZONES = ("t2_anatomy_reader1.nii.gz", "t2_anatomy_reader2.nii.gz")
_PICAI = re.compile(r"(?P<patient>\d+)_(?P<study>\d+)_t2w\.(mha|nii\.gz)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; returns 0, or 2 for wrong input."""
    parser = make_parser(DATA_SET, HELP)
    add_series_options(parser)
    parser.add_argument("--convert", metavar="DIR", help="where the NIfTI files go that PI-CAI's MHA are converted to")
    parser.add_argument("--labels", metavar="DIR", help="folder of PI-CAI zones, PATIENT_STUDY.nii.gz")
    return run(parser, find, DATA_SET, arguments)


def find(args: argparse.Namespace, roots: list[Path]) -> Findings:
    """All axial T2w images below the folders.

    Raises:
        ValueError: if there are MHA files and no ``--convert``.
    """
    trees = [files for _, files in walk(roots)]
    named = {file: image for files in trees for file in files if (image := _by_name(file, args))}
    zones = {path for image in named.values() if isinstance(image, Found) for path in image.extra.values()}
    rest = [[file for file in files if file not in named and file not in zones] for files in trees]
    rule = Rule(_faults, None if args.all_series else _rank, args.min_slices)
    findings = find_series(rest, rule, args.skip_unreadable)
    for image in named.values():
        (findings.skipped if isinstance(image, Skipped) else findings.found).append(image)  # type: ignore[arg-type]
    return findings


def _faults(info: SeriesInfo, header: MrHeader | None) -> list[str]:
    """The reasons against an MR series."""
    if header is None:
        return []
    faults = anatomy_faults(info, header)
    if header.echo == "gradient":
        faults.append("gradient echo, not spin echo")
    for name, value, low in [
        ("echo time", header.echo_time_ms, MIN_ECHO_TIME_MS),
        ("repetition time", header.repetition_time_ms, MIN_REPETITION_TIME_MS),
    ]:
        if value is not None and value < low:
            faults.append(f"{name} {value:g} ms, below {low:g} ms")
    if header.echo_time_ms is None and "t2" not in info.description.lower():
        faults.append("neither an echo time nor a description with t2")
    return faults


def _rank(info: SeriesInfo, header: MrHeader | None) -> tuple[float, ...]:
    return (finest_mm(info), -info.shape[2], -(info.number or 0))


def _by_name(file: str, args: argparse.Namespace) -> Found | Skipped | None:
    """The image of a file with a name of Prostate158 or PI-CAI; None for any other name."""
    path = Path(file)
    if path.name == _PROSTATE158:
        zones = [str(path.with_name(name)) for name in _PROSTATE158_ZONES if path.with_name(name).is_file()]
        return _volume(file, f"prostate158-{path.parent.name}", zones)
    match = _PICAI.fullmatch(path.name)
    if match is None:
        return None
    original, target = None, file
    if path.suffix == ".mha":
        original, target = file, _converted(path, args)
    label = Path(args.labels, f"{match['patient']}_{match['study']}.nii.gz").absolute() if args.labels else None
    return _volume(target, f"picai-{match['patient']}", [str(label)] if label and label.is_file() else [], original)


def _volume(file: str, subject: str, zones: list[str], original: str | None = None) -> Found | Skipped:
    what = os.path.basename(original or file)
    size = image_size(original or file)
    if size is not None and (len(size) != 3 or 1 in size):
        return Skipped(original or file, f"size {size}, no volume", what)
    if size is not None and not matches_plane(original or file, "axial"):
        return Skipped(original or file, "the slices are not axial", what)
    # what cannot be read is left to the check of all files, which stops there, or skips it, as the user says
    return Found((file,), subject, what, 3, {"zones": zones[0]} if zones else {}, ("zones",), original=original)


def _converted(path: Path, args: argparse.Namespace) -> str:
    """Where the NIfTI file of an MHA file goes."""
    if args.convert is None:
        raise ValueError(f"{path}: MHA is not read by the bundles; --convert DIR converts such files to NIfTI there.")
    return os.path.join(os.path.abspath(os.path.expanduser(args.convert)), f"{path.stem}.nii.gz")


if __name__ == "__main__":
    sys.exit(main())
