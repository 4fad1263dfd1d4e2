"""What a derived image says about its making: a Derivation and the source's headers, in the words of the standard."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from typing import Any

from .derivation import Derivation
from .dicom_record import DicomError
from .dicom_template import put

__all__ = ["check_derivation", "describe", "source_image_item"]

_TEXT_LENGTH = 1024  # of an ST
_LABEL_LENGTH = 64  # of an LO
# Transfer syntax -> what LossyImageCompressionMethod calls it. JPEG 2000 (.91) may have been lossless; nobody can tell.
_LOSSY_SYNTAXES = {
    "1.2.840.10008.1.2.4.50": "ISO_10918_1",
    "1.2.840.10008.1.2.4.51": "ISO_10918_1",
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",
    "1.2.840.10008.1.2.4.91": "ISO_15444_1",
}


def check_derivation(derivation: Derivation) -> None:
    """Refuse what does not fit into a header, before work starts.

    Raises:
        DicomError: if a text is too long or empty, or a code is unknown.
    """
    if not 0 < len(plain_text(derivation.description)) <= _TEXT_LENGTH:
        raise DicomError(f"derivation.description has {len(derivation.description)} characters; 1 to 1024 are allowed.")
    if not 0 < len(derivation.label) <= 16 or "\\" in derivation.label:
        raise DicomError(f"derivation.label={derivation.label!r} must have 1 to 16 characters, without a backslash.")
    for name in ("software", "version"):
        value = getattr(derivation, name)
        if not 0 < len(plain_text(value)) <= _LABEL_LENGTH or "\\" in value:
            raise DicomError(f"derivation.{name}={value!r} must have 1 to 64 characters, without a backslash.")
    _settings_parts(derivation)
    for keyword in derivation.codes:
        _concept(keyword)


def describe(dataset: Any, header: Any, derivation: Derivation, now: datetime.datetime) -> None:
    """Write what was done, by what and when, into a dataset that is made from a source header."""
    put(dataset, "ImageType", _image_type(header, derivation))
    put(dataset, "DerivationDescription", plain_text(derivation.description))
    if derivation.codes:
        put(dataset, "DerivationCodeSequence", [_code_item(_concept(keyword)) for keyword in derivation.codes])
    equipment = list(dataset.get("ContributingEquipmentSequence") or [])
    put(dataset, "ContributingEquipmentSequence", equipment + _equipment(derivation, now))
    if derivation.synthetic:
        put(dataset, "SyntheticData", "YES")
    label = f" {plain_text(derivation.label)}"
    description = str(header.get("SeriesDescription") or "")
    put(dataset, "SeriesDescription", (description[: _LABEL_LENGTH - len(label)] + label).strip())
    for name in ("SeriesDate", "ContentDate", "InstanceCreationDate"):
        put(dataset, name, now.strftime("%Y%m%d"))
    for name in ("SeriesTime", "ContentTime", "InstanceCreationTime"):
        put(dataset, name, now.strftime("%H%M%S.%f"))


def lossy_elements(headers: Sequence[Any], files: Sequence[str]) -> dict[str, Any]:
    """LossyImageCompression, its ratio and its method, where any source has ever been compressed with loss."""
    for header, file in zip(headers, files):
        flag = str(header.get("LossyImageCompression") or "")
        method = _LOSSY_SYNTAXES.get(str(header.file_meta.get("TransferSyntaxUID", "")))
        if flag != "01" and (method is None or flag == "00" and method == "ISO_15444_1"):
            continue
        found: dict[str, Any] = {"LossyImageCompression": "01"}
        for name in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if header.get(name):
                found[name] = header[name].value
        if method is not None and "LossyImageCompressionMethod" not in found:
            raw = header.Rows * header.Columns * int(header.BitsAllocated) // 8 * int(header.get("NumberOfFrames") or 1)
            found["LossyImageCompressionRatio"] = f"{raw / os.path.getsize(file):.2f}"
            found["LossyImageCompressionMethod"] = method
        return found
    return {}


def source_image_item(header: Any, frame: int) -> Any:
    """An item of SourceImageSequence; ``frame`` counts from 1 and is named for multi-frame sources only."""
    from pydicom import Dataset
    from pydicom.sr.codedict import codes

    item = Dataset()
    put(item, "ReferencedSOPClassUID", header.SOPClassUID)
    put(item, "ReferencedSOPInstanceUID", header.SOPInstanceUID)
    if int(header.get("NumberOfFrames") or 1) > 1:
        put(item, "ReferencedFrameNumber", frame)
    purpose = _code_item(codes.DCM.SourceImageForImageProcessingOperation)
    put(item, "PurposeOfReferenceCodeSequence", [purpose])
    return item


def local_time(header: Any) -> datetime.datetime:
    """Now, in the time zone that the header says its times are in; else in that of this machine."""
    offset = str(header.get("TimezoneOffsetFromUTC") or "")
    try:
        return datetime.datetime.now(datetime.datetime.strptime(offset, "%z").tzinfo)
    except ValueError:
        return datetime.datetime.now()


def plain_text(text: str) -> str:
    """Text that every SpecificCharacterSet can hold: ASCII without control characters."""
    ascii_text = text.encode("ascii", "xmlcharrefreplace").decode()
    return "".join(character if character.isprintable() else " " for character in ascii_text)


def _image_type(header: Any, derivation: Derivation) -> list[str]:
    value = header.get("ImageType") or []
    values = [value] if isinstance(value, str) else list(value)
    if header.get("Modality") not in ("MR", "CT"):
        return ["DERIVED", "SECONDARY", ""]
    default = "AXIAL" if header.get("Modality") == "CT" else "OTHER"
    third = values[2] if len(values) > 2 and values[2] and derivation.quantity == "image" else default
    return ["DERIVED", "SECONDARY", third]


def _equipment(derivation: Derivation, now: datetime.datetime) -> list[Any]:
    from pydicom import Dataset
    from pydicom.sr.codedict import codes

    items = []
    for part in _settings_parts(derivation):
        item = Dataset()
        put(item, "PurposeOfReferenceCodeSequence", [_code_item(codes.DCM.ProcessingEquipment)])
        put(item, "Manufacturer", plain_text(derivation.software))
        put(item, "ManufacturerModelName", plain_text(derivation.software))
        put(item, "SoftwareVersions", plain_text(derivation.version))
        put(item, "ContributionDateTime", now.strftime("%Y%m%d%H%M%S.%f"))
        put(item, "ContributionDescription", part)
        items.append(item)
    return items


def _settings_parts(derivation: Derivation) -> list[str]:
    # Cut between settings only: one item of the sequence holds 1024 characters.
    parts = [plain_text(derivation.description)]
    for name, value in derivation.settings.items():
        if value is None:
            continue
        pair = plain_text(f"{name}={value}")
        if len(pair) > _TEXT_LENGTH:
            raise DicomError(f"derivation.settings[{name!r}] has {len(pair)} characters; a header holds 1024 of them.")
        joined = f"{parts[-1]}; {pair}"
        parts = [*parts[:-1], joined] if len(joined) <= _TEXT_LENGTH else [*parts, pair]
    return parts


def _concept(keyword: str) -> Any:
    from pydicom.sr.codedict import codes

    concept = getattr(codes.cid7203, keyword, None)
    if concept is None:
        known = ", ".join(codes.cid7203.dir())
        raise DicomError(f"derivation.codes: {keyword!r} is not in CID 7203; there are {known}.")
    return concept


def _code_item(concept: Any) -> Any:
    from pydicom import Dataset

    item = Dataset()
    put(item, "CodeValue", concept.value)
    put(item, "CodingSchemeDesignator", concept.scheme_designator)
    put(item, "CodeMeaning", concept.meaning)
    return item
