"""Finding DICOM series by what their headers say, and the reasons against each."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from .splits import Findings, Found, Skipped
from .volumes import VOLUMES, matches_grid

if TYPE_CHECKING:
    from monai_cdiff.data import SeriesInfo, SourceRecord

__all__ = ["MrHeader", "Rule", "add_series_options", "anatomy_faults", "find_series", "finest_mm", "patient_key"]

_TAGS = (
    "ImageType ScanningSequence SequenceVariant SequenceName PulseSequenceName EchoPulseSequence EchoTime "
    "EffectiveEchoTime RepetitionTime FlipAngle ContrastBolusAgent SharedFunctionalGroupsSequence "
    "PerFrameFunctionalGroupsSequence"
).split()
_NO_ANATOMY = re.compile(
    r"diff|dwi|adc|b_?val|ep2d|trace|(?<![a-z])loc(?![a-z])|locali[sz]er|scout|survey|perf|dyn|(?<![a-z])sub(?![a-z])"
)


@dataclasses.dataclass(frozen=True)
class MrHeader:
    """What tells the contrast of an MR series; None, or empty, where the header has nothing.

    Args:
        echo_time_ms: EchoTime.
        repetition_time_ms: RepetitionTime.
        flip_angle: FlipAngle, in degrees.
        echo: "spin" or "gradient", also for its echo-planar form.
        planar: whether it is echo-planar.
        variant: values of SequenceVariant.
        sequence: names of the sequence, lower case.
        image_type: values of ImageType.
        contrast: whether a contrast agent was given.
    """

    echo_time_ms: float | None
    repetition_time_ms: float | None
    flip_angle: float | None
    echo: str | None
    planar: bool
    variant: tuple[str, ...]
    sequence: str
    image_type: tuple[str, ...]
    contrast: bool

    @classmethod
    def read(cls, file: str) -> MrHeader:
        """The header of a file that :py:func:`scan` has found."""
        import pydicom

        dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)

        def number(*keywords: str) -> float | None:
            values = [_number(value) for keyword in keywords for value in _values(dataset, keyword)]
            return next((value for value in values if value is not None), None)

        scanning = _values(dataset, "ScanningSequence")
        pulse = str(next(iter(_values(dataset, "EchoPulseSequence")), "")).lower()
        echo = "spin" if "SE" in scanning or pulse in ("spin", "both") else None
        echo = echo or ("gradient" if "GR" in scanning or pulse == "gradient" else None)
        names = [*_values(dataset, "SequenceName"), *_values(dataset, "PulseSequenceName")]
        return cls(
            echo_time_ms=number("EchoTime", "EffectiveEchoTime"),
            repetition_time_ms=number("RepetitionTime"),
            flip_angle=number("FlipAngle"),
            echo=echo,
            planar="EP" in scanning,
            variant=tuple(map(str, _values(dataset, "SequenceVariant"))),
            sequence=" ".join(map(str, names)).lower(),
            image_type=tuple(map(str, _values(dataset, "ImageType"))),
            contrast=any(str(value).strip() for value in _values(dataset, "ContrastBolusAgent")),
        )


@dataclasses.dataclass(frozen=True)
class Rule:
    """Which series are wanted, and which is the best where a study has several.

    Args:
        faults: the reasons against a series, none if it is wanted.
        rank: the series with the smallest is taken; None takes all.
        min_slices: fewer are a localizer or a part.
        mr: whether only MR is meant, so that ``faults`` gets an :py:class:`MrHeader`.
    """

    faults: Callable[[SeriesInfo, MrHeader | None], list[str]]
    rank: Callable[[SeriesInfo, MrHeader | None], tuple[float, ...]] | None
    min_slices: int = 1
    mr: bool = True


Candidate: TypeAlias = "tuple[SeriesInfo, MrHeader | None]"


def add_series_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of scripts that look for one kind of MR series."""
    parser.add_argument("--min-slices", type=int, default=8, help="fewer are no volume to use; default %(default)s")
    parser.add_argument("--all-series", action="store_true", help="take all series of a study that match, not the best")


