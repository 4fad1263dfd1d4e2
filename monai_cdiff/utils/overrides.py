"""The overrides of a bundle command: those that the configurations it runs know, and no others."""

from __future__ import annotations

import ast
import difflib
import inspect
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import monai.bundle
from monai.bundle import ConfigParser

__all__ = ["check_overrides"]


def check_overrides(bundle_root: str | os.PathLike[str]) -> None:
    """Refuse a command line with an override that none of the configurations it runs knows.

    MONAI takes any name, so a slip such as ``--datset_dir``, or an override of another configuration of the bundle,
    would run on something else without a word.

    Args:
        bundle_root: the folder that holds ``configs``, all of which count where the command line names none.

    Raises:
        ValueError: if an override is unknown; the message says which other configuration knows it, or suggests the
            nearest known one.
    """
    if not sys.argv[0].endswith(os.path.join("monai", "bundle", "__main__.py")):
        return
    given = dict(_given(sys.argv[1:]))
    if "args_file" in given:
        given = {**ConfigParser.load_config_file(given["args_file"]), **given}
    all_configs = sorted(Path(bundle_root, "configs").glob("*.json"))
    run = _named(given.get("config_file")) or all_configs
    known = {name for config in run for name in _ids(config)} | set(inspect.signature(monai.bundle.run).parameters)
    for word in given:
        name = _root(word)
        if name not in known:
            others = [config.name for config in all_configs if name in _ids(config)]
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean --{near[0]}?" if near else ""
            raise ValueError(
                f"--{word} is an override of {', '.join(others)} alone; this command runs {_names(run)}.{hint}"
                if others
                else f"--{word} is no override of this bundle; allowed are the ids of {_names(run)}.{hint}"
            )


def _given(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The options of a command line with their values, "" where one has none."""
    for word, after in zip(words, [*words[1:], ""]):
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            yield name.replace("-", "_"), value if equals else after  # as Python Fire reads them


def _named(config_file: Any) -> list[Path]:
    """The files of ``--config_file``: one, a list as text, or several with commas between."""
    files = config_file
    if isinstance(files, str) and files.strip()[:1] in ("[", "("):
        try:
            files = ast.literal_eval(files)
        except (SyntaxError, ValueError):
            raise ValueError(f"config_file={files!r} is no list; quote each file: \"['a.json','b.json']\".") from None
    elif isinstance(files, str):
        files = [files] if Path(files).is_file() else files.split(",")
    return [Path(str(file).strip()) for file in files or [] if str(file).strip()]


def _ids(config: Path) -> set[str]:
    """The ids of a configuration, those that an overlay changes in the depth by their roots."""
    if config.suffix.lower() == ".json":  # without imports, for the configurations that are not run
        return {_root(key) for key in json.loads(config.read_text(encoding="utf-8"))}
    return {_root(key) for key in ConfigParser.load_config_file(config)}


def _root(name: str) -> str:
    return re.split("#|::", name, maxsplit=1)[0]


def _names(configs: Sequence[Path]) -> str:
    return ", ".join(config.name for config in configs)
