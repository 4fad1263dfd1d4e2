"""``bundle``: the bundles that come with the package, listed, and copied to where they can be run and changed."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import shlex
import shutil
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

__all__ = ["add_command", "bundle_folder", "packaged_bundles", "which_bundles"]

_FOLDERS = ("configs", "docs", "models")
_EXPORT = """\
Write the bundle of a task into DIR, which becomes the bundle's folder and may have any name: configurations, weights
and pages, with train.json and its like as links into configs/ (copies where the file system knows no links). Run it
from there, or from the parent of bundles/ if DIR is bundles/TASK. A DIR that is not empty is refused without
--overwrite, which replaces the bundle's own files and touches nothing else."""


def add_command(commands: Any) -> None:
    """Add ``bundle`` to the commands of an argument parser."""
    group = commands.add_parser("bundle", help="list the bundles of this package, or write one into a folder")
    actions = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listing = actions.add_parser(
        "list", help="list them", description="List the bundles of this package: task, version, what it does."
    )
    export = actions.add_parser(
        "export",
        help="write one into a folder",
        description=_EXPORT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    export.add_argument("task", metavar="TASK", help='which bundle, as "bundle list" names it')
    export.add_argument("dir", metavar="DIR", help="the folder that becomes the bundle")
    export.add_argument("--overwrite", action="store_true", help="replace the bundle's own files in DIR")
    for parser, run in ((listing, _list), (export, _export)):
        parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
        parser.set_defaults(run=run)


def packaged_bundles() -> dict[str, Path]:
    """The folder of each bundle that comes with the package, by its task; to be read, never written to.

    Example:
        >>> "sr" in packaged_bundles()
        True
    """
    package = Path(str(files("monai_cdiff")))
    # an installed package holds them, a checkout has them beside it
    places = (package / "bundles", package.parent / "bundles")
    root = next((place for place in places if place.is_dir()), places[0])
    return {file.parent.parent.name: file.parent.parent for file in sorted(root.glob("*/configs/metadata.json"))}


def bundle_folder(bundle: str | None, config: str) -> Path:
    """The folder of the bundle that a command was given.

    Args:
        bundle: a folder, or the name of a packaged bundle; None for bundles/sr if there is that folder, else the
            packaged sr.
        config: name of the configuration that it must have.

    Raises:
        FileNotFoundError: if there is no such bundle, or it has no such configuration.

    Example:
        >>> bundle_folder("sr", "inference.json").name
        'sr'
    """
    folder = Path("bundles/sr" if bundle is None else bundle).expanduser().absolute()
    if not (folder / "configs").is_dir():  # a folder of another kind may have the name of a task
        folder = packaged_bundles().get("sr" if bundle is None else bundle, folder)
    file = folder / "configs" / config
    if not file.is_file():
        shown = folder if bundle is None else bundle
        raise FileNotFoundError(
            f"--bundle {shown}: {file} does not exist; give the folder of a bundle, or name a packaged one; "
            f"{which_bundles(os.path.basename(str(shown)))}"
        )
    return folder


def which_bundles(name: str) -> str:
    """What to answer to the name of a bundle that there is not: those that there are, and the one perhaps meant.

    Example:
        >>> which_bundles("srr").endswith("Did you mean sr?")
        True
    """
    known = list(packaged_bundles())
    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f"the packaged bundles are {', '.join(known) or 'missing'}.{f' Did you mean {near[0]}?' if near else ''}"


def _list(args: argparse.Namespace) -> int:
    bundles = packaged_bundles()
    if not bundles:
        raise FileNotFoundError("this installation of monai_cdiff holds no bundles; install it again.")
    rows = [(task, *(_metadata(folder)[key] for key in ("version", "description"))) for task, folder in bundles.items()]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(" ".join(text.split()).ljust(width) for text, width in zip(row, widths)).rstrip())
    return 0


def _metadata(bundle: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    return content


def _export(args: argparse.Namespace) -> int:
    source = packaged_bundles().get(args.task)
    if source is None:
        raise ValueError(f"TASK={args.task!r} is no bundle; {which_bundles(args.task)}")
    if not args.dir.strip():
        raise ValueError('DIR is empty; give a path, "." for the folder you are in.')
    target = Path(args.dir).expanduser().absolute()
    names = _names(source)
    _check_target(target, source, args)
    _check_names(target, names)
    for name in names:
        _write(source, target, name)
    metadata = _metadata(target)
    print(f"{metadata['name']} {metadata['version']}: {len(names)} files in {target}")
    print(f"cd {shlex.quote(str(target))} && python -m monai.bundle run training --config_file train.json")
    return 0


def _names(bundle: Path) -> list[Path]:
    """The bundle's own files, relative to it; those at the top, which may be links to others, last."""
    below = [path for folder in _FOLDERS for path in sorted((bundle / folder).rglob("*"))]
    paths = [path.relative_to(bundle) for path in [*below, *sorted(bundle.iterdir())] if path.is_file()]
    return [path for path in paths if not any(part.startswith(".") for part in path.parts)]


def _check_target(target: Path, source: Path, args: argparse.Namespace) -> None:
    blocked = [place for place in (target, *target.parents) if os.path.lexists(place) and not place.is_dir()]
    if blocked:
        raise NotADirectoryError(f"DIR={args.dir!r}: {blocked[0]} is no folder; give a folder, which need not exist.")
    if target.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"DIR={args.dir!r} lies in the packaged bundle itself, {source}; give another folder.")
    if target.is_dir() and any(target.iterdir()) and not args.overwrite:
        raise FileExistsError(
            f"DIR={args.dir!r} is not empty; --overwrite replaces the bundle's own files there and nothing else."
        )


def _check_names(target: Path, names: Iterable[Path]) -> None:
    """Refuse to write through a link out of the folder, or over something that is no file."""
    for name in names:
        for folder in (target / parent for parent in name.parents if parent.name):
            if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
                raise NotADirectoryError(f"{folder} is not a folder of DIR's own, as the bundle needs; move it away.")
        if (target / name).is_dir():
            raise IsADirectoryError(f"{target / name} is a folder where the bundle has a file; move it away.")


def _write(source: Path, target: Path, name: Path) -> None:
    from ..utils import replacing

    # by name: a link may have become a file on its way into a wheel or out of an archive
    original = Path("configs", name)
    linked = len(name.parts) == 1 and (source / original).is_file()
    with replacing(target / name) as temporary:
        if not (linked and _link(temporary, original)):
            shutil.copyfile(source / (original if linked else name), temporary)


def _link(path: Path, to: Path) -> bool:
    """Make a relative link, and say whether the file system could."""
    try:
        path.symlink_to(to)
    except (OSError, NotImplementedError):
        return False
    return True
