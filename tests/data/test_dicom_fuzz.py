"""Damaged and hostile files: the right volume, or an error that names what is wrong, nothing else.

Right is what a plain reading by pydicom says of the same files: each slice of the volume has the values of its file,
masked to its stored bits and rescaled, and lies where ImagePositionPatient puts it. Two rules stand beside that:

* Refusing more than pydicom does is right: a header that contradicts itself is no volume, even if pydicom reads it.
* A file that no longer says it is a DICOM image (no preamble, or the class of a report) is passed over with a warning
  that names it; the volume is then that of the other files.
* Of an element that a header has twice the last counts, as with pydicom; one behind the pixel data is refused.
* A rescale slope that is absent or empty is 1, such an intercept 0; pydicom rescales only where both are there.
* Where pydicom cannot decode a compressed image but SimpleITK can, only the shape can be compared.
* A step between slices that is no number counts as absent; it matters to a single slice only.
"""

from __future__ import annotations

import io
import os
import struct
import time
import tracemalloc
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK  # noqa: F401 - not within the memory that is measured
from dicom_images import enhanced, image
from hypothesis import HealthCheck, given, reject, seed, settings
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from monai_cdiff.data import DicomError, DicomSelectionError, read_series, scan_series

SEED = int(os.environ.get("DICOM_FUZZ_SEED", "5"))
EXAMPLES = int(os.environ.get("DICOM_FUZZ_EXAMPLES", "600"))
ROOT = Path(__file__).resolve().parents[2]
SECONDS = 20  # an example takes some 0.02 s; other work on the machine must not fail it
COMPRESSED_BYTES = 64 * 2**20  # what a small compressed file may declare

# fmt: off
ELEMENTS = (
    "ImagePositionPatient ImageOrientationPatient PixelSpacing SliceThickness SpacingBetweenSlices ImagerPixelSpacing "
    "NominalScannedPixelSpacing Rows Columns NumberOfFrames BitsAllocated BitsStored HighBit PixelRepresentation "
    "SamplesPerPixel PhotometricInterpretation RescaleSlope RescaleIntercept PixelPaddingValue PixelPaddingRangeLimit "
    "ModalityLUTSequence PixelData SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence SOPClassUID "
    "SeriesInstanceUID StudyInstanceUID PatientID SeriesNumber SeriesDescription Modality ImageType "
    "SpecificCharacterSet PatientBirthDate AcquisitionDate InstanceNumber"
).split()
# fmt: on
TEXTS = [
    *("", " ", "0", "1", "-1", "2", "7", "1.5", "16", "NaN", "inf", "-inf", "1e400", "1e39", "1e-320", "-0.5", "abc"),
    *("1000000000", "99999999999999999999", "1\\2", "0\\0\\3", "1\\0\\0\\0\\1\\0", "0\\1\\0\\0\\0\\1", "nan\\0\\0"),
    *("1e7\\1e7\\1e7", "0\\0", "-1\\-1", "1e-320\\1", "MONOCHROME1", "MONOCHROME2", "RGB", "ISO_IR 999", "20269999"),
    *("\\ISO 2022 IR 87", "1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.1.1.1", "ORIGINAL\\PRIMARY\\MOSAIC"),
]
VRS = "DS IS US SS UL FD FL LO UI SQ OB OW UN AT PN CS DA UT".split()
LONG = "OB OD OF OL OV OW SQ SV UC UN UR UT UV".split()
SYNTAXES = [
    *("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.3", ""),
    *("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"),
]
NUMBERS = st.one_of(
    st.integers(0, 65535).map(lambda n: struct.pack("<H", n)),
    st.integers(-(2**31), 2**31 - 1).map(lambda n: struct.pack("<i", n)),
    st.floats(width=64).map(lambda n: struct.pack("<d", n)),
    st.lists(st.floats(), min_size=1, max_size=6).map(lambda v: "\\".join(f"{n:.9g}" for n in v).encode()),
)
ITEMS = st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\4\0\0\0abcd"]).map(lambda end: b"\xfe\xff\x00\xe0" + end)
VALUES = st.one_of(st.sampled_from(TEXTS).map(str.encode), NUMBERS, ITEMS, st.binary(max_size=40))
FRACTIONS = st.floats(0, 1, exclude_max=True)
MUTATIONS = st.one_of(
    st.tuples(st.just("header"), st.lists(st.tuples(FRACTIONS, st.integers(0, 255)), min_size=1, max_size=8)),
    st.tuples(st.just("anywhere"), st.lists(st.tuples(FRACTIONS, st.integers(0, 255)), min_size=1, max_size=8)),
    st.tuples(st.just("cut"), FRACTIONS),
    st.tuples(st.just("cut header"), FRACTIONS),
    st.tuples(st.just("dropped"), st.lists(st.sampled_from(ELEMENTS), min_size=1, max_size=3)),
    st.tuples(st.just("doubled"), st.sampled_from(ELEMENTS), VALUES, st.sampled_from(["before", "after", "end"])),
    st.tuples(st.just("syntax"), st.sampled_from(SYNTAXES)),
    *[st.tuples(st.just("value"), st.sampled_from(ELEMENTS), st.sampled_from(["", "", *VRS]), VALUES, FRACTIONS)] * 4,
)