def find_series(
    trees: Sequence[Sequence[str]],
    rule: Rule,
    skip_unreadable: bool,
    fallback: Callable[[str], str | None] = lambda file: None,
) -> Findings:
    """The DICOM series that a rule wants, one of each study, each read to the end.

    Args:
        trees: the files of each folder to look through; a series in two of them counts in the first.
        rule: what is wanted.
        skip_unreadable: pass over damaged files instead of raising.
        fallback: the subject of a file whose header has no PatientID; None if there is none.

    Returns:
        What was found, with segmentations on the same grid as ``zones``, and what was skipped and why.

    Raises:
        DicomError: if a file is damaged.
    """
    findings = Findings()
    studies: dict[tuple[str, str], list[Candidate]] = {}
    others: list[str] = []
    seen: dict[str, SeriesInfo] = {}
    for files in trees:
        found, rest = scan([file for file in files if not file.lower().endswith(VOLUMES)], findings, skip_unreadable)
        others += [*rest, *(file for file in files if file.lower().endswith(VOLUMES))]
        for info in found:
            header = MrHeader.read(info.files[0]) if info.modality == "MR" and rule.mr else None
            subject = patient_key(info.patient_id) or fallback(info.files[0])
            faults = _faults(info, header, rule, seen)
            faults += [] if subject else ["the header has no PatientID, so nothing tells whose image it is"]
            if faults:
                findings.skipped.append(Skipped(_folder(info), "; ".join(faults), _words(info)))
            else:
                studies.setdefault((str(subject), info.study_uid), []).append((info, header))
    masks = _Masks(others)
    for (subject, _), study in studies.items():
        for info in _best(study, rule, findings):
            _add(info, subject, findings, masks, skip_unreadable)
    reason = "no DICOM image, and no segmentation of a series that is taken"
    findings.skipped += [Skipped(file, reason) for file in masks.unused]
    return findings


def anatomy_faults(info: SeriesInfo, header: MrHeader, derived: tuple[str, ...] = ()) -> list[str]:
    """The reasons why an MR series is no axial image of the anatomy.

    Args:
        info: the series.
        header: of its first file.
        derived: values of ImageType with which a derived image counts as an original one.
    """
    faults = [] if info.plane == "axial" else [f"plane {info.plane or 'unknown'}, not axial"]
    kinds = {"DIFFUSION", "ADC", "LOCALIZER"} & set(header.image_type)
    if header.planar or kinds or _NO_ANATOMY.search(info.description.lower()):
        faults.append("diffusion, ADC, dynamic or localizer")
    if header.image_type[:1] == ("DERIVED",) and not set(derived) & set(header.image_type):
        faults.append("derived from other images")
    return faults


def finest_mm(info: SeriesInfo) -> float:
    """The smaller in-plane spacing."""
    return float("inf") if info.spacing_mm is None else round(min(info.spacing_mm[:2]), 3)


def scan(files: Sequence[str], findings: Findings, skip_unreadable: bool) -> tuple[list[SeriesInfo], list[str]]:
    """The series of some files, and the files that are no DICOM image.

    Raises:
        DicomError: if a file is damaged and ``skip_unreadable`` is false.
    """
    from monai_cdiff.data import DicomError, scan_series

    try:
        found = scan_series(files)
    except (DicomError, OSError) as error:
        if not skip_unreadable:
            raise type(error)(f"{error} --skip-unreadable leaves it out.") from error
        bad = {file: reason for file in files if (reason := _damage(file))}
        findings.skipped += [Skipped(file, f"cannot be read: {reason}") for file, reason in bad.items()]
        files = [file for file in files if file not in bad]
        found = _whole(scan_series(files), list(bad), findings)
    images = {file for info in found for file in info.files}
    return found, [file for file in files if file not in images]


def _whole(found: Sequence[SeriesInfo], bad: Sequence[str], findings: Findings) -> list[SeriesInfo]:
    """The series without a damaged file beside theirs, which may be a slice of them."""
    damaged = {os.path.dirname(file): file for file in bad}
    whole = []
    for info in found:
        beside = next((damaged[folder] for file in info.files if (folder := os.path.dirname(file)) in damaged), None)
        if beside is None:
            whole.append(info)
        else:
            reason = f"a file in its folder cannot be read, perhaps one of its slices: {beside}"
            findings.skipped.append(Skipped(_folder(info), reason, _words(info)))
    return whole


def patient_key(patient_id: str) -> str:
    """The subject that ``monai_cdiff.data.make_datalist`` gives a PatientID; "" without one."""
    from monai_cdiff.data import SeriesInfo, subject_of

    if not patient_id:
        return ""
    return subject_of(SeriesInfo("", patient_id, "", "", "", None, None, (0, 0, 0), None, ()))


