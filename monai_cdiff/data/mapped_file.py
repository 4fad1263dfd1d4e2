"""A prepared item in one file that is mapped to memory: nothing is read before it is touched.

The file is what ``torch.save`` writes, of tensors and plain values only, so it opens without running any code in it.
The slices of a volume lie one after another, so one slice is one short stretch of the file.
"""

from __future__ import annotations

import enum
import json
import os
import re
import shutil
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

__all__ = ["DamagedFileError", "item_bytes", "open_item", "slices_in_a_row", "write_item"]

_KIND = "monai_cdiff.kind"
_PLAIN = (type(None), bool, int, float, complex, bytes, torch.dtype, torch.device)
_ALWAYS_CHECKED_BYTES = 2**16
MIB = 2**20


class DamagedFileError(ValueError):
    """A file that is not what was written."""


def write_item(item: Any, path: Path, paths: Sequence[str] = ()) -> None:
    """Write an item whole or not at all; several processes may write the same one.

    Args:
        item: tensors, arrays and plain values, in dictionaries, lists and tuples.
        path: where to.
        paths: the paths the item was made from; where they stand in its strings, those that
            :py:func:`open_item` is given will stand.

    Raises:
        TypeError: if the item holds something else; the message says where.
        OSError: if it cannot be written, as on a disk that is full or read-only.
    """
    content = _encode(item, "the item", _Masks(paths))
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex}.tmp")
    try:
        torch.save(content, temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch's writer raises the latter
        needed = f"{item_bytes(item) / MIB:.1f} MiB are needed, {_free(path.parent)} free"
        raise OSError(
            f"{path} cannot be written ({needed}): {error} Make room, name a folder that can be written, or hold all "
            "in memory with cache_dir=None."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def open_item(path: Path, paths: Sequence[str] = (), verify: bool = False) -> Any:
    """The item in a file, its tensors mapped; what is written to them stays in this process.

    Args:
        path: what :py:func:`write_item` wrote.
        paths: the paths that shall stand in the place of those the item was made from.
        verify: compare the checksums of all values, for which the whole file is read.

    Raises:
        FileNotFoundError: if there is no file.
        PermissionError: if it must not be read.
        DamagedFileError: if it is cut short or altered.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for record in archive.infolist():
                if verify or record.file_size <= _ALWAYS_CHECKED_BYTES:
                    archive.read(record)
        return _decode(torch.load(path, map_location="cpu", mmap=True, weights_only=True), _Masks(paths))
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # zipfile, torch and unpickling know many kinds
        raise DamagedFileError(f"{path} is damaged: {error}") from error


def slices_in_a_row(item: Any) -> Any:
    """The item with equal tensors, each with a storage of its own; in (C, H, W, D) those of a slice lie together."""
    if isinstance(item, MetaTensor):
        image = _in_a_row(item).as_subclass(MetaTensor)
        vars(image).update(vars(item))
        return image
    if isinstance(item, torch.Tensor):
        return _in_a_row(item)
    if isinstance(item, Mapping):
        return {key: slices_in_a_row(value) for key, value in item.items()}
    if type(item) in (list, tuple):
        return type(item)(slices_in_a_row(value) for value in item)
    return item


def item_bytes(item: Any) -> int:
    """What the tensors and arrays of an item take in memory."""
    if isinstance(item, (torch.Tensor, np.ndarray)):
        return int(item.nbytes)
    if isinstance(item, Mapping):
        return sum(map(item_bytes, item.values()))
    return sum(map(item_bytes, item)) if isinstance(item, (list, tuple)) else 0


def _in_a_row(tensor: torch.Tensor) -> torch.Tensor:
    plain = tensor.detach().as_subclass(torch.Tensor)
    if plain.ndim != 4:
        return plain.clone(memory_format=torch.contiguous_format)
    return plain.permute(3, 0, 1, 2).clone(memory_format=torch.contiguous_format).permute(1, 2, 3, 0)


class _Masks:
    """Marks for paths in strings; a path also counts where more of a path follows, and in quotes, as JSON spells it."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = paths

    @cached_property
    def spellings(self) -> list[str]:
        """Two for each path: as it was given, if it cannot be taken for another word, and absolute."""
        given = [os.path.expanduser(path) for path in self.paths]
        pairs = [(path if os.sep in path else os.path.abspath(path), os.path.abspath(path)) for path in given]
        return [spelling for pair in pairs for spelling in pair]

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each spelling, plain and in JSON."""
        numbered = reversed(list(enumerate(self.spellings)))  # of equal ones the first
        return {text: n for n, spelling in numbered for text in (spelling, _in_json(spelling))}

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches the longest spelling, where it is a whole name, and the quote before it."""
        words = "|".join(map(re.escape, sorted(self.numbers, key=len, reverse=True)))
        return re.compile(rf"(?<![\w./-])(\"?)({words})(?![\w.-])" if words else "(?!)")

    def hide(self, text: str) -> str:
        """The text with marks for paths."""
        return self.pattern.sub(lambda match: f"{match[1]}\0{self.numbers[match[2]]}\0", text)

    def fill(self, text: str) -> str:
        """The text with this item's paths for the marks."""

        def path(match: re.Match[str]) -> str:
            spelling = self.spellings[int(match[2])]
            return match[1] + (_in_json(spelling) if match[1] else spelling)

        return re.sub("(\"?)\0(\\d+)\0", path, text)


def _in_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def _encode(value: Any, where: str, masks: _Masks) -> Any:
    """Only what ``torch.load(weights_only=True)`` accepts."""
    if isinstance(value, enum.Enum):
        value = value.value
    if type(value) in _PLAIN:
        return value
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufcUS":
        return _encode_array(value)
    if isinstance(value, (str, os.PathLike)):
        text = str(os.fspath(value))
        hidden = masks.hide(text)
        if isinstance(value, os.PathLike):
            return {_KIND: "path", "text": hidden}
        return text if hidden == text else {_KIND: "text", "text": hidden}
    if isinstance(value, MetaTensor):
        attributes = {name: _encode(one, f"{where}.{name}", masks) for name, one in vars(value).items()}
        return {_KIND: "meta", "tensor": _in_a_row(value.cpu()), "attributes": attributes}
    if isinstance(value, torch.Tensor):
        return _in_a_row(value.cpu())
    if isinstance(value, np.dtype):
        return {_KIND: "dtype", "name": value.str}
    if isinstance(value, Mapping):
        return {_encode(key, where, masks): _encode(one, f"{where}[{key!r}]", masks) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        encoded = [_encode(one, f"{where}[{n}]", masks) for n, one in enumerate(value)]
        return encoded if isinstance(value, list) else tuple(encoded)
    raise TypeError(
        f"{where} is a {type(value).__module__}.{type(value).__qualname__}, which cannot be cached in a file; allowed: "
        "tensors, arrays, numbers, strings, and dictionaries, lists and tuples of them. Leave it out, or hold all in "
        "memory with cache_dir=None."
    )


def _encode_array(value: np.ndarray | np.generic) -> dict[str, Any]:
    kind = "array" if isinstance(value, np.ndarray) else "scalar"
    if value.dtype.kind in "US":
        return {_KIND: kind, "values": value.tolist(), "dtype": value.dtype.str}
    native = np.array(value, dtype=value.dtype.newbyteorder("="), order="C")
    try:
        return {_KIND: kind, "values": torch.from_numpy(native)}
    except TypeError:  # a type that torch lacks, such as long double
        raise TypeError(f"an array of {value.dtype} cannot be cached in a file; convert it to float64.") from None


def _decode(value: Any, masks: _Masks) -> Any:
    if isinstance(value, list):
        return [_decode(one, masks) for one in value]
    if isinstance(value, tuple):
        return tuple(_decode(one, masks) for one in value)
    if not isinstance(value, dict):
        return value
    kind = value.get(_KIND)
    if kind is None:
        return {key: _decode(one, masks) for key, one in value.items()}
    if kind in ("text", "path"):
        text = masks.fill(value["text"])
        return text if kind == "text" else Path(text)
    if kind == "meta":
        image = value["tensor"].as_subclass(MetaTensor)
        vars(image).update(_decode(value["attributes"], masks))
        return image
    if kind == "dtype":
        return np.dtype(value["name"])
    values = value["values"]
    array = values.numpy() if isinstance(values, torch.Tensor) else np.array(values, dtype=value["dtype"])
    return array if kind == "array" else array[()]


def _free(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free / MIB:.1f} MiB"
    except OSError:
        return "unknown"
