"""Keys for what was made of files: the bytes of the files and how they were prepared, the same in every process.

Pickles will not do: they depend on which equal strings happen to be one object, and cannot hold a lambda. So a value is
described by nested tuples of plain values, whose ``repr`` is hashed.
"""

from __future__ import annotations

import copyreg
import enum
import functools
import hashlib
import importlib.metadata
import json
import os
import sys
import time
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import ImageReader

from .. import __version__
from ..utils import write_json

__all__ = ["ContentMemo", "describe", "describe_software", "digest", "item_key", "item_paths", "path_files"]

# What can change the voxels of a transform that is called the same; of this package the rooms, by their source.
_PACKAGES = ("monai", "torch", "numpy", "nibabel", "pydicom", "pillow", "SimpleITK")
_ROOMS = ("data", "operators", "transforms", "utils")
_VERSIONED = {"monai", "monai_cdiff", "torch", "numpy"}
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis))
_RANDOM = (np.random.RandomState, np.random.Generator, torch.Generator)
_BOOKKEEPING = {"filenames", "has_series"}  # of a reader: what it read last
# A file that changed this recently may change again without a new time stamp.
_SETTLED_NS = 2 * 10**9


def digest(value: Any) -> str:
    """Hash of a description."""
    return hashlib.blake2b(repr(value).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def item_paths(item: Any) -> list[str]:
    """The strings and paths in an item, at any depth, that name an existing file or folder, in order."""
    if isinstance(item, (str, os.PathLike)):
        text = os.fspath(item)
        named = isinstance(text, str) and text and "\0" not in text and os.path.exists(os.path.expanduser(text))
        return [text] if named else []
    if isinstance(item, Mapping):
        return [path for value in item.values() for path in item_paths(value)]
    if isinstance(item, (list, tuple)):
        return [path for value in item for path in item_paths(value)]
    return []


def path_files(path: Path) -> list[Path]:
    """The file itself, or all files in a folder at any depth, in order."""
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def item_key(item: Any, memo: ContentMemo) -> str:
    """Key of an item: the content of the files and folders it names, and its other values.

    A path counts by what lies there and by its last name, from which transforms may draw a label; not by the folders
    above it, so that data that are moved keep their keys.
    """
    files: list[Path] = []

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(one) for one in value]
        if not item_paths(value):
            return value
        path = Path(value).expanduser()
        inside = path_files(path)
        files.extend(inside)
        return ("path", path.name, [file.relative_to(path).as_posix() for file in inside])

    described = describe(plain(item))
    return digest((described, memo.digest(files)))


