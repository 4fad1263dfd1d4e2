"""Write a derived image series: new pixels and places, the patient and study of the source, and what was done.

A plain function over pydicom that knows nothing of MONAI. Writing is strict and whole: what cannot be said truly in the
header of the source's SOP class is refused before anything is written, and no half series is ever seen.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .derivation import Derivation
from .dicom_encode import Encoding, check_finite, choose_encoding, encode, source_encoding, window
from .dicom_file import open_dataset
from .dicom_geometry import slice_normal
from .dicom_grid import SliceGrid, check_overlap, projection_grid, slice_grid
from .dicom_provenance import check_derivation, describe, local_time, lossy_elements, source_image_item
from .dicom_record import DicomError, DicomFileError, SourceRecord
from .dicom_template import kept_elements, put
from .inputs import output_stem

__all__ = ["check_writable", "default_name", "write_derived"]

_STACKS = {"1.2.840.10008.5.1.4.1.1.2": "CT", "1.2.840.10008.5.1.4.1.1.4": "MR"}
_PROJECTIONS = {
    "1.2.840.10008.5.1.4.1.1.1": "CR",
    "1.2.840.10008.5.1.4.1.1.1.1": "DX for presentation",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "DX for processing",
}
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_NARROW_WINDOW = 256  # the function LINEAR shows a window one unit narrower than it says, LINEAR_EXACT does not
_OURS = re.compile(r"\d{4,}\.dcm")


def check_writable(source: SourceRecord) -> None:
    """Refuse a source from which no derived series can be written, by its first file, before work starts.

    Raises:
        DicomError: naming the file, its SOP class and those that can be written.
    """
    header, file = _header(source.files[0]), source.files[0]
    uid, frames = header.get("SOPClassUID"), int(header.get("NumberOfFrames") or 1)
    kind = getattr(uid, "name", "a file without SOPClassUID")
    flat = len(source.shape) == 2
    stacks, images = ", ".join(_STACKS.values()), ", ".join(_PROJECTIONS.values())
    listed = f"can be written: series of {stacks} and single images of {images}, one frame in a file"
    if frames > 1 or uid not in {**_STACKS, **_PROJECTIONS}:
        raise DicomError(f"{file}: no series can be derived from {kind} with {frames} frame(s); {listed}.")
    if uid in _STACKS and (flat or not (source.positions and source.orientation)):
        raise DicomError(f"{file}: {kind} without a place in space, which its module demands; {listed}.")
    if uid in _PROJECTIONS and not flat:
        raise DicomError(f"{file}: {kind} as a volume of shape {source.shape}; {listed}.")


def default_name(source: SourceRecord, derivation: Derivation) -> str:
    """Name of the folder or file, without ending: series number and a short hash of the source's UID, and the label."""
    stem = output_stem(source.files[0], source.series_uid, source.number, flat=len(source.shape) == 2)
    return f"{stem}_{re.sub(r'[^a-zA-Z0-9.-]', '_', derivation.label)}"


