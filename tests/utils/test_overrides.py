"""Overrides of a command line: only those that the configurations of the command know."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from monai_cdiff.utils import check_overrides

PROGRAM = "/somewhere/monai/bundle/__main__.py"
CONFIGS = {
    "train": {"task": "sr", "patch_size": 8, "sampler": {}},
    "inference": {"task": "sr", "roi_size": None, "sampler": {}},
    "paper": {"train#optimizer": 1, "rows": 3},
}


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Check a command line that runs in the folder of a bundle."""
    (tmp_path / "configs").mkdir()
    for name, content in CONFIGS.items():
        (tmp_path / "configs" / f"{name}.json").write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)

    def check_words(*words: str, program: str = PROGRAM) -> None:
        monkeypatch.setattr(sys, "argv", [program, "run", *words])
        check_overrides(tmp_path)

    return check_words


TRAIN = ("--config_file", "configs/train.json")


@pytest.mark.parametrize("word", ["--tsk", "--tsk=sr", "--tsk#a", "--tsk::a"])
def test_what_nothing_knows(word: str, check: Callable[..., None]) -> None:
    check(*TRAIN, "--task", "sr", "--task#a", "1", "--patch-size=9", "--run_id", "training")
    name = word.partition("=")[0]
    with pytest.raises(ValueError, match=f"{name} is no override of this bundle.*train.json. Did you mean --task?"):
        check(*TRAIN, word, "sr")
    check(*TRAIN, word, program="pytest")


@pytest.mark.parametrize(
    "config_file",
    [
        ["--config_file", "configs/train.json"],
        ["--config_file=configs/train.json"],
        ["--config-file", "['configs/train.json', 'configs/paper.json']"],
        ["--config_file", "configs/train.json,configs/paper.json"],
        ["--args_file", "args.json"],
    ],
)
def test_what_another_configuration_knows(config_file: list[str], check: Callable[..., None]) -> None:
    Path("args.json").write_text(json.dumps({"config_file": "configs/train.json", "patch_size": 4}))
    check(*config_file, "--patch_size", "4")
    with pytest.raises(ValueError, match="--roi_size is an override of inference.json alone; this command runs train"):
        check(*config_file, "--roi_size", "64")
    check("--roi_size", "64")  # no configuration is named, so all count


def test_an_overlay_brings_ids_of_its_own(check: Callable[..., None]) -> None:
    overlay = ("--config_file", "['configs/train.json','configs/paper.json']")
    check(*overlay, "--rows", "4", "--train#optimizer", "2")
    for word in ("--rows", "--train#optimizer"):
        with pytest.raises(ValueError, match=f"{word} is an override of paper.json alone"):
            check(*TRAIN, word, "4")


def test_overrides_of_a_file_of_arguments(check: Callable[..., None]) -> None:
    Path("args.json").write_text(json.dumps({"config_file": "configs/train.json", "patchsize": 4}))
    with pytest.raises(ValueError, match="--patchsize is no override.*Did you mean --patch_size?"):
        check("--args_file", "args.json")


def test_a_list_without_quotes(check: Callable[..., None]) -> None:
    with pytest.raises(ValueError, match="is no list; quote each file"):
        check("--config_file", "[configs/train.json,configs/paper.json]")


def test_a_configuration_in_yaml(check: Callable[..., None]) -> None:
    Path("mine.yaml").write_text("rounds: 3\n")
    check("--config_file", "mine.yaml", "--rounds", "4")
    with pytest.raises(ValueError, match="--roundz is no override"):
        check("--config_file", "mine.yaml", "--roundz", "4")