class ContentMemo:
    """Hashes of files' bytes, kept by path, size and times, so that no file is read twice.

    Args:
        path: JSON file that keeps them; None keeps nothing. A damaged one counts as empty.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.known = self._load()
        self.new: dict[str, str] = {}

    def _load(self) -> dict[str, str]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8")) if self.path else {}
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def digest(self, files: Sequence[Path]) -> str:
        """One hash of the bytes of all files, in their order.

        Raises:
            OSError: if one cannot be read.
        """
        return digest([self._content(file) for file in files])

    def _content(self, file: Path) -> str:
        stat = file.stat()
        signature = digest((os.path.abspath(file), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
        if signature not in self.known:
            begun = time.time_ns()
            with open(file, "rb") as stream:
                found = hashlib.file_digest(stream, "blake2b").hexdigest()
            if begun - max(stat.st_mtime_ns, stat.st_ctime_ns) <= _SETTLED_NS:
                return found
            self.known[signature] = self.new[signature] = found
        return self.known[signature]

    def save(self) -> None:
        """Keep what was learnt, beside what other processes have.

        Raises:
            OSError: if the file cannot be written.
        """
        if self.path is not None and self.new:
            write_json({**self._load(), **self.new}, self.path)
            self.new = {}


def describe(value: Any, _within: tuple[int, ...] = ()) -> Any:
    """Nested tuples of plain values that tell apart what behaves differently, in every process alike.

    An object counts by its class and its state, as pickle takes it; a function that can be imported by its name, a
    lambda by its code and the values that the code names. Classes and functions of other packages than MONAI count
    with the source of their file. Random states are left out.

    Raises:
        TypeError: for what has no state to describe, such as an open file or a lock.
    """
    if type(value) in _PLAIN:
        return value
    if id(value) in _within:
        return ("itself", len(_within) - _within.index(id(value)))
    inner = functools.partial(describe, _within=(*_within, id(value)))
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, _RANDOM):
        return "random state"
    if isinstance(value, (enum.Enum, os.PathLike)):
        return (name, os.fspath(value) if isinstance(value, os.PathLike) else inner(value.value))
    if isinstance(value, (np.ndarray, np.generic, torch.Tensor)):
        return (name, *_describe_array(value, inner))
    if isinstance(value, Mapping):
        return (name, *sorted(((inner(key), inner(one)) for key, one in value.items()), key=repr))
    if isinstance(value, (set, frozenset)):
        return (name, *sorted(map(inner, value), key=repr))
    if type(value) in (list, tuple):
        return (name, *map(inner, value))
    if isinstance(value, types.ModuleType):
        return ("module", value.__name__)
    if isinstance(value, type):
        return ("class", *_describe_named(value, inner))
    if isinstance(value, types.CodeType):
        return ("code", value.co_code, inner(value.co_consts), value.co_names, value.co_varnames, value.co_freevars)
    if isinstance(value, types.FunctionType):
        return _describe_function(value, inner)
    return _describe_object(value, inner)


def _describe_array(value: Any, inner: Any) -> tuple[Any, ...]:
    state = inner(vars(value)) if hasattr(value, "__dict__") else None
    if isinstance(value, torch.Tensor):
        plain = value.detach().cpu().contiguous().as_subclass(torch.Tensor)
        content = plain.reshape(-1).view(torch.uint8).numpy().tobytes()
    elif value.dtype.hasobject:
        return (str(value.dtype), inner(value.tolist()))
    else:
        content = value.tobytes()
    hashed = hashlib.blake2b(content, digest_size=16).hexdigest()
    return (str(value.dtype), tuple(value.shape), hashed, state)


def _describe_named(value: Any, inner: Any) -> tuple[Any, ...]:
    """A class or function by its name, with the source behind it; a class without a source by its methods."""
    named = (value.__module__, value.__qualname__)
    if _is_versioned(value):
        return named
    source = _source_digest(value.__module__)
    if source is None and isinstance(value, type):
        return (*named, *(inner(one) for one in vars(value).values() if isinstance(one, types.FunctionType)))
    return (*named, source)


def _is_versioned(value: Any) -> bool:
    package = str(value.__module__).split(".")[0]
    return package in _VERSIONED or package in sys.stdlib_module_names


def _describe_function(value: types.FunctionType, inner: Any) -> Any:
    imported = getattr(sys.modules.get(value.__module__ or ""), value.__qualname__, None)
    if imported is value and (_is_versioned(value) or _source_digest(value.__module__)):
        return ("function", *_describe_named(value, inner))
    names, constants = _names_in(value.__code__)
    outer = {name: value.__globals__[name] for name in sorted(names & value.__globals__.keys())}
    cells = zip(value.__code__.co_freevars, value.__closure__ or ())
    outer.update((name, cell.cell_contents) for name, cell in cells)
    for name, used in outer.items():  # of the many values of a config, those that the expression names
        if isinstance(used, dict):
            outer[name] = {key: one for key, one in used.items() if key in constants} or used
    return ("code", inner(value.__code__), inner(value.__defaults__), inner(value.__kwdefaults__), inner(outer))


def _names_in(code: types.CodeType) -> tuple[set[str], set[str]]:
    """Names and string constants of code, functions within it included."""
    names, constants = set(code.co_names), {one for one in code.co_consts if isinstance(one, str)}
    for one in code.co_consts:
        if isinstance(one, types.CodeType):
            inside = _names_in(one)
            names, constants = names | inside[0], constants | inside[1]
    return names, constants


def _describe_object(value: Any, inner: Any) -> Any:
    """By class and state, as pickle would take it apart."""
    reduce = copyreg.dispatch_table.get(type(value))
    reduced: Any = reduce(value) if reduce is not None else value.__reduce_ex__(4)
    if isinstance(reduced, str):
        return ("global", getattr(value, "__module__", None) or type(value).__module__, reduced)
    make, arguments, state, listed, mapped = (*reduced, None, None, None)[:5]
    if isinstance(value, ImageReader) and isinstance(state, dict):
        state = {key: one for key, one in state.items() if key not in _BOOKKEEPING}
    contents = (list(listed or ()), list(mapped or ()))
    return ("object", inner(type(value)), inner(make), inner(arguments), inner(state), inner(contents))


@functools.lru_cache(maxsize=None)
def _source_digest(module: str) -> str | None:
    try:
        return hashlib.blake2b(Path(sys.modules[module].__file__ or "").read_bytes(), digest_size=16).hexdigest()
    except (AttributeError, KeyError, TypeError, OSError):
        return None


@functools.lru_cache(maxsize=None)
def describe_software() -> tuple[Any, ...]:
    """The versions of what prepares images, and the source of this package's part in it."""
    versions = []
    for name in _PACKAGES:
        try:
            versions.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            versions.append((name, ""))
    house = Path(__file__).parent.parent
    sources = [file for room in _ROOMS for file in sorted((house / room).rglob("*.py"))]
    return (__version__, digest([file.read_bytes() for file in sources]), *versions)