@pytest.fixture
def sources(tmp_path, write_series):
    """Small series of every kind: slices plain, deflated, big-endian and compressed; an X-ray; an enhanced image."""
    syntaxes = {"deflated": "1.2.840.10008.1.2.1.99", "big": "1.2.840.10008.1.2.2", "implicit": "1.2.840.10008.1.2"}
    for name in ("plain", "rle", *syntaxes):
        for file in write_series(tmp_path / name):
            dataset = pydicom.dcmread(file)
            if name == "rle":
                dataset.compress(pydicom.uid.RLELossless)
            elif name in syntaxes:
                dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntaxes[name])
            if name == "big":
                dataset.decode()
                dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
                pydicom.dcmwrite(file, dataset, force_encoding=True, implicit_vr=False, little_endian=False)
            else:
                dataset.save_as(file, enforce_file_format=True)
    xray = image((6, 5), SOPClassUID=ComputedRadiographyImageStorage)
    for name, dataset in {"xray": xray, "enhanced": enhanced()}.items():
        (tmp_path / name).mkdir()
        dataset.save_as(tmp_path / name / "image.dcm", enforce_file_format=True)
    real = ["dicom2nifti/hyperfine/anatomical/001/001.dcm", *[f"dcm_qa_ts/{k}.dcm" for k in range(4, 10)]]
    for k, file in enumerate(ROOT.parent / "shared/data/hard_dicom" / name for name in real):
        if file.exists():
            (tmp_path / f"real{k}").mkdir()
            dataset = pydicom.dcmread(file)
            dataset.ImageType = ["ORIGINAL", "PRIMARY"]  # some are mosaics, which would be refused for that alone
            dataset.save_as(tmp_path / f"real{k}" / "image.dcm")
    folders = sorted(tmp_path.iterdir())
    return {folder.name: {file: file.read_bytes() for file in sorted(folder.iterdir())} for folder in folders}


def mutated(data: bytes, mutation: tuple) -> bytes:
    """A file with a mutation applied; unchanged where it has not what the mutation is about."""
    kind, *given_ = mutation
    start = data.index(b"DICM") + 4
    if kind in ("header", "anywhere"):
        changed = bytearray(data)
        end = len(data) if kind == "anywhere" else min(len(data), 3000)
        for place, byte in given_[0]:
            changed[int(place * end)] = byte
        return bytes(changed)
    if kind in ("cut", "cut header"):
        return data[: int(given_[0] * (len(data) if kind == "cut" else min(len(data), 2000)))]
    dataset = pydicom.dcmread(io.BytesIO(data))
    if kind == "syntax":
        (length,) = struct.unpack_from("<I", data, start + 8)
        dataset.file_meta.TransferSyntaxUID = given_[0]
        meta = io.BytesIO()
        pydicom.filewriter.write_file_meta_info(meta, dataset.file_meta, enforce_standard=False)
        return data[:start] + meta.getvalue() + data[start + 12 + length :]
    if kind == "doubled":
        return doubled(data, dataset, *given_)
    if kind == "dropped":
        for keyword in given_[0]:
            for holder in holders(dataset, keyword):
                holder.pop(Tag(keyword), None)
    else:
        keyword, vr, value, place = given_
        among = holders(dataset, keyword)
        holder = among[int(place * len(among))]
        vr = vr or pydicom.datadict.dictionary_VR(Tag(keyword)).split()[0]
        holder._dict[Tag(keyword)] = RawDataElement(Tag(keyword), vr, len(value), value, 0, False, True)
    written = io.BytesIO()
    dataset.save_as(written)
    return written.getvalue()


def holders(dataset: pydicom.Dataset, keyword: str) -> list[pydicom.Dataset]:
    """The datasets within a dataset that have an element; itself where none has."""
    found = [dataset] if keyword in dataset else []
    for element in dataset:
        for inner in element.value if element.VR == "SQ" else []:
            found += [holder for holder in holders(inner, keyword) if keyword in holder]
    return found or [dataset]


