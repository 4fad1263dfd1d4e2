"""What a bundle's configuration cannot say in a line: where it lies, what it runs on, what it has chosen."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

__all__ = [
    "bundle_version",
    "default_device",
    "find_bundle_root",
    "join_processes",
    "log_choices",
    "root_cause",
    "show_root_cause",
]

logger = logging.getLogger(__name__)


def find_bundle_root(task: str) -> str:
    """Absolute path of the bundle of ``task``: the working directory, or ``bundles/<task>`` below it.

    A configuration cannot know which folder it was read from, so commands are run from one of the two places.

    Args:
        task: the bundle's name, the value of ``task`` in its ``configs/train.json``.

    Raises:
        FileNotFoundError: if neither place holds the bundle; the message says where to run from.
    """
    here = Path.cwd()
    for folder in (here, here / "bundles" / task):
        if _task_of(folder / "configs" / "train.json") == task:
            return str(folder)
    raise FileNotFoundError(
        f"bundle_root: neither {here} nor {here / 'bundles' / task} holds the bundle {task!r}; run from the bundle's "
        "folder or from the folder that holds bundles/, or give --bundle_root."
    )


def _task_of(config: Path) -> str | None:
    return json.loads(config.read_text()).get("task") if config.is_file() else None


def default_device() -> torch.device:
    """This process's GPU (by ``LOCAL_RANK`` under torchrun), or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("cpu")


def join_processes(device: torch.device | str) -> None:
    """Join the processes that ``torchrun`` started: by NCCL on GPUs, by gloo on CPUs.

    Raises:
        RuntimeError: if this process was not started by ``torchrun``.
    """
    if "LOCAL_RANK" not in os.environ:
        raise RuntimeError("no LOCAL_RANK: start it by torchrun --nproc_per_node=N -m monai.bundle run ...")
    if torch.device(device).type == "cuda":
        torch.cuda.set_device(device)
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if torch.device(device).type == "cuda" else "gloo")


def log_choices(choices: Mapping[str, Any], demonstration: bool = False) -> None:
    """Log the settings that a bundle chose, each as the override that would change it.

    Args:
        choices: name and value of each.
        demonstration: whether they were cut down to show something in minutes on a CPU.
    """
    if demonstration:
        logger.info("no dataset_dir and no GPU: a small network, a few minutes of training, only to show how it works.")
    logger.info("settings of this run; each is an override of the command line:")
    for name, value in choices.items():
        logger.info(f"    --{name} {value}")


def bundle_version(bundle_root: str | os.PathLike[str]) -> str:
    """Name and version of a bundle, by its ``configs/metadata.json``."""
    metadata = json.loads(Path(bundle_root, "configs", "metadata.json").read_text(encoding="utf-8"))
    return f"{metadata['name']} {metadata['version']}"


def root_cause(error: BaseException) -> BaseException:
    """The first error that says something: MONAI wraps it into a ``RuntimeError`` for each level of a configuration."""
    while type(error) is RuntimeError and error.__cause__ is not None:
        error = error.__cause__
    return error


def show_root_cause() -> None:
    """From now on end the traceback of an uncaught error with what started it.

    MONAI's bundles wrap an error into one of their own for each level of the configuration, so that the last line only
    names an expression; this repeats the first error as the last line.
    """
    if getattr(sys.excepthook, "__name__", "") != _show_root_cause.__name__:
        sys.excepthook = _show_root_cause


def _show_root_cause(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    sys.__excepthook__(kind, error, traceback)
    cause = root_cause(error)
    if cause is not error:
        print(f"\nThe error was: {type(cause).__name__}: {cause}", file=sys.stderr)
