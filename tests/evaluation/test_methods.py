"""Methods as they are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.bundle_commands import bundle
from monai_cdiff.evaluation import CLASSICAL_METHODS, known_methods, parse_method, training_configs


@pytest.mark.parametrize(
    ("text", "name", "checkpoint", "overrides"),
    [
        ("noisy", "noisy", None, {}),
        ("mean", "mean", None, {"output": "mean"}),
        ("average", "average", None, {"output": "average", "num_samples": 8}),
        ("average,num_samples=4", "average", None, {"output": "average", "num_samples": 4}),
        ("mean=other.pt", "mean", "other.pt", {"output": "mean"}),
        ("regression=R/model.pt", "regression", "R/model.pt", {}),
        ("sample.2=other.pt", "sample.2", "other.pt", {"output": "sample"}),
        ("slow=,num_inference_steps=20,output=sample", "slow", None, {"num_inference_steps": 20, "output": "sample"}),
        ("own=,timesteps=[1999,500],output=mean", "own", None, {"timesteps": [1999, 500], "output": "mean"}),
    ],
)
def test_what_is_asked_for(text: str, name: str, checkpoint: str | None, overrides: dict[str, object]) -> None:
    spec = parse_method(text, "denoise")
    assert (spec.name, spec.checkpoint, spec.overrides) == (name, checkpoint, overrides)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nothing", "none of noisy, median"),
        ("bilinear", "is for sr; for denoise: noisy"),
        ("", "NAME"),
        ("../up", "NAME"),
        ("a,b", "none of|not ID=VALUE"),
        ("slow=,noise=3", "the same for all"),
        ("mean.1", "weights of its own: mean.1=CHECKPOINT"),
        ("nlm,h=3", "takes no checkpoint and no settings"),
    ],
)
def test_what_cannot_be(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_method(text, "denoise")


def test_every_task_begins_with_its_trivial_method() -> None:
    for task in ("sr", "denoise", "inpaint"):
        first, *others = known_methods(task)
        assert CLASSICAL_METHODS[first].kind == "trivial" and "mean" in others


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ("ours", ["train"]),
        ("paper", ["train"]),
        ("regression", ["train", "regression"]),
        ("hpunet", ["train", "regression", "hpunet"]),
    ],
)
def test_what_trains_a_method(method: str, names: list[str]) -> None:
    found = training_configs(bundle("inpaint"), method)
    assert [Path(file).stem for file in found] == names and all(Path(file).is_file() for file in found)
