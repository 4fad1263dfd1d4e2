"""What is compared: restorations without a network, and networks by their checkpoints."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .. import __version__
from .bundle_evaluation import TEST_SET_IDS, BundleEvaluation, Case
from .classical_methods import CLASSICAL_METHODS

__all__ = [
    "Method",
    "MethodSpec",
    "OUTPUTS",
    "RIVALS",
    "describe_training",
    "installed_version",
    "known_methods",
    "make_method",
    "parse_method",
    "plain_value",
    "split_training",
    "training_configs",
]

# What one checkpoint of a diffusion gives: a point on the line between least error and most texture.
OUTPUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "mean": ("mean, one call", {"output": "mean"}),
    "sample": ("one sample", {"output": "sample"}),
    "average": ("average of 8 samples", {"output": "average", "num_samples": 8}),
    "antithetic": ("average of 8 samples in mirrored pairs", {"output": "antithetic", "num_samples": 8}),
}
_OURS = "ours"
# Networks that are trained by an overlay of their own name.
RIVALS = ("regression", "pix2pix", "srgan", "upgan", "hpunet")
# Ids that say how a network restores, and so belong to its name in the cache.
_SAMPLING = ("num_inference_steps", "output", "num_samples", "guidance_scale", "seed", "amp", "consistent")
# Ids that the images, and so the files of the cache, or the description hold already, or that change no restoration.
_APART = (*TEST_SET_IDS, "checkpoint", "output_dir", "cache_dir", "device")
# between settings, not within a list
_COMMA = re.compile(r",(?![^\[\]{}]*[\]}])")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_TRAINING = re.compile(r"(.+)\.(\d+)")


class MethodSpec:
    """A method as it is asked for: its name, its weights, and ids of ``evaluate.json`` that it sets.

    Args:
        name: what it is called in tables and folders.
        checkpoint: its weights; None for the bundle's, or for a method without.
        overrides: ids of ``evaluate.json`` and their values.
    """

    def __init__(self, name: str, checkpoint: str | None = None, overrides: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self.checkpoint = checkpoint
        self.overrides = dict(overrides or {})


class Method(Protocol):
    """What the comparison needs of a method."""

    name: str
    kind: str
    title: str

    @property
    def train_seconds(self) -> float | None:
        """How long its training took, as the checkpoint says; None if it does not, or there was none."""

    def describe(self) -> dict[str, Any]:
        """What it is: checkpoint, settings, versions; what its restorations depend on besides the images."""

    def cautions(self) -> list[str]:
        """What has to be said of it on this test set."""

    def restore(self, cases: Sequence[Case]) -> list[np.ndarray]:
        """Restorations of items of one volume."""


class _Classical:
    train_seconds = None

    def __init__(self, name: str) -> None:
        found = CLASSICAL_METHODS[name]
        self.name, self.kind, self.title = name, found.kind, found.title
        self._function, self._package = found.function, found.package

    def describe(self) -> dict[str, Any]:
        version = installed_version(self._package) if self._package else None
        missing = f"missing, monai_cdiff {__version__}"
        settings = {"package": f"{self._package} {version or missing}"} if self._package else {}
        return {"checkpoint_sha256": None, "iterations": None, "settings": settings}

    def cautions(self) -> list[str]:
        return []

    def restore(self, cases: Sequence[Case]) -> list[np.ndarray]:
        return [self._function(case) for case in cases]


class _Learned:
    def __init__(self, spec: MethodSpec, evaluation: BundleEvaluation) -> None:
        self.name = spec.name
        self.evaluation = evaluation
        self.kind = "regression" if evaluation.is_regression else "diffusion"
        family, training = _title(spec), split_training(spec.name)[1]
        self.title = family if training is None else f"{family}, training {training}"

    @cached_property
    def _length(self) -> tuple[int, float | None]:
        """Iterations and seconds of the training."""
        from ..handlers import read_checkpoint

        content = read_checkpoint(self.evaluation.checkpoint)
        return content["iteration"], content.get("train_seconds")

    def describe(self) -> dict[str, Any]:
        evaluation = self.evaluation
        settings = evaluation.settings(("amp", "sampled", "seed") if evaluation.is_regression else _SAMPLING)
        if evaluation.is_regression:
            settings["network"] = evaluation.trained.get("network", "ConditionalUNet")
        else:
            settings["sampler"] = type(self.evaluation["sampler"]).__name__
        others = self.evaluation.overrides.items()
        settings |= {name: value for name, value in others if name.split("#")[0] not in _APART and name not in settings}
        return {
            "checkpoint_sha256": self.evaluation.sha256,
            "iterations": self._length[0],
            "settings": settings,
        }

    @property
    def train_seconds(self) -> float | None:
        return self._length[1]

    def cautions(self) -> list[str]:
        return self.evaluation.beyond_training()

    def restore(self, cases: Sequence[Case]) -> list[np.ndarray]:
        return self.evaluation.restore([case.position for case in cases])


def known_methods(task: str) -> list[str]:
    """Names that need no checkpoint of their own: restorations without a network, then those of the bundle's weights.

    Example:
        >>> known_methods("inpaint")
        ['mean_fill', 'harmonic', 'biharmonic', 'mean', 'sample', 'average', 'antithetic']
    """
    return [*(name for name, method in CLASSICAL_METHODS.items() if task in method.tasks), *OUTPUTS]


def parse_method(text: str, task: str) -> MethodSpec:
    """Read ``NAME[=CHECKPOINT][,ID=VALUE...]``.

    Args:
        text: a name of :py:func:`known_methods`, or any other with a checkpoint; values are JSON, lists among them, or
            else plain text.
        task: of the bundle.

    Returns:
        What is asked for.

    Raises:
        ValueError: if it cannot be read, the method does another task, or an unknown name comes without a checkpoint.

    Example:
        >>> parse_method("slow=,num_inference_steps=20", "sr").overrides
        {'num_inference_steps': 20}
    """
    head, *words = _COMMA.split(text)
    name, equals, checkpoint = head.partition("=")
    if not _NAME.fullmatch(name):
        raise ValueError(f"methods: {text!r} is not NAME[=CHECKPOINT][,ID=VALUE...], NAME of letters, digits, ._+-.")
    pairs = dict(_pair(word, text) for word in words)
    if name in CLASSICAL_METHODS:
        tasks = CLASSICAL_METHODS[name].tasks
        if task not in tasks:
            raise ValueError(f"methods: {name!r} is for {' and '.join(tasks)}; for {task}: {_listed(task)}.")
        if equals or pairs:
            raise ValueError(f"methods: {text!r}: {name!r} takes no checkpoint and no settings.")
        return MethodSpec(name)
    family, training = split_training(name)
    if family in OUTPUTS:
        if training is not None and not checkpoint:
            raise ValueError(f"methods: {text!r}: a training has weights of its own: {name}=CHECKPOINT.")
        return MethodSpec(name, checkpoint or None, {**OUTPUTS[family][1], **pairs})
    if not equals:
        raise ValueError(
            f"methods: {name!r} is none of {_listed(task)}; for weights of your own give {name}=CHECKPOINT, for the "
            f"bundle's with other settings {name}=,ID=VALUE."
        )
    return MethodSpec(name, checkpoint or None, pairs)


def split_training(name: str) -> tuple[str, int | None]:
    """What a name calls a method, and which of its trainings, where it ends in a number.

    Example:
        >>> split_training("pix2pix.2"), split_training("mean")
        (('pix2pix', 2), ('mean', None))
    """
    found = _TRAINING.fullmatch(name)
    return (found[1], int(found[2])) if found else (name, None)


def plain_value(text: str) -> Any:
    """The value of an id as it is given on a command line: JSON, or else the text itself.

    Raises:
        ValueError: for an expression, which a configuration would evaluate.

    Example:
        >>> plain_value("[2, 4]"), plain_value("mean")
        ([2, 4], 'mean')
    """
    if text[:1] in ("$", "@", "%"):
        raise ValueError(f"{text!r} begins with {text[0]!r}, which a configuration would evaluate.")
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def make_method(spec: MethodSpec, reference: BundleEvaluation, overrides: Mapping[str, Any]) -> Method:
    """Make a method for the test set of ``reference``.

    Args:
        spec: what is asked for.
        reference: the evaluation whose test set it is.
        overrides: ids of ``evaluate.json`` that hold for all methods.

    Returns:
        The method, its weights not yet read.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: if the network is of another task, scale or grid, or has seen the test set in its training.
    """
    if spec.name in CLASSICAL_METHODS:
        return _Classical(spec.name)
    of_the_test = reference.settings(TEST_SET_IDS)
    own = {**overrides, **of_the_test, **spec.overrides}
    if spec.checkpoint is not None:
        own["checkpoint"] = os.path.expanduser(spec.checkpoint)
        if not Path(own["checkpoint"]).exists():
            raise FileNotFoundError(_how_to_train(spec, reference))
    evaluation = BundleEvaluation(reference.root, own)
    evaluation.check_alike(reference, spec.name)
    len(evaluation)  # refuses subjects of its training
    return _Learned(spec, evaluation)


def training_configs(bundle: str | os.PathLike[str], method: str) -> list[str]:
    """The configurations of a bundle that together train a method, in their order.

    Args:
        bundle: its folder.
        method: a name of a learned method, such as "pix2pix"; a name that no overlay has is that of the diffusion.

    Returns:
        Paths, ``train.json`` first.

    Example:
        >>> training_configs("bundles/sr", "srgan")  # doctest: +SKIP
        ['bundles/sr/configs/train.json', 'bundles/sr/configs/regression.json', 'bundles/sr/configs/srgan.json']
    """
    folder = Path(bundle, "configs")
    rival = method in RIVALS and (folder / f"{method}.json").is_file()
    return [str(folder / f"{name}.json") for name in ("train", *dict.fromkeys(["regression", method] if rival else []))]


def _how_to_train(spec: MethodSpec, reference: BundleEvaluation) -> str:
    """Without folders above the bundle's: the text comes to stand in tables."""
    shown = Path(*reference.root.parts[-2:])
    names = [Path(file).name for file in training_configs(reference.root, split_training(spec.name)[0])]
    configs = ",".join(f"'{shown / 'configs' / name}'" for name in names)
    return (
        f"{spec.name}={spec.checkpoint}: there are no such weights; python -m monai.bundle run training "
        f'--config_file "[{configs}]" --dataset_dir DATA --output_dir OUT trains some, and leaves '
        "OUT/checkpoints/model.pt."
    )


