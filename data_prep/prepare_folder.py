"""Write a datalist of any folder of DICOM, NIfTI, PNG or JPEG images."""

from __future__ import annotations

import argparse
import fnmatch
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:  # started as a file
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_prep.command import DataSet, make_parser, run, walk  # noqa: E402
from data_prep.series import Rule, find_series  # noqa: E402
from data_prep.splits import Findings, Found, Skipped  # noqa: E402
from data_prep.volumes import image_size, matches_plane  # noqa: E402

if TYPE_CHECKING:
    from monai_cdiff.data import SeriesInfo

__all__ = ["main"]

DATA_SET = DataSet(
    script="prepare_folder",
    name="images of a folder",
    description="Images of a folder, split by patient",
    licence="not stated",
)

HELP = """Write a datalist of a folder of DICOM, NIfTI, or PNG and JPEG images, at any depth.

DICOM: all series that match --series, --plane and --modality and can be read as one volume; X-rays are an image each.
  The patient is a hash of the header's PatientID, never the folder; --subject-pattern serves where a header has none.
NIfTI, PNG, JPEG: all files that match --name (and --plane). The patient is the folder of the first level below ROOT, or
  the file itself where it lies in ROOT; --subject-pattern REGEX takes the first group of the path below ROOT instead.
  Folders of labels (labels, labelsTr, ...) are passed over; the file of the same name in the one beside a folder of
  images (labelsTr/NAME for imagesTr/NAME) becomes the image's "label".

A folder with several kinds needs --format."""

