"""The house rules, held by reading the source: who may import whom, sizes, doors, and what a bundle may name."""

from __future__ import annotations

import ast
import graphlib
import importlib
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "monai_cdiff"
FILES = sorted((ROOT / PACKAGE).rglob("*.py"))
BUNDLES = ROOT / "bundles"

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_CONSTRUCTOR_ARGUMENTS = 12
MAX_EXPRESSION_LENGTH = 120

# Room -> rooms it may import besides itself. A package's __init__ may also open the rooms below it.
_ENGINE_ROOM = {"inferers", "networks", "networks.schedulers", "utils"}
ALLOWED: dict[str, set[str]] = {
    "utils": set(),
    "operators": {"utils"},
    "losses": {"utils"},
    "metrics": {"utils"},
    "data": {"utils"},
    "networks": {"utils"},
    "networks.blocks": {"utils"},
    "networks.nets": {"networks.blocks", "utils"},
    "networks.schedulers": {"utils"},
    "transforms": {"operators", "utils"},
    "transforms.intensity": {"transforms.images", "operators", "utils"},
    "transforms.images": {"utils"},
    "transforms.degradation": {"transforms.images", "operators", "utils"},
    "transforms.masking": {"transforms.images", "operators", "utils"},
    "transforms.noise": {"transforms.images", "operators", "utils"},
    "transforms.io": {"data", "operators", "utils"},
    "inferers": {"networks", "networks.schedulers", "operators", "utils"},
    "engines": _ENGINE_ROOM,
    "handlers": _ENGINE_ROOM,
}
ALLOWED["evaluation"] = set(ALLOWED)
ALLOWED["cli"] = set(ALLOWED)
ALLOWED["__main__"] = {"cli"}

# Third-party package -> the only rooms that touch it.
OWNERS = {
    "pydicom": ({"data"}, "read and write DICOM through monai_cdiff.data"),
    "SimpleITK": ({"data"}, "read and write DICOM through monai_cdiff.data"),
    "ignite": ({"engines", "handlers"}, "what hangs on an ignite engine belongs in monai_cdiff.engines or .handlers"),
    "data_prep": (set(), "the package never imports the scripts above it; datalists come in through monai_cdiff.data"),
    "bundles": (set(), "the package never imports bundles; they are data that name public classes"),
}
# Packages whose import costs so much that it waits until a function needs them.
HEAVY = {
    *("pydicom", "SimpleITK", "itk", "nibabel", "nilearn", "PIL", "matplotlib", "tensorboard", "tqdm"),
    *("scipy", "skimage", "sklearn", "pandas", "lpips", "torchvision", "diffusers", "ignite"),
}

# (importing room, imported room) -> which door to use instead; a prefix stands for the rooms below it.
DOORS = {
    ("networks", "inferers"): "networks never imports inferers: an inferer is handed the network when it is called",
    ("networks.schedulers", "networks.nets"): "schedulers never import nets: a scheduler is handed model_output",
    ("networks", "networks"): "rooms of networks see only networks.blocks (nets) and utils: move shared code there",
    ("data", "networks"): "data never imports networks: what both need belongs in monai_cdiff.utils",
    ("transforms", "networks"): "transforms never import networks: degradations come from monai_cdiff.operators",
    ("transforms", "data"): "only transforms.io may import data: put what reads or writes files there",
    ("", "transforms"): "transforms are composed by configs and scripts; tensors are degraded by monai_cdiff.operators",
    ("", "operators"): "take the operator as an argument; monai_cdiff.transforms and .inferers are its users",
    ("", "engines"): "engines sit on top: build them in a script, a bundle, cli or evaluation",
    ("", "handlers"): "handlers are attached from outside: pass them in train_handlers or val_handlers",
    ("", "networks"): "take the network as an argument, as monai_cdiff.inferers do",
    ("", "evaluation"): "studies are made and scored by cli alone: take what is measured from monai_cdiff.metrics",
    ("", "cli"): "commands call what the other rooms do, never the other way: give this room a function of its own",
    ("", "data"): "take arrays or tensors as arguments; files are read by monai_cdiff.transforms.io",
    ("", ""): "import down only: move what both need to monai_cdiff.utils, or take it as an argument",
}


class Import(NamedTuple):
    line: int
    target: str
    at_import_time: bool


