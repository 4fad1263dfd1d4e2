"""Methods compared on one test set: restored, measured, and written as ``results.json`` with pictures."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

from .. import __version__
from ..handlers import upright
from ..utils import bundle_version, check_integer, write_array, write_json
from .bundle_evaluation import BundleEvaluation
from .feature_scores import feature_columns
from .image_scores import Column
from .method_scores import SECONDS, Judges, OriginalScores, score_method, score_originals
from .methods import Method, MethodSpec, describe_training, installed_version, make_method
from .restored_images import RestoredImages
from .result_rows import Measured, make_row
from .results_file import ORIGINAL, RESULTS

__all__ = ["Comparison"]

_PACKAGES = ("monai", "torch", "numpy", "scikit-image")
# Intervals by resampling hold the truth about 90 times in a hundred for so many subjects, and less often for fewer.
_ENOUGH_SUBJECTS = 10
_IMAGES = "images"
_OUR_PICTURE = re.compile(r"(original|condition|mask|by_.+)\.npy")
_NOT_VARIED = ("checkpoint", "output_dir", "cache_dir", "device")
# What a method may fail with that is its own fault, and not that of the comparison.
_FAILURES = (ValueError, RuntimeError, OSError, ImportError)

logger = logging.getLogger(__name__)


class Comparison:
    """Methods on the test set of a bundle.

    Everything that was restored is kept in ``output_dir``, so that a comparison that was interrupted goes on, and one
    with a further method restores nothing twice.

    Args:
        bundle: folder of the bundle whose ``evaluate.json`` makes the test set.
        output_dir: what is written: ``results.json``, ``images/``, ``cache/``.
        methods: what is compared, in the order of the table.
        judges: the test set -> what is measured.
        overrides: ids of ``evaluate.json`` for all methods.
        vary: an id and its values: everything is measured for each of them.
        reference: name of the method that the others are tested against; default: the last one.
        num_examples: how many images are kept for figures, evenly spaced over the test set.
        command: how it was asked for, written beside the numbers.

    Raises:
        FileNotFoundError: if the bundle, its checkpoint or the data do not exist.
        ValueError: for methods of one name, a reference that is none of them, an ``output_dir`` that is a file, values
            of ``vary`` that cannot be told apart or that a method sets itself, or what the bundle refuses.

    Example:
        >>> specs = [parse_method(name, "denoise") for name in ("noisy", "mean")]  # doctest: +SKIP
        >>> judges = lambda evaluation: Judges(image_metrics(2))  # doctest: +SKIP
        >>> data = {"dataset_dir": "/data/xrays"}  # doctest: +SKIP
        >>> results = Comparison("bundles/denoise", "OUT", specs, judges, data).run()  # doctest: +SKIP
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str],
        output_dir: str | os.PathLike[str],
        methods: Sequence[MethodSpec],
        judges: Callable[[BundleEvaluation], Judges],
        overrides: Mapping[str, Any],
        vary: tuple[str, Sequence[Any]] | None = None,
        reference: str | None = None,
        num_examples: int = 4,
        command: str = "",
    ) -> None:
        self.output_dir = Path(output_dir).expanduser().absolute()
        self.specs = list(methods)
        if self.output_dir.exists() and not self.output_dir.is_dir():
            raise ValueError(f"output_dir={str(self.output_dir)!r} is a file; name a folder.")
        self.reference = _check_methods(self.specs, reference)
        self.num_examples = check_integer("num_examples", num_examples, 0)
        self.command = command
        self.overrides = {"output_dir": str(self.output_dir), **overrides}
        self.vary = vary
        settings = _settings(vary, self.specs)
        self.evaluations = {
            title: BundleEvaluation(bundle, {**self.overrides, **own}) for title, own in settings.items()
        }
        self.first = next(iter(self.evaluations.values()))
        self.judges = judges(self.first)
        self.methods = {
            title: {spec.name: self._make(spec, evaluation, settings[title]) for spec in self.specs}
            for title, evaluation in self.evaluations.items()
        }
        self.warnings: list[str] = []
        self.said: dict[str, list[str]] = {}

    def run(self) -> dict[str, Any]:
        """Restore and measure what is not there yet, and write it.

        Returns:
            The content of ``results.json``; a method that failed has None for every metric, with the reason.
        """
        rows: list[dict[str, Any]] = []
        examples: list[dict[str, Any]] = []
        digests: list[str] = []
        for title, evaluation in self.evaluations.items():
            originals = score_originals(evaluation, self.judges)
            digests += originals.digests
            self._warn_of(title, evaluation, originals)
            stores = {name: self._store(name, method) for name, method in self.methods[title].items()}
            rows += self._rows(title, evaluation, originals, stores)
            examples += self._examples(title, evaluation, stores)
        results = {
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "command": self.command,
            "environment": _environment(self.first),
            "task": self.first.task,
            "bundle": dict(zip(("name", "version"), bundle_version(self.first.root).rsplit(" ", 1))),
            "test_set": self._test_set(digests, rows[0]["n_subjects"]),
            "seed": self.first["seed"],
            "metrics": [column._asdict() for column in self._columns()],
            "methods": [self._description(spec) for spec in self.specs],
            "reference": self.reference,
            "rows": rows,
            "examples": examples,
            "warnings": [*dict.fromkeys(self.warnings), *self._said_once()],
        }
        write_json(results, self.output_dir / RESULTS)
        self._remove_other_pictures(examples)
        return results

    def _said_once(self) -> list[str]:
        """What has to be said of restorations, with the names of those that it is said of if it is not all."""
        everyone = len(self.evaluations) * len(self.specs)
        names = {text: ", ".join(dict.fromkeys(who)) for text, who in self.said.items() if len(who) < everyone}
        return [f"{names[text]}: {text}" if text in names else text for text in self.said]

    def _make(self, spec: MethodSpec, evaluation: BundleEvaluation, own: Mapping[str, Any]) -> Method | str:
        """The method, or why it cannot be had."""
        try:
            return make_method(spec, evaluation, {**self.overrides, **own})
        except (FileNotFoundError, ImportError) as error:
            logger.warning("%s: %s", spec.name, error)
            return str(error)

    def _store(self, name: str, method: Method | str) -> RestoredImages | None:
        if isinstance(method, str):
            return None
        return RestoredImages(self.output_dir / "cache" / "restored", name, method.describe())

    def _rows(
        self,
        title: str,
        evaluation: BundleEvaluation,
        originals: OriginalScores,
        stores: Mapping[str, RestoredImages | None],
    ) -> list[dict[str, Any]]:
        nothing = {column.name: Measured([], None, "a measure of restorations") for column in self._columns()}
        scores: dict[str, dict[str, Measured]] = {}
        if originals.measured:
            scores[ORIGINAL] = nothing | originals.measured
        for name, method in self.methods[title].items():
            logger.info("%s%s", name, f", {title}" if title else "")
            scores[name] = self._scores(name, method, stores[name], evaluation, originals)
        head: dict[str, Any] = {"task": evaluation.task, "setting": title}
        head |= {"n": len(originals.digests), "n_subjects": len(set(originals.subjects))}
        reference = {name: found for name, found in scores[self.reference].items() if name != SECONDS.name}
        tested = [name for name in scores if name not in (self.reference, ORIGINAL)]
        seed = evaluation["seed"]
        return [
            make_row({**head, "method": name}, measured, reference if name in tested else None, seed)
            for name, measured in scores.items()
        ]

    def _scores(
        self,
        name: str,
        method: Method | str,
        store: RestoredImages | None,
        evaluation: BundleEvaluation,
        originals: OriginalScores,
    ) -> dict[str, Measured]:
        """What was measured, or for every column why nothing was."""
        reason = method if isinstance(method, str) else ""
        if not isinstance(method, str) and store is not None:
            try:
                measured, said = score_method(method, store, evaluation, self.judges, originals)
                for text in said:
                    self.said.setdefault(text, []).append(name)
                return measured
            except _FAILURES as error:
                reason = f"{type(error).__name__}: {error}"
        self.warnings.append(f"{name} failed: {reason}")
        logger.warning("%s failed: %s", name, reason)
        return {column.name: Measured([], None, reason) for column in self._columns()}

    def _columns(self) -> list[Column]:
        of_sets = [column for network in self.judges.features for column in feature_columns(network)]
        of_volumes = [column for metric in self.judges.volumes for column in metric.columns]
        return [*(metric.column for metric in self.judges.images), *of_sets, *of_volumes, SECONDS]

    def _warn_of(self, title: str, evaluation: BundleEvaluation, originals: OriginalScores) -> None:
        subjects = len(set(originals.subjects))
        if subjects < 2:
            count = len(originals.digests)
            self.warnings.append(f"{count} images of one subject: there are no intervals and no tests of one subject.")
        elif subjects < _ENOUGH_SUBJECTS:
            self.warnings.append(
                f"{subjects} subjects: intervals of fewer than {_ENOUGH_SUBJECTS} are too narrow, and no p-value can "
                f"be below {0.5 ** (subjects - 1):.2g}."
            )
        if evaluation["split"] == "training":
            self.warnings.append("split=training: networks may have been trained on these images.")
        if evaluation.task == "inpaint":
            self.warnings.append("numbers are of whole images; outside the mask all methods keep what was measured.")
        apart = [f"{low:g} to {high:g}" for low, high in evaluation.spacing() if high > 1.05 * low]
        if apart:
            self.warnings.append(f"voxel sizes differ between the test images: {', '.join(apart)} mm.")
        methods = {name: method for name, method in self.methods[title].items() if not isinstance(method, str)}
        for caution in (f"{name}: {text}" for name, method in methods.items() for text in method.cautions()):
            logger.warning(caution)
            self.warnings.append(caution)

    def _examples(
        self, title: str, evaluation: BundleEvaluation, stores: Mapping[str, RestoredImages | None]
    ) -> list[dict[str, Any]]:
        return [
            self._example(title, evaluation, n, stores) for n in _evenly_spaced(self.num_examples, len(evaluation))
        ]

    def _example(
        self, title: str, evaluation: BundleEvaluation, position: int, stores: Mapping[str, RestoredImages | None]
    ) -> dict[str, Any]:
        case = evaluation.case(position)
        found = {name: store.load(case) for name, store in stores.items() if store and store.path(case).is_file()}
        images = {ORIGINAL: case.original, "condition": case.condition}
        images |= {} if case.mask is None else {"mask": case.mask}
        folder = Path(_IMAGES) / "-".join(filter(None, [re.sub(r"[^\w.]+", "_", title), case.digest]))
        affine = evaluation.dataset[position]["image"].affine
        files = {name: self._picture(folder / f"{name}.npy", image, affine) for name, image in images.items()}
        shown = {name: self._picture(folder / f"by_{name}.npy", image, affine) for name, image in found.items()}
        return {"setting": title, "name": case.name, **files, "restored": shown}

    def _picture(self, file: Path, image: np.ndarray, affine: torch.Tensor) -> str:
        """Of a volume the middle slice, as radiologists look at it; the first axis goes to the right."""
        plane = upright(MetaTensor(torch.from_numpy(image)[None], affine=affine)).T
        write_array(plane, self.output_dir / file)
        return file.as_posix()

    def _remove_other_pictures(self, examples: Sequence[Mapping[str, Any]]) -> None:
        """Those of an earlier comparison in the same folder."""
        named = {file for example in examples for file in example["restored"].values()}
        named |= {example[name] for example in examples for name in (ORIGINAL, "condition", "mask") if name in example}
        for file in (self.output_dir / _IMAGES).glob("*/*.npy"):
            if file.relative_to(self.output_dir).as_posix() not in named and _OUR_PICTURE.fullmatch(file.name):
                file.unlink()
                if not any(file.parent.iterdir()):
                    file.parent.rmdir()

    def _test_set(self, digests: Sequence[str], num_subjects: int) -> dict[str, Any]:
        settings = {**self.first.settings(), "dataset_dir": _last_names(self.first["dataset_dir"])}
        settings |= {} if self.vary is None else {self.vary[0]: list(self.vary[1])}
        return {
            "split": self.first["split"],
            "n_images": len(self.first),
            "n_subjects": num_subjects,
            "sha256": hashlib.sha256("\n".join(digests).encode()).hexdigest(),
            "settings": settings,
        }

    def _description(self, spec: MethodSpec) -> dict[str, Any]:
        method = next(iter(self.methods.values()))[spec.name]
        if isinstance(method, str):
            unknown: dict[str, Any] = {"checkpoint_sha256": None, "settings": {}, "iterations": None}
            return {"name": spec.name, "kind": "missing", "title": spec.name, **unknown, **describe_training(spec)}
        description = {**method.describe(), "train_seconds": method.train_seconds, **describe_training(spec)}
        name, values = self.vary or ("", [])
        varied = {name: list(values)} if name in description["settings"] else {}
        description["settings"] = {**description["settings"], **varied}
        return {"name": spec.name, "kind": method.kind, "title": method.title, **description}


