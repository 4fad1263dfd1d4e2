"""What is installed is what the repository holds, and it says what it needs."""

from __future__ import annotations

import ast
import configparser
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import monai_cdiff

ROOT = Path(__file__).resolve().parent.parent
INSTALLED = os.environ.get("MONAI_CDIFF_INSTALLED") == "1"


@pytest.fixture(scope="module")
def distribution() -> metadata.Distribution:
    try:
        return metadata.distribution("monai_cdiff")
    except metadata.PackageNotFoundError:
        if INSTALLED:
            raise
        pytest.skip("monai_cdiff is not installed; the checkout itself is being tested")


@pytest.mark.skipif(not INSTALLED, reason="MONAI_CDIFF_INSTALLED=1 asks for the installed package, as .ci/run does")
def test_the_installed_package_is_tested() -> None:
    location = Path(monai_cdiff.__file__).resolve()
    assert not location.is_relative_to(ROOT), f"{location} is the checkout: start `pytest`, not `python -m pytest`"


def test_every_file_is_installed() -> None:
    installed = Path(monai_cdiff.__file__).parent
    source = ROOT / "monai_cdiff"
    ours = [path.relative_to(source) for path in source.rglob("*") if "__pycache__" not in path.parts]
    wanted = [path for path in ours if path.suffix in (".py", ".typed", ".html")]
    assert {path.suffix for path in wanted} == {".py", ".typed", ".html"}
    missing = [str(path) for path in wanted if not (installed / path).is_file()]
    assert not missing


def test_metadata(distribution: metadata.Distribution) -> None:
    assert distribution.version == monai_cdiff.__version__
    assert distribution.metadata["Requires-Python"] == ">=3.11"
    assert "Apache" in (distribution.metadata["License-Expression"] or distribution.metadata["License"])


@pytest.mark.skipif(not INSTALLED, reason="an editable install has no licence file of its own")
def test_the_licence_travels_with_the_package(distribution: metadata.Distribution) -> None:
    licences = [path for path in distribution.files or [] if path.name == "LICENSE"]
    assert licences and "Apache License" in licences[0].read_text()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _declared() -> set[str]:
    """Normalised names of the distributions that setup.cfg asks for, extras included."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    names = (re.match(r"[\w.-]+", line) for text in lines for line in text.split())
    return {_normal(name[0]) for name in names if name}


def _imported() -> set[str]:
    """Top-level names of third-party modules that the package imports anywhere, function bodies included."""
    nodes = [node for path in (ROOT / "monai_cdiff").rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    from_ = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.split(".")[0] for name in plain | from_} - set(sys.stdlib_module_names) - {"monai_cdiff"}


def test_every_import_is_declared() -> None:
    owners, declared = metadata.packages_distributions(), _declared()
    undeclared = [name for name in _imported() if not declared.intersection(map(_normal, owners.get(name, [name])))]
    assert not undeclared, f"imported, but not in setup.cfg: {sorted(undeclared)}"


def _tracked_files() -> list[Path]:
    """Files under version control or about to be; every source file where git does not answer (a source archive)."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        tops = [ROOT / name for name in ("monai_cdiff", "tests", "bundles", "data_prep", ".ci")]
        return [path for top in tops for path in top.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_path_of_one_machine() -> None:
    machine_path = "/{}/".format("work").encode()
    hits = [str(path.relative_to(ROOT)) for path in _tracked_files() if machine_path in path.read_bytes()]
    assert not hits, f"paths that exist on one machine only, in {hits}"