def room_of(module: str) -> str:
    """The longest room of the table that holds ``module`` (a dotted name that begins with the package)."""
    parts = module.split(".")[1:]
    rooms = (".".join(parts[:length]) for length in (2, 1))
    return next((room for room in rooms if room in ALLOWED), parts[0] if parts else "")


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _resolve(name: str, package: str) -> str:
    """Absolute form of ``name``, whose leading dots are relative to ``package``."""
    level = len(name) - len(name.lstrip("."))
    base = package.split(".")[: len(package.split(".")) + 1 - level] if level else []
    return ".".join([*base, *filter(None, [name.lstrip(".")])])


def _targets(node: ast.AST, package: str) -> list[str]:
    """Dotted names that one node imports; ``package`` is what a single leading dot means."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        stem = _resolve("." * node.level + (node.module or ""), package)
        return [stem if alias.name == "*" else f"{stem}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        name, called = node.args[0].value, ast.unparse(node.func).rpartition(".")[2]
        if called in ("optional_import", "import_module", "__import__") and isinstance(name, str):
            return [_resolve(name, package)]
    return []


def imports_of(source: str, module: str, is_package: bool = False) -> Iterator[Import]:
    """Every import in ``source``, relative ones resolved, with whether it runs when ``module`` is imported."""
    package = module if is_package else module.rpartition(".")[0]

    def visit(node: ast.AST, at_import_time: bool) -> Iterator[Import]:
        for target in _targets(node, package):
            yield Import(getattr(node, "lineno", 0), target, at_import_time)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or _is_type_checking(node):
            at_import_time = False
        for child in ast.iter_child_nodes(node):
            yield from visit(child, at_import_time)

    yield from visit(ast.parse(source), True)


def _door(room: str, target: str) -> str:
    """The most particular sentence of ``DOORS`` for this pair."""

    def covers(prefix: str, name: str) -> bool:
        return prefix in ("", name) or name.startswith(prefix + ".")

    fitting = [pair for pair in DOORS if covers(pair[0], room) and covers(pair[1], target)]
    return DOORS[max(fitting, key=lambda pair: (len(pair[0]), len(pair[1])))]


def _import_fault(found: Import, module: str, is_package: bool) -> str | None:
    room, top = room_of(module), found.target.split(".")[0]
    if top in OWNERS and room not in OWNERS[top][0]:
        return OWNERS[top][1]
    if top in HEAVY and found.at_import_time and not (top == "ignite" and room in OWNERS["ignite"][0]):
        return f"{top} is slow to import: import it inside the function that needs it"
    if top != PACKAGE or found.target == f"{PACKAGE}.__version__":
        return None
    target = room_of(found.target)
    if not target:
        return f"import the room itself (from {PACKAGE}.utils import ...), not the whole house"
    opens_below = is_package and found.target.startswith(module + ".")
    if target == room or opens_below or target in ALLOWED.get(room, set()):
        return None
    return _door(room, target)


def import_violations(source: str, module: str, is_package: bool = False) -> list[str]:
    """What ``source``, as the module named ``module``, imports against the table."""
    if room_of(module) not in {*ALLOWED, ""}:
        return [f"{module}: the room {room_of(module)!r} is not in the table of tests/test_architecture.py"]
    faults = ((found, _import_fault(found, module, is_package)) for found in imports_of(source, module, is_package))
    return [f"{module}:{found.line} imports {found.target}: {fault}" for found, fault in faults if fault]


def _lines_without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    total = (node.end_lineno or node.lineno) - node.lineno + 1
    if ast.get_docstring(node) is None:
        return total
    return total - ((node.body[0].end_lineno or 0) - node.body[0].lineno + 1)


def _constructor_arguments(node: ast.ClassDef) -> int:
    """Arguments of ``__init__`` besides self, or the fields of a dataclass."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return len(item.args.posonlyargs) + len(item.args.args) + len(item.args.kwonlyargs) - 1
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
        return sum("ClassVar" not in ast.unparse(item.annotation) for item in fields)
    return 0