def doubled(data: bytes, dataset: pydicom.Dataset, keyword: str, value: bytes, where: str) -> bytes:
    """A file with an element twice, the other time with another value."""
    element = dataset.get_item(keyword)
    if not isinstance(element, RawDataElement) or dataset.file_meta.TransferSyntaxUID != ExplicitVRLittleEndian:
        return data
    value += b" " * (len(value) % 2)
    wide = element.VR in LONG
    size = struct.pack("<HI", 0, len(value)) if wide else struct.pack("<H", len(value))
    extra = struct.pack("<HH", element.tag.group, element.tag.element) + element.VR.encode() + size + value
    begin, end = element.value_tell - (12 if wide else 8), element.value_tell + element.length
    place = {"before": begin, "after": end, "end": len(data)}[where]
    return data[:place] + extra + data[place:]


class PlainSlice:
    """A slice as pydicom reads it: elements, stored values, and the arithmetic of the standard in plain numbers."""

    def __init__(self, file: str, frame: int):
        self.dataset = pydicom.dcmread(file)
        sop_class = self.dataset.file_meta.get("MediaStorageSOPClassUID") or self.dataset.SOPClassUID
        name = pydicom.uid.UID(str(sop_class)).name
        self.groups = []
        if "Enhanced" in name:
            own = (self.dataset.get("PerFrameFunctionalGroupsSequence") or [])[frame - 1 : frame]
            self.groups = [*own, *(self.dataset.get("SharedFunctionalGroupsSequence") or [])[:1]]
        self.projection = "Radiography" in name
        try:
            pixels = self.dataset.pixel_array
            self.pixels = pixels[frame - 1] if pixels.ndim == 3 else pixels
        except Exception:
            if not self.dataset.file_meta.TransferSyntaxUID.is_encapsulated:
                raise
            self.pixels = None

    def get(self, keyword, default=None):
        for group in self.groups:
            for element in group:
                if element.VR == "SQ" and element.value and element.value[0].get(keyword) not in (None, ""):
                    return element.value[0].get(keyword)
        if self.groups and keyword not in ("RescaleSlope", "RescaleIntercept"):
            return default
        value = self.dataset.get(keyword)
        return default if value in (None, "") else value

    def check(self, values: np.ndarray) -> None:
        """Compare real values (columns, rows), where pydicom has a decoder for them."""
        if self.pixels is None:
            assert values.shape == (self.dataset.Columns, self.dataset.Rows) and np.isfinite(values).all()
        else:
            np.testing.assert_allclose(values, self.values(), rtol=1e-6, atol=1e-6 * np.abs(values).max())

    def values(self) -> np.ndarray:
        dataset, stored = self.dataset, int(self.dataset.BitsStored)
        native = not dataset.file_meta.TransferSyntaxUID.is_encapsulated
        high = int(dataset.get("HighBit") or stored - 1) if native else stored - 1
        values = self.pixels.astype(np.int64) % 2 ** int(dataset.BitsAllocated) >> (high + 1 - stored)
        values %= 2**stored
        signed = bool(dataset.get("PixelRepresentation"))
        if signed:
            values = np.where(values >= 2 ** (stored - 1), values - 2**stored, values)
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            values = (-1 if signed else 2**stored - 1) - values
        if dataset.get("ModalityLUTSequence") and not any("PixelValueTransformationSequence" in g for g in self.groups):
            return pydicom.pixels.apply_modality_lut(values, dataset).T
        return values.T * float(self.get("RescaleSlope", 1)) + float(self.get("RescaleIntercept", 0))


def step_or_zero(plain: PlainSlice, keyword: str) -> float:
    try:
        step = abs(float(plain.get(keyword, 0)))
    except Exception:  # pydicom has many for a value that is none
        return 0.0
    return step if np.isfinite(step) else 0.0