class _Masks:
    """Files that may hold the segmentation of a series, and those that are not used as one."""

    def __init__(self, files: Sequence[str]) -> None:
        self.unused = list(files)
        self._references = {file: uids for file in files if (uids := _referenced(file))}

    def take(self, info: SeriesInfo, record: SourceRecord) -> str | None:
        """A segmentation: a DICOM SEG that refers to it, or a volume on its grid in or beside its folder."""
        near = {os.path.dirname(info.files[0]), os.path.dirname(os.path.dirname(info.files[0]))}
        corners = record.positions[:: max(1, len(record.positions) - 1)]
        for file in self.unused:
            refers = info.series_uid in self._references.get(file, ())
            beside = file.lower().endswith(VOLUMES) and os.path.dirname(file) in near
            if refers or (beside and matches_grid(file, record.shape, corners)):
                self.unused.remove(file)
                return file
        return None


def _referenced(file: str) -> set[str]:
    """UIDs of the series that a DICOM segmentation refers to."""
    import pydicom

    if file.lower().endswith(VOLUMES):
        return set()
    try:
        dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["Modality", "ReferencedSeriesSequence"])
        series = dataset.get("ReferencedSeriesSequence") or []
        return {str(item.SeriesInstanceUID) for item in series} if dataset.get("Modality") == "SEG" else set()
    except Exception:  # pydicom raises many kinds on what is no DICOM
        return set()


def _faults(info: SeriesInfo, header: MrHeader | None, rule: Rule, seen: dict[str, SeriesInfo]) -> list[str]:
    from monai_cdiff.data import series_problems

    twin = seen.setdefault(info.series_uid, info)
    if twin is not info:
        return [f"the series is also in {_folder(twin)}, which is taken instead"]
    faults = [] if info.modality == "MR" or not rule.mr else [f"modality {info.modality or 'not given'}, not MR"]
    if info.shape[2] < rule.min_slices:
        faults.append(f"{info.shape[2]} slice(s), fewer than --min-slices {rule.min_slices}")
    faults += rule.faults(info, header) if header is not None or not rule.mr else []
    return [*faults, *(f"is no volume: {problem}" for problem in series_problems(info)[:1])]


def _best(study: Sequence[Candidate], rule: Rule, findings: Findings) -> list[SeriesInfo]:
    if rule.rank is None:
        return [info for info, _ in study]
    rank = rule.rank
    first, *rest = sorted(study, key=lambda candidate: rank(*candidate))
    reason = f"matches too, but of its study {_words(first[0])} is taken (--all-series takes all)"
    findings.skipped += [Skipped(_folder(info), reason, _words(info)) for info, _ in rest]
    return [first[0]]


def _add(info: SeriesInfo, subject: str, findings: Findings, masks: _Masks, skip_unreadable: bool) -> None:
    from monai_cdiff.data import DicomError, read_series

    # projection images have no place in space, and each is an image of its own
    sources: list[Any] = [[file] for file in info.files] if info.plane is None else [info]
    try:
        records = [read_series(source)[2] for source in sources]
    except DicomError as error:
        if not skip_unreadable:
            raise type(error)(f"{error} --skip-unreadable leaves out its series.") from error
        findings.skipped.append(Skipped(_folder(info), f"cannot be read: {error}", _words(info)))
        return
    for record in records:
        zones = masks.take(info, record) if record.positions else None
        extra = {} if zones is None else {"zones": zones}
        files, dimensions = tuple(sorted(set(record.files))), 3 if record.positions else 2
        findings.found.append(Found(files, subject, _words(info), dimensions, extra, ("zones",)))


def _words(info: SeriesInfo) -> str:
    return f"{info.number}: {info.description!r}, {info.plane or 'no geometry'}, {'x'.join(map(str, info.shape))}"


def _folder(info: SeriesInfo) -> str:
    return os.path.dirname(info.files[0])


def _damage(file: str) -> str:
    from monai_cdiff.data import DicomError, scan_series

    try:
        scan_series([file])
        return ""
    except (DicomError, OSError) as error:
        return str(error)


def _values(dataset: Any, keyword: str) -> list[Any]:
    """The values of an element, from the functional groups where the header itself lacks it."""
    value = dataset.get(keyword)
    if value is None:
        for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
            for group in (dataset.get(groups) or [])[:1]:
                inner = [item for element in group if element.VR == "SQ" for item in element.value[:1]]
                value = next((item.get(keyword) for item in inner if item.get(keyword) is not None), value)
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue" else [value]


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