def _pair(word: str, text: str) -> tuple[str, Any]:
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise ValueError(f"methods: {text!r}: {word!r} is not ID=VALUE.")
    if name in TEST_SET_IDS:
        raise ValueError(f"methods: {text!r}: {name} is the same for all methods; give it by --set {name}=VALUE.")
    return name, plain_value(value)


def describe_training(spec: MethodSpec) -> dict[str, Any]:
    """Whose weights a method has, and which training of them.

    Returns:
        ``family``: what all trainings of the method are called in a table; ``weights_of``: what those weights are
        called, which several methods may share; ``training``: its number, None for a name without.

    Example:
        >>> describe_training(MethodSpec("sample.1", "a.pt", {"output": "sample"}))
        {'family': 'ours, one sample', 'weights_of': 'ours', 'training': 1}
    """
    name, training = split_training(spec.name)
    family = _title(spec)
    return {"family": family, "weights_of": _OURS if name in OUTPUTS else family, "training": training}


def _title(spec: MethodSpec) -> str:
    name = split_training(spec.name)[0]
    if name not in OUTPUTS:
        return name.replace("_", " ")
    title, usual = OUTPUTS[name]
    own = {name: value for name, value in spec.overrides.items() if usual.get(name) != value}
    said = name if own.keys() & usual.keys() else title
    return ", ".join([_OURS, said, *(f"{name} {value}" for name, value in own.items())])


def _listed(task: str) -> str:
    return ", ".join(known_methods(task))


def installed_version(package: str) -> str | None:
    """Of a package; None if it is not installed.

    Example:
        >>> installed_version("no-such-package") is None
        True
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None