def _check_methods(specs: Sequence[MethodSpec], reference: str | None) -> str:
    names = [spec.name for spec in specs]
    if not names:
        raise ValueError("methods is empty; name at least one.")
    twice = sorted({name for name in names if names.count(name) > 1} | ({ORIGINAL} & set(names)))
    if twice:
        raise ValueError(f"methods: {', '.join(twice)}: each needs a name of its own, and not {ORIGINAL!r}.")
    if reference is not None and reference not in names:
        raise ValueError(f"reference={reference!r} is none of the methods {', '.join(names)}.")
    return reference or names[-1]


def _settings(vary: tuple[str, Sequence[Any]] | None, specs: Sequence[MethodSpec]) -> dict[str, dict[str, Any]]:
    """The overrides of each setting by its title."""
    if vary is None:
        return {"": {}}
    name, values = vary
    if not values:
        raise ValueError(f"vary={name!r} has no values; give at least one.")
    if name in _NOT_VARIED:
        raise ValueError(f"vary={name!r} is the same for all settings; compare weights as methods, NAME=CHECKPOINT.")
    own = next((spec.name for spec in specs if name in spec.overrides), None)
    if own is not None:
        raise ValueError(f"vary={name!r}: {own!r} sets {name} itself; give such methods each a name of its own.")
    settings: dict[str, dict[str, Any]] = {}
    for value in values:
        title = f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        if title in settings:
            raise ValueError(f"vary={name!r}: {title} stands for several values; they must differ in four digits.")
        settings[title] = {name: value}
    return settings


def _evenly_spaced(count: int, length: int) -> list[int]:
    """Different positions, away from both ends where there is room."""
    if count + 2 <= length:
        return [int(n) for n in np.linspace(0, length - 1, count + 2).round()[1:-1]]
    return [(2 * n + 1) * length // (2 * min(count, length)) for n in range(min(count, length))]


def _environment(evaluation: BundleEvaluation) -> dict[str, Any]:
    own = {"monai_cdiff": __version__, "python": platform.python_version()}
    others = {package: found for package in _PACKAGES if (found := installed_version(package)) is not None}
    return {**own, **others, "device": str(evaluation["device"]), "machine": platform.machine()}


def _last_names(source: Any) -> Any:
    """Names without folders: a path may name a person."""
    if isinstance(source, (list, tuple)):
        return [_last_names(path) for path in source]
    return None if source is None else Path(str(source)).name
