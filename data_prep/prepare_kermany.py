"""Write a datalist of the Kermany chest X-rays."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # started as a file
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_prep.command import DataSet, make_parser, run, walk  # noqa: E402
from data_prep.splits import Findings, Found, Skipped  # noqa: E402

__all__ = ["main"]

DATA_SET = DataSet(
    script="prepare_kermany",
    name="Kermany chest X-rays",
    description="Paediatric chest X-rays, normal, bacterial and viral pneumonia (Kermany et al., Cell 172, 2018; "
    "Mendeley Data rscbjbr9sj)",
    licence="CC BY 4.0",
    official_test=True,
)
OFFICIAL_TEST_IMAGES = 624

HELP = """Write a datalist of the Kermany chest X-rays from their official folders:

  ROOT/train/NORMAL, ROOT/train/PNEUMONIA, ROOT/test/NORMAL, ROOT/test/PNEUMONIA

and ROOT/val where there is one; its 16 images count as train. The test images stay the test, all of them. The
validation is drawn from train by patient. Class (normal, bacterial, viral) and patient come from the file names.

The numbers of the patients begin anew with each class, as far as the names tell, so that person12 with bacteria and
person12 with a virus are two patients. Nothing published says so. --patients number (the default) therefore takes an
equal number for the same patient, and leaves out images of train whose patient number is in the test;
--patients class keeps them."""

_FOLDERS = {"NORMAL": ("normal",), "PNEUMONIA": ("bacterial", "viral")}
_ENDINGS = (".jpeg", ".jpg", ".png")
# person12_bacteria_43, NORMAL2-IM-0123-0001, IM-0115-0001-0002; BACTERIA-1008087-0001 in the third version
_PERSON = re.compile(r"person(?P<number>\d+)_(?P<class>bacteria|virus)_\d+")
_NORMAL = re.compile(r"(?P<batch>NORMAL2-)?IM-(?P<number>\d+)-")
_THIRD = re.compile(r"(?P<class>NORMAL|BACTERIA|VIRUS)-(?P<number>\d+)-\d+")
_CLASSES = {"normal": "normal", "bacteria": "bacterial", "virus": "viral"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; returns 0, or 2 for wrong input."""
    parser = make_parser(DATA_SET, HELP, several=False)
    parser.add_argument(
        "--patients",
        choices=("number", "class"),
        default="number",
        help="number: an equal number is an equal patient; class: only within a class; default %(default)s",
    )
    return run(parser, find, DATA_SET, arguments)


def find(args: argparse.Namespace, roots: list[Path]) -> Findings:
    """The X-rays by the names of their folders and files.

    Raises:
        ValueError: if ROOT has no folders train and test.
    """
    findings = Findings()
    ((root, files),) = walk(roots)
    absent = [name for name in ("train", "test") if not (root / name).is_dir()]
    if absent:
        raise ValueError(f"ROOT={str(root)!r} has no folder {' and no '.join(absent)}; give the one that holds both.")
    for file in files:
        image = _image(file, root, args.patients)
        (findings.skipped if isinstance(image, Skipped) else findings.found).append(image)  # type: ignore[arg-type]
    tested = {image.subject for image in findings.found if image.split}
    shared = [image for image in findings.found if not image.split and image.subject in tested]
    reason = "an image of train whose patient number is also in the test; --patients class keeps it"
    findings.skipped += [Skipped(image.files[0], reason, image.what) for image in shared]
    findings.found = [image for image in findings.found if image.split or image.subject not in tested]
    count = sum(image.split is not None for image in findings.found)
    if count != OFFICIAL_TEST_IMAGES:
        findings.notes.append(f"note: the test has {count} images; the official one has {OFFICIAL_TEST_IMAGES}")
    numbers = len({image.subject for image in shared})
    if shared:
        findings.notes.append(f"note: {numbers} patient numbers of the test are also in train, in {len(shared)} images")
    return findings


def patient_of(name: str, rule: str) -> tuple[str, str] | None:
    """Class and subject that a file name tells; None if it tells neither.

    Args:
        name: file name.
        rule: "number" or "class", see ``--patients``.
    """
    if match := _PERSON.match(name):
        kind, number = _CLASSES[match["class"]], int(match["number"])
        return kind, f"person{number}" if rule == "number" else f"{kind}-person{number}"
    if match := _THIRD.match(name):
        return _CLASSES[match["class"].lower()], f"patient{match['number']}"
    if match := _NORMAL.match(name):
        batch = "" if rule == "number" else match["batch"] or ""
        return "normal", f"{batch}IM-{int(match['number']):04d}"
    return None


def _image(file: str, root: Path, rule: str) -> Found | Skipped:
    parts = Path(file).relative_to(root).parts
    if len(parts) != 3 or parts[0] not in ("train", "val", "test") or parts[1] not in _FOLDERS:
        return Skipped(file, "not in train, val or test, NORMAL or PNEUMONIA")
    if not parts[2].lower().endswith(_ENDINGS):
        return Skipped(file, "no JPEG or PNG file")
    told = patient_of(parts[2], rule)
    if told is None:
        return Skipped(file, "the file name tells no class and patient")
    kind, subject = told
    if kind not in _FOLDERS[parts[1]]:
        return Skipped(file, f"the file name says {kind}, the folder {parts[1]}")
    return Found((file,), subject, kind, 2, {"class": kind}, split="test" if parts[0] == "test" else None)


if __name__ == "__main__":
    sys.exit(main())