def write_derived(
    array: np.ndarray,
    affine: np.ndarray,
    source: SourceRecord | str | os.PathLike[str],
    out_dir: str | os.PathLike[str],
    derivation: Derivation,
    name: str | None = None,
    series_number: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a volume or projection image as a derived series of its source's study.

    Each slice takes over the header of the nearest source slice, less what described its pixels and all that is
    private.

    Args:
        array: real values (HU for CT), shape (X, Y, Z) or (X, Y); its axes may run in any order and direction.
        affine: voxel indices to RAS in mm, shape (4, 4).
        source: the record of the source, or a folder or file of a DICOM series to take it from.
        out_dir: where the new folder (volume) or file (projection image) is made.
        derivation: what was done.
        name: name of the folder or file, without suffix; see :py:func:`default_name`.
        series_number: SeriesNumber; by default the source's plus 1000, or plus 2000 for a map of uncertainty.
        overwrite: replace what an earlier call wrote at the same place; a folder with any other file in it is refused.

    Returns:
        The new folder, with ``0001.dcm`` and so on by InstanceNumber, or the new file.

    Raises:
        DicomError: if the source, the values or the derivation cannot be written as DICOM.
        DicomGeometryError: if the grid cannot be, or lies outside the source.
        FileExistsError: if the target exists and ``overwrite`` is not set, or it holds what no such call wrote.
    """
    if not isinstance(source, SourceRecord):
        source = _record(source)
    check_derivation(derivation)
    check_writable(source)
    array = np.asarray(array)
    if array.ndim not in (2, 3) or not array.size or array.dtype.kind not in "fiu":
        raise DicomError(
            f"array has shape {array.shape} and type {array.dtype}; real numbers of shape (X, Y, Z) or (X, Y) are "
            "needed, without a channel."
        )
    if series_number is not None and not 0 <= series_number < 2**31:
        raise DicomError(f"series_number={series_number} must be from 0 to {2**31 - 1}.")
    first = _header(source.files[0])
    flat = len(source.shape) == 2
    target = Path(out_dir) / ((name or default_name(source, derivation)) + (".dcm" if flat else ""))
    _check_target(target, flat, overwrite)
    if target in (Path(file).parent if not flat else Path(file) for file in source.files):
        raise FileExistsError(f"{target} is the source itself; give another name.")
    grid = (projection_grid if flat else slice_grid)(array, affine, source)
    if not flat:
        check_overlap(grid, source)
    check_finite(array)
    kept = derivation.keeps_encoding and derivation.quantity == "image"
    encoding = source_encoding(map(_header, source.files), array) if kept else None
    encoding = encoding or choose_encoding(array, first, derivation.quantity)
    with _appearing(target, flat, overwrite) as temporary:
        for number, dataset in _datasets(grid, encoding, source, derivation, series_number, flat):
            dataset.save_as(temporary if flat else temporary / f"{number:04d}.dcm", enforce_file_format=True)
    return target


def _datasets(
    grid: SliceGrid,
    encoding: Encoding,
    source: SourceRecord,
    derivation: Derivation,
    series_number: int | None,
    flat: bool,
) -> Iterator[tuple[int, Any]]:
    """InstanceNumber and dataset of each slice."""
    from pydicom.uid import generate_uid

    files = list(dict.fromkeys(source.files))
    headers = {file: _header(file) for file in files}
    shared: dict[str, Any] = {
        "SeriesInstanceUID": generate_uid(),
        "SeriesNumber": series_number if series_number is not None else _series_number(source, derivation),
        **lossy_elements([headers[file] for file in files], files),
    }
    now = local_time(headers[files[0]])
    window_values = window(grid.values, encoding)
    nearest, sources = _neighbours(grid, source) if not flat else ([0], [[0]])
    numbers = _instance_numbers(len(grid.positions), source, headers)
    templates: dict[str, Any] = {}
    for k, number in enumerate(numbers):
        file = source.files[nearest[k]]
        try:
            if file not in templates:
                templates[file] = _template(headers[file], grid, encoding, derivation, shared, window_values, now)
            dataset = _copy(templates[file], headers[file])
            items = [source_image_item(headers[source.files[i]], source.frames[i]) for i in sources[k]]
        except Exception as error:  # pydicom converts an element when it is asked for, and raises many kinds
            raise DicomFileError(f"{file}: its header cannot be taken over: {error}") from error
        put(dataset, "SourceImageSequence", items)
        put(dataset, "InstanceNumber", number)
        _place(dataset, grid, k, source, flat)
        stored = encode(grid.values[:, :, k].T, encoding)
        dataset.add_new(0x7FE00010, "OW", np.ascontiguousarray(stored).astype(stored.dtype.newbyteorder("<")).tobytes())
        yield number, dataset


def _template(
    header: Any,
    grid: SliceGrid,
    encoding: Encoding,
    derivation: Derivation,
    shared: dict[str, Any],
    window_values: tuple[float, float],
    now: Any,
) -> Any:
    dataset = kept_elements(header, grid.unchanged)
    describe(dataset, header, derivation, now)
    pixels: dict[str, Any] = {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME1" if encoding.inverted else "MONOCHROME2",
        "Rows": grid.values.shape[1],
        "Columns": grid.values.shape[0],
        "BitsAllocated": 16,
        "BitsStored": encoding.bits_stored,
        "HighBit": encoding.bits_stored - 1,
        "PixelRepresentation": int(encoding.signed),
    }
    is_ct = header.SOPClassUID.name == "CT Image Storage"
    if encoding.rescaled or "Digital X-Ray" in header.SOPClassUID.name:
        pixels["RescaleSlope"], pixels["RescaleIntercept"] = encoding.slope, encoding.intercept
        pixels["RescaleType"] = "HU" if is_ct else "US"
    pixels["WindowCenter"], pixels["WindowWidth"] = (_ds(value) for value in window_values)
    if window_values[1] < _NARROW_WINDOW:
        pixels["VOILUTFunction"] = "LINEAR_EXACT"
    if is_ct and derivation.quantity == "image" and header.get("WindowCenter") and header.get("WindowWidth"):
        for name in ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction"):
            pixels.pop(name, None)
            if name in header:
                pixels[name] = header[name].value
    for keyword, value in {**shared, **pixels}.items():
        put(dataset, keyword, value)
    return dataset


def _copy(template: Any, header: Any) -> Any:
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    dataset = Dataset({element.tag: element for element in template})
    uid = generate_uid()
    put(dataset, "SOPInstanceUID", uid)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def _place(dataset: Any, grid: SliceGrid, k: int, source: SourceRecord, flat: bool) -> None:
    if flat:
        for keyword in _SPACINGS:
            if dataset.get(keyword):
                row, column = (float(value) for value in dataset[keyword].value)
                old_column, old_row = source.spacing_mm[:2]
                scaled = [row * grid.spacing[1] / old_row, column * grid.spacing[0] / old_column]
                put(dataset, keyword, [_ds(value) for value in scaled])
        return
    put(dataset, "PixelSpacing", [_ds(value) for value in grid.spacing[::-1]])
    put(dataset, "ImageOrientationPatient", [_ds(value) for value in grid.orientation])
    put(dataset, "ImagePositionPatient", [_ds(value) for value in grid.positions[k]])
    put(dataset, "SliceLocation", _ds(grid.positions[k] @ grid.normal))
    old = source.spacing_mm[2]
    if len(source.positions) > 1:
        depths = np.sort(np.array(source.positions) @ slice_normal(source.orientation))
        old = float(np.median(np.diff(depths)))  # slices may lack, and a tilted stack's step is longer than its gap
    thickness = dataset.get("SliceThickness") or old
    if abs(grid.gap / old - 1) > 1e-3 or not dataset.get("SliceThickness"):
        put(dataset, "SliceThickness", _ds(float(thickness) * grid.gap / old))
    put(dataset, "SpacingBetweenSlices", _ds(grid.gap))


def _neighbours(grid: SliceGrid, source: SourceRecord) -> tuple[list[int], list[list[int]]]:
    """For each slice the nearest source slice, and all that it lies on, between or across."""
    normal = slice_normal(source.orientation)
    depths = np.array(source.positions) @ normal
    order = np.argsort(depths)
    corners = grid.corners() @ normal
    tolerance = 0.01 * (float(np.ptp(depths)) / max(1, len(depths) - 1))
    places = np.interp([corners.min(1) + tolerance, corners.max(1) - tolerance], depths[order], np.arange(len(order)))
    middle = corners.mean(1)
    nearest = [int(np.abs(depths - value).argmin()) for value in middle]
    sources: list[list[int]] = []
    for low, high, own in zip(*places, nearest):
        on_one = abs(float(depths[own]) - float(middle[len(sources)])) <= tolerance and high - low <= 0.02
        lowest, highest = int(np.floor(min(low, high))), int(np.ceil(max(low, high)))
        sources.append([own] if on_one else [int(i) for i in order[lowest : highest + 1]])
    return nearest, sources


def _instance_numbers(count: int, source: SourceRecord, headers: dict[str, Any]) -> list[int]:
    """1 to n in the direction in which the source counts, so that viewers scroll both alike."""
    numbers = [headers[file].get("InstanceNumber") for file in source.files]
    if count > 1 and len(numbers) > 1 and all(number is not None for number in numbers):
        depths = np.array(source.positions) @ slice_normal(source.orientation)
        if np.cov(depths, [int(number) for number in numbers])[0, 1] < 0:
            return list(range(count, 0, -1))
    return list(range(1, count + 1))


def _series_number(source: SourceRecord, derivation: Derivation) -> int:
    return (source.number or 0) + (1000 if derivation.quantity == "image" else 2000)


def _ds(value: float) -> str:
    from pydicom.valuerep import format_number_as_ds

    # A sum of floats that ought to be 0 would take all 16 characters.
    return str(format_number_as_ds(round(float(value), 9) + 0.0))


def _header(file: str) -> Any:
    from pydicom.errors import InvalidDicomError

    try:
        return open_dataset(file)
    except InvalidDicomError as error:
        raise DicomFileError(f"{file}: no DICOM file: {error}") from error


def _record(source: str | os.PathLike[str]) -> SourceRecord:
    from .dicom_series import source_record

    return source_record(source)


def _check_target(target: Path, flat: bool, overwrite: bool) -> None:
    if not target.exists():
        return
    if not overwrite:
        raise FileExistsError(f"{target} exists; give another name or overwrite=True.")
    if target.is_dir() == flat:
        raise FileExistsError(f"{target} is a {'folder' if flat else 'file'}, which no such call wrote.")
    entries = [target] if flat else sorted(target.iterdir())
    foreign = [entry for entry in entries if not _is_derived(entry, any_name=flat)]
    if foreign:
        raise FileExistsError(f"{foreign[0]} was not written by such a call; {target} is not replaced.")


def _is_derived(path: Path, any_name: bool) -> bool:
    from pydicom.errors import InvalidDicomError

    if not path.is_file() or not (any_name or _OURS.fullmatch(path.name)):
        return False
    try:
        header = open_dataset(str(path), tags=["ImageType", "ContributingEquipmentSequence"])
    except (InvalidDicomError, DicomFileError, OSError):
        return False
    return "DERIVED" in (header.get("ImageType") or "") and "ContributingEquipmentSequence" in header


@contextmanager
def _appearing(target: Path, flat: bool, overwrite: bool) -> Iterator[Path]:
    """A temporary path beside the target that takes its place at the end, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{os.getpid()}-{target.name}")
    old = target.with_name(f".{os.getpid()}-old-{target.name}")
    try:
        if not flat:
            temporary.mkdir()
        yield temporary
        _check_target(target, flat, overwrite)
        if target.is_dir():
            os.rename(target, old)
        try:
            os.replace(temporary, target)
        except OSError:
            if old.exists():
                os.rename(old, target)
            raise
    finally:
        for path in (temporary, old):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