def form_violations(source: str, module: str, is_package: bool = False) -> list[str]:
    """What ``source`` does against the sizes, the ban on assert, and the rule that a door lists its names."""
    tree, found = ast.parse(source), []
    if (lines := len(source.splitlines())) > MAX_FILE_LINES:
        found.append(f"{module} has {lines} lines, at most {MAX_FILE_LINES}: split it by what a reader looks for")
    assigned = {name.id for name in ast.walk(tree) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)}
    if is_package and "__all__" not in assigned:
        found.append(f"{module}/__init__.py has no __all__: list the public names of the room")
    for node in ast.walk(tree):
        where = f"{module}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Assert):
            found.append(f"{where} assert: raise an error that names the argument, the value and what is allowed")
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if (length := _lines_without_docstring(node)) > MAX_FUNCTION_LINES:
                found.append(f"{where} {node.name} has {length} lines without docstring, at most {MAX_FUNCTION_LINES}")
        if isinstance(node, ast.ClassDef) and (count := _constructor_arguments(node)) > MAX_CONSTRUCTOR_ARGUMENTS:
            found.append(f"{where} {node.name} takes {count} arguments, at most {MAX_CONSTRUCTOR_ARGUMENTS}")
    return found


def name_violation(dotted: str) -> str | None:
    """Why ``dotted`` is no public name: the last package on its way must list the next part in ``__all__``."""
    room = PACKAGE
    for part in dotted.split(".")[1:]:
        spec = importlib.util.find_spec(f"{room}.{part}")
        if spec is None:
            listed = part in getattr(importlib.import_module(room), "__all__", ())
            return None if listed else f"{dotted}: {part} is not in {room}.__all__"
        if spec.submodule_search_locations is None:
            return f"{dotted}: name it through its room {room}, not through the file {room}.{part}"
        room = f"{room}.{part}"
    return None


def _names_in(key: str, text: str) -> Iterator[str]:
    """Dotted names of ours in a bundle's string: a ``_target_``, or what a ``$`` expression uses or imports."""
    if key == "_target_" and text.split(".")[0] == PACKAGE:
        yield text
    elif text.startswith("$"):
        for match in re.finditer(rf"from\s+({PACKAGE}[.\w]*)\s+import\s+([\w, ]+)", text):
            yield from (f"{match[1]}.{name.split()[0]}" for name in match[2].split(",") if name.strip())
        yield from re.findall(rf"\b{PACKAGE}(?:\.\w+)+", text)


def bundle_violations(config: Any, path: str = "") -> list[str]:
    """What a parsed bundle config does against the rules: private or missing names, long expressions."""
    if isinstance(config, dict):
        return [fault for key, value in config.items() for fault in bundle_violations(value, f"{path}::{key}")]
    if isinstance(config, list):
        return [fault for i, value in enumerate(config) for fault in bundle_violations(value, f"{path}::{i}")]
    if not isinstance(config, str):
        return []
    names = _names_in(path.rpartition("::")[2], config)
    found = [f"{path}: {fault}" for name in names if (fault := name_violation(name))]
    if config.startswith("$") and len(config) > MAX_EXPRESSION_LENGTH:
        found.append(f"{path}: expression of {len(config)} characters, at most {MAX_EXPRESSION_LENGTH}: split it")
    return found