def check_right(files: list[str], volume: np.ndarray, affine: np.ndarray, record) -> None:
    """Hold a volume that was read to what pydicom says of its files."""
    assert set(record.files) <= set(files) and volume.dtype == np.float32
    plain = [PlainSlice(file, frame) for file, frame in zip(record.files, record.frames)]
    if volume.ndim == 2:
        assert len(plain) == 1 and (plain[0].projection or plain[0].get("ImagePositionPatient") is None)
        spacings = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
        spacing = next((plain[0].get(name) for name in spacings if plain[0].get(name) is not None), (1.0, 1.0))
        np.testing.assert_allclose(affine, np.diag([-spacing[1], -spacing[0], 1, 1]))
        plain[0].check(volume)
        return
    assert volume.shape[2] == len(plain)
    row, column = np.array(plain[0].get("ImageOrientationPatient"), float).reshape(2, 3)
    spacing = plain[0].get("PixelSpacing")
    lps = affine * np.array([-1, -1, 1, 1])[:, None]
    np.testing.assert_allclose(lps[:3, 0], row * float(spacing[1]), rtol=1e-9)
    np.testing.assert_allclose(lps[:3, 1], column * float(spacing[0]), rtol=1e-9)
    assert lps[:3, 2] @ np.cross(row, column) > 0
    step = np.linalg.norm(lps[:3, 2])
    if len(plain) == 1:
        steps = [step_or_zero(plain[0], name) for name in ("SpacingBetweenSlices", "SliceThickness")]
        assert step == pytest.approx(next((step for step in steps if step), 1.0))
    for k, own in enumerate(plain):
        place = np.array(own.get("ImagePositionPatient"), float)
        assert np.abs(lps[:3, 3] + k * lps[:3, 2] - place).max() <= max(0.01, 0.01 * step) * len(plain)
        np.testing.assert_allclose(own.get("ImageOrientationPatient"), [*row, *column], atol=2e-4)
        np.testing.assert_allclose(own.get("PixelSpacing"), spacing, atol=2e-4)
        own.check(volume[..., k])


def declared_bytes(file: Path) -> int:
    """What the pixels of a file take by its header; a compressed file may declare more than it has, within a bound."""
    try:
        dataset = pydicom.dcmread(file, stop_before_pixels=True)
        size = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("NumberOfFrames") or 1) * 4
    except Exception:
        return 0
    return size if size <= max(COMPRESSED_BYTES, 1000 * file.stat().st_size) else 0


def judge(folder: Path, changed: Path, caplog) -> str:
    """Read a folder of which one file was changed, and hold the outcome to the rules above."""
    files = [str(file) for file in sorted(folder.iterdir())]
    caplog.clear()
    tracemalloc.start()
    began = time.monotonic()
    try:
        found = scan_series(folder)
        volume, affine, record = read_series(folder)
        outcome = "read"
    except DicomError as error:
        outcome, message = f"refused: {type(error).__name__}", str(error)
        if isinstance(error, DicomSelectionError):
            listed = [info.series_uid for info in found]
            assert all(uid in message for uid in listed) and str(folder) in message
        elif len(files) == 1 or "FileError" in outcome:  # of two files that disagree, both are named
            assert str(changed) in message, message
        else:
            assert any(file in message for file in files), message
    seconds, peak = time.monotonic() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < SECONDS
    assert peak < 4 * 2**20 + 12 * sum(map(os.path.getsize, files)) + 8 * declared_bytes(changed)
    if outcome != "read":
        return outcome
    lost = set(files) - set(record.files)
    assert all(os.path.basename(file) in caplog.text for file in lost), "a file was left out without a word"
    check_right(files, volume, affine, record)
    return outcome


def fuzz(sources, examples: int, caplog) -> Counter:
    print(f"DICOM_FUZZ_SEED={SEED} DICOM_FUZZ_EXAMPLES={examples}")
    outcomes: Counter = Counter()
    names = st.sampled_from(sorted(sources))

    @seed(SEED)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(names, FRACTIONS, MUTATIONS)
    def run(name, place, mutation):
        files = list(sources[name])
        changed = files[int(place * len(files))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                changed.write_bytes(mutated(sources[name][changed], mutation))
            except Exception:  # pydicom cannot write such an element
                reject()
            try:
                outcomes[judge(changed.parent, changed, caplog)] += 1
            finally:
                changed.write_bytes(sources[name][changed])

    run()
    print(dict(outcomes))
    return outcomes


def test_row13_sources_are_read_as_they_are(sources, caplog):
    assert len(sources) in (7, 14)
    for files in sources.values():
        assert judge(next(iter(files)).parent, next(iter(files)), caplog) == "read"


def test_row13_damaged_files_a_few(sources, caplog):
    sources = {name: files for name, files in sources.items() if not name.startswith("real")}
    outcomes = fuzz(sources, 60, caplog)
    assert sum(outcomes.values()) >= 60


@pytest.mark.slow
def test_row13_damaged_files(sources, caplog):
    outcomes = fuzz(sources, EXAMPLES, caplog)
    assert sum(outcomes.values()) >= EXAMPLES and min(outcomes["read"], sum(outcomes.values()) - outcomes["read"]) > 50
