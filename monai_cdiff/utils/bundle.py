"""What a bundle's configuration cannot say in a line: where it lies, what it runs on, what it has chosen."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

__all__ = ["default_device", "find_bundle_root", "log_choices"]

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