_KINDS = ("dicom", "nifti", "flat")
_FOLDERS = re.compile(r"(images|labels)(tr|ts)?", re.IGNORECASE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; returns 0, or 2 for wrong input."""
    parser = make_parser(DATA_SET, HELP)
    which = parser.add_argument_group("which images")
    which.add_argument("--format", choices=_KINDS, help="only these; flat: PNG and JPEG")
    which.add_argument("--series", metavar="PATTERN", help='DICOM: description ("t2*"), number or UID of the series')
    which.add_argument("--plane", choices=("axial", "coronal", "sagittal"), help="DICOM, NIfTI: of the slices")
    which.add_argument("--modality", help='DICOM: for example "MR"')
    which.add_argument("--name", metavar="PATTERN", help='NIfTI, PNG, JPEG: file name, for example "*_t2.nii.gz"')
    parser.add_argument("--subject-pattern", metavar="REGEX", help="its first group in the path is the patient")
    return run(parser, find, DATA_SET, arguments)


def find(args: argparse.Namespace, roots: list[Path]) -> Findings:
    """The images below the folders.

    Raises:
        ValueError: if there are images of several formats, or the folders do not tell the patients.
    """
    pattern = _compiled(args.subject_pattern)
    trees = walk(roots)
    kinds = {file: _kind(file) for _, files in trees for file in files}
    findings = Findings()
    if args.format in (None, "dicom"):
        rest = [[file for file in files if kinds[file] == "dicom"] for _, files in trees]
        rule = Rule(lambda info, header: _faults(info, args), None, mr=False)
        findings = find_series(rest, rule, args.skip_unreadable, lambda file: _matched(pattern, file, roots))
    found = {"dicom"} if findings.found else set()
    for file, kind in kinds.items():
        if kind != "dicom" and args.format in (None, kind):
            image = _image(file, kind, args, pattern, roots)
            (findings.skipped if isinstance(image, Skipped) else findings.found).append(image)  # type: ignore[arg-type]
            found |= {kind} if isinstance(image, Found) else set()
    if len(found) > 1:
        raise ValueError(f"there are images of the formats {' and '.join(sorted(found))}; choose one by --format.")
    reason = f"not of --format {args.format}"
    findings.skipped += [Skipped(file, reason) for file, kind in kinds.items() if args.format not in (None, kind)]
    return findings


def _faults(info: SeriesInfo, args: argparse.Namespace) -> list[str]:
    from monai_cdiff.data import matching_series

    faults = [] if matching_series([info], args.series) else [f"not of --series {args.series!r}"]
    faults += [] if args.plane in (None, info.plane) else [f"plane {info.plane or 'unknown'}, not {args.plane}"]
    faults += [] if args.modality in (None, info.modality) else [f"modality {info.modality}, not {args.modality}"]
    return faults


def _image(
    file: str, kind: str, args: argparse.Namespace, pattern: re.Pattern[str] | None, roots: Sequence[Path]
) -> Found | Skipped:
    path = Path(file)
    parts = _below(file, roots).parts
    if any(match[1].lower() == "labels" for part in parts[:-1] if (match := _FOLDERS.fullmatch(part))):
        return Skipped(file, "in a folder of labels")
    if args.name is not None and not fnmatch.fnmatchcase(path.name.lower(), args.name.lower()):
        return Skipped(file, f"not of --name {args.name!r}")
    if args.series is not None or args.modality is not None:
        return Skipped(file, "no DICOM, so it has no series and modality to match")
    subject = _matched(pattern, file, roots) if pattern else _first_level(file, parts)
    if subject is None:
        return Skipped(file, f"--subject-pattern {args.subject_pattern!r} finds no patient in the path")
    label = _label(path, len(parts))
    extra = {} if label is None else {"label": label}
    if kind == "flat":
        found = Found((file,), subject, path.name, 2, extra, ("label",))
        return Skipped(file, "has no plane to match") if args.plane else found
    # what cannot be read is left to the check of all files, which stops there, or skips it, as the user says
    size = image_size(file) or (0, 0, 0)
    if any(count > 1 for count in size[3:]):
        return Skipped(file, f"size {size}; allowed are two or three axes")
    if args.plane is not None and any(size) and not matches_plane(file, args.plane):
        return Skipped(file, f"the slices are not {args.plane}")
    return Found((file,), subject, path.name, min(len(size), 3), extra, ("label",))


def _label(path: Path, depth: int) -> str | None:
    """The file of the same name in the folder of labels beside the folder of images, which ROOT itself may be."""
    for folder in path.parents[:depth]:
        match = _FOLDERS.fullmatch(folder.name)
        if match and match[1].lower() == "images":
            word = "LABELS" if match[1].isupper() else "Labels" if match[1][0].isupper() else "labels"
            label = folder.with_name(word + folder.name[len(match[1]) :]) / path.relative_to(folder)
            return str(label) if label.is_file() else None
    return None


def _kind(file: str) -> str:
    from monai_cdiff.data import is_nifti, is_raster

    if is_nifti(file):
        return "nifti"
    return "flat" if is_raster(file) else "dicom"


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    try:
        compiled = None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise ValueError(f"--subject-pattern {pattern!r} is no regular expression: {error}.") from error
    if compiled is not None and not compiled.groups:
        raise ValueError(f"--subject-pattern {pattern!r} has no group; bracket the part that tells the patient.")
    return compiled


def _below(file: str, roots: Sequence[Path]) -> Path:
    return next(Path(file).relative_to(root) for root in roots if Path(file).is_relative_to(root))


def _matched(pattern: re.Pattern[str] | None, file: str, roots: Sequence[Path]) -> str | None:
    match = pattern.search(_below(file, roots).as_posix()) if pattern else None
    return match[1] if match else None


def _first_level(file: str, parts: Sequence[str]) -> str:
    if len(parts) == 1:
        name = parts[0]
        return name[: name.lower().rindex(".nii")] if name.lower().endswith((".nii", ".nii.gz")) else Path(name).stem
    if _FOLDERS.fullmatch(parts[0]):
        raise ValueError(
            f"{file}: the folder {parts[0]!r} is no patient. Give it as ROOT, where each file is a patient, or tell "
            "the patients by --subject-pattern."
        )
    return parts[0]


if __name__ == "__main__":
    sys.exit(main())