def module_name(file: Path) -> tuple[str, bool]:
    """Dotted name of a source file, and whether it is a package's ``__init__``."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return (".".join(parts[:-1]), True) if parts[-1] == "__init__" else (".".join(parts), False)


PACKAGES = [name for name, is_package in map(module_name, FILES) if is_package]
CONFIGS = sorted(BUNDLES.glob("*/configs/*.json"))


def _id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("file", FILES, ids=_id)
def test_file_keeps_the_rules(file: Path) -> None:
    source, (module, is_package) = file.read_text(encoding="utf-8"), module_name(file)
    violations = import_violations(source, module, is_package) + form_violations(source, module, is_package)
    assert not violations, "\n".join(violations)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_listed_name_exists(package: str) -> None:
    room = importlib.import_module(package)
    assert len(set(room.__all__)) == len(room.__all__), f"{package}.__all__ names something twice"
    missing = [name for name in room.__all__ if not hasattr(room, name)]
    assert not missing, f"{package}.__all__ lists what does not exist: {missing}"


def test_every_folder_is_a_package() -> None:
    missing = [_id(file.parent) for file in FILES if not (file.parent / "__init__.py").is_file()]
    assert not missing, f"folders without __init__.py stay out of the wheel: {sorted(set(missing))}"


def test_the_table_points_down_only() -> None:
    order = list(graphlib.TopologicalSorter(ALLOWED).static_order())  # raises CycleError on a circle
    assert set(order) == set(ALLOWED)


@pytest.mark.parametrize("config", CONFIGS, ids=_id)
def test_bundles_name_public_names(config: Path) -> None:
    violations = bundle_violations(json.loads(config.read_text(encoding="utf-8")), config.name)
    assert not violations, "\n".join(violations)


def test_bundles_are_data() -> None:
    programs = [_id(path) for path in BUNDLES.rglob("*") if path.name == "scripts" or path.suffix == ".py"]
    assert not programs, f"a bundle holds no program; move it to the package: {programs}"


# The rules themselves are tested on small sources: each line below must be caught, or must pass.
WRONG_IMPORTS = [
    ("networks.nets.unet", "from ...inferers import RestorationInferer", "networks never imports inferers"),
    ("networks.nets.unet", "from monai_cdiff import inferers", "networks never imports inferers"),
    ("networks.parameterization", "import monai_cdiff.inferers as i", "networks never imports inferers"),
    ("networks.parameterization", "from .nets import ConditionalUNet", "move shared code there"),
    ("networks.schedulers.ddim", "from ..nets import ConditionalUNet", "schedulers never import nets"),
    ("networks.schedulers.ddim", "from monai_cdiff.networks import nets", "schedulers never import nets"),
    ("networks.blocks.attention", "from ..nets.unet import X", "move shared code there"),
    ("data.reader", "def f():\n    from ..networks import Parameterization", "data never imports networks"),
    ("transforms.intensity.array", "from monai_cdiff.networks.nets import X", "transforms never import networks"),
    ("transforms.intensity.array", "from ...data import read_series", "only transforms.io may import data"),
    ("transforms.degradation.array", "from ..io import LoadDicomSeriesd", "transforms are composed by configs"),
    ("operators.kspace", "if TYPE_CHECKING:\n    from ..transforms import X", "degraded by monai_cdiff.operators"),
    ("metrics.lpips", "from ..operators import X", "take the operator as an argument"),
    ("inferers.restoration", "from ..networks.nets import ConditionalUNet", "take the network as an argument"),
    ("inferers.restoration", "from ..engines import X", "engines sit on top"),
    ("engines.trainer", "from ..handlers import X", "handlers are attached from outside"),
    ("inferers.restoration", "from ..evaluation import X", "made and scored by cli alone"),
    ("metrics.coverage", "def f():\n    from ..evaluation import X", "made and scored by cli alone"),
    ("evaluation.reader_study", "from ..cli import X", "never the other way"),
    ("evaluation.reader_study", "from PIL import Image", "inside the function"),
    ("utils.checks", "from importlib import import_module\nimport_module('monai_cdiff.metrics')", "down only"),
    ("utils.checks", "import_module('..metrics', __package__)", "down only"),
    ("utils.checks", "import monai_cdiff", "not the whole house"),
    ("utils.checks", "from .. import *", "not the whole house"),
    ("attic.box", "import torch", "is not in the table"),
    ("transforms.io.array", "def f():\n    import pydicom", "through monai_cdiff.data"),
    ("transforms.io.array", "itk, _ = optional_import('SimpleITK')", "through monai_cdiff.data"),
    ("inferers.restoration", "def f():\n    from ignite.engine import Events", "monai_cdiff.engines or .handlers"),
    ("data.reader", "import pydicom", "inside the function"),
    ("data.reader", "class A:\n    import nibabel.x", "inside the function"),
    ("data.reader", "nib, has_nib = monai.utils.optional_import('nibabel')", "inside the function"),
]
RIGHT_IMPORTS = [
    ("networks.nets.unet", "from ..blocks import X\nfrom ...utils import check_option\nimport torch"),
    ("networks.schedulers.ddim", "from .spacings import X\nfrom monai.networks.schedulers import Scheduler"),
    ("inferers.restoration", "from ..networks import Parameterization\nfrom ..networks.schedulers import X"),
    ("transforms.io.array", "from ...data import read_series\nfrom ...operators import X"),
    ("data.writer", "from .. import __version__\nif TYPE_CHECKING:\n    import pydicom\ndef f():\n    import pydicom"),
    ("handlers.ema", "from ignite.engine import Events\nfrom ..inferers import RestorationInferer"),
    ("evaluation.image_pairs", "from ..data import X\nfrom ..metrics import Y\nfrom ..inferers import Z"),
    ("cli.evaluate", "from ..evaluation import X\nfrom ..engines import Y"),
    ("__main__", "from monai_cdiff.cli import main"),
]


@pytest.mark.parametrize("module, source, sentence", WRONG_IMPORTS)
def test_a_wrong_import_is_caught(module: str, source: str, sentence: str) -> None:
    violations = import_violations(source, f"{PACKAGE}.{module}")
    assert len(violations) == 1 and sentence in violations[0], violations


@pytest.mark.parametrize("module, source", RIGHT_IMPORTS)
def test_a_right_import_passes(module: str, source: str) -> None:
    assert import_violations(source, f"{PACKAGE}.{module}") == []


def test_a_door_opens_its_own_rooms_only() -> None:
    assert import_violations("from . import nets\nfrom .schedulers import X", f"{PACKAGE}.networks", True) == []
    assert len(import_violations("from ..inferers import X", f"{PACKAGE}.networks", True)) == 1


def _function(lines: int, docstring: int = 0) -> str:
    text = ['    """', *["    words"] * (docstring - 2), '    """'] if docstring else []
    return "\n".join(["def f():", *text, *["    x = 1"] * (lines - 1)])


FORMS = [
    ("x = 1\n" * 400, False, ""),
    ("x = 1\n" * 401, False, "401 lines"),
    (_function(60, docstring=40), False, ""),
    (_function(61), False, "f has 61 lines"),
    (_function(61, docstring=40), False, "f has 61 lines"),
    ("class A:\n    def __init__(self, " + ", ".join(f"a{i}" for i in range(12)) + "): ...", False, ""),
    ("class A:\n    def __init__(self, *, " + ", ".join(f"a{i}" for i in range(13)) + "): ...", False, "13 arguments"),
    ("@dataclass(frozen=True)\nclass A:\n" + "".join(f"    a{i}: int\n" for i in range(13)), False, "13 arguments"),
    ("def f(x):\n    assert x", False, "m:2 assert"),
    ("x = 1", True, "no __all__"),
    ("__all__: list[str] = []", True, ""),
]


@pytest.mark.parametrize("source, is_package, sentence", FORMS, ids=range(len(FORMS)))
def test_form_rules(source: str, is_package: bool, sentence: str) -> None:
    violations = form_violations(source, "m", is_package)
    assert len(violations) == bool(sentence) and all(sentence in violation for violation in violations), violations


CONFIG_FAULTS = [
    ({"a": {"_target_": "monai_cdiff.utils.derive_seed"}}, ""),
    ({"a": {"_target_": "monai.networks.nets.DiffusionModelUNet"}}, ""),
    ({"a": {"_target_": "monai_cdiff.utils.seeding.derive_seed"}}, "not through the file monai_cdiff.utils.seeding"),
    ({"a": {"_target_": "monai_cdiff.utils.no_such_name"}}, "is not in monai_cdiff.utils.__all__"),
    ({"a": {"_target_": "monai_cdiff.attic.Box"}}, "attic is not in monai_cdiff.__all__"),
    ({"a": ["$monai_cdiff.utils.derive_seed(@seed)"]}, ""),
    ({"a": ["$monai_cdiff.utils._hidden(@seed)"]}, "::a::0: monai_cdiff.utils._hidden"),
    ({"imports": ["$import monai_cdiff.utils"]}, ""),
    ({"imports": ["$from monai_cdiff.utils import derive_seed, nothing"]}, "nothing is not in"),
    ({"a": "$" + "1" * 119}, ""),
    ({"a": "$" + "1" * 120}, "121 characters"),
    ({"description": "1" * 500}, ""),
]


@pytest.mark.parametrize("config, sentence", CONFIG_FAULTS, ids=range(len(CONFIG_FAULTS)))
def test_bundle_rules(config: dict[str, Any], sentence: str) -> None:
    violations = bundle_violations(config)
    assert len(violations) == bool(sentence) and all(sentence in violation for violation in violations), violations
