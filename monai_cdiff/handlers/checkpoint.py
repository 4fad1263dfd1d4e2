"""Checkpoints: everything to continue a training bit for bit, and beside it the averaged weights to restore with."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from reprlib import Repr
from typing import Any

import torch
from ignite.engine import Engine, Events

from ..utils import check_integer, replacing

__all__ = [
    "CheckpointHandler",
    "checkpoint_sha256",
    "export_weights",
    "find_checkpoint",
    "load_network",
    "read_checkpoint",
    "trained_settings",
    "write_checkpoint",
]

logger = logging.getLogger(__name__)

TRAINING_FILE = "checkpoint.pt"
MODEL_FILE = "model.pt"
# settings that say what a training is; a resumed one cannot change them
DEFINING = (
    "task", "spatial_dims", "factor", "factors", "domain", "noise", "training_noise", "mask", "training_mask", "fill",
    "normalisation", "image_size", "training_subjects", "classes", "structures",
)  # fmt: skip
# what a checkpoint holds besides where the network is one of a diffusion
_OF_A_DIFFUSION = ("scheduler", "parameterization")

_SHORT = Repr()  # a long list is not printed whole
_SHORT.maxlist = 4


def write_checkpoint(content: Mapping[str, Any], path: str | Path) -> None:
    """Write a checkpoint whole or not at all."""
    with replacing(path) as temporary:
        torch.save(dict(content), temporary)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU with ``weights_only=True``: no code of the file is run.

    Raises:
        FileNotFoundError: if there is none; the message lists those in the same folder.
        ValueError: if the file is not a checkpoint of this package.
    """
    path = Path(path)
    if path.is_dir():
        raise FileNotFoundError(f"checkpoint={str(path)!r} is a folder; give a file such as its model.pt.")
    if not path.is_file():
        beside = sorted(str(p) for p in path.parent.glob("*.pt")) if path.parent.is_dir() else []
        raise FileNotFoundError(f"checkpoint={str(path)!r} does not exist; found there: {beside or 'none'}.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"checkpoint={str(path)!r} cannot be read as weights ({type(error).__name__}).") from error
    if not isinstance(content, dict) or "network" not in content or "settings" not in content:
        raise ValueError(f"checkpoint={str(path)!r} is not a checkpoint of monai_cdiff: it lacks network or settings.")
    return content


def find_checkpoint(*candidates: str | Path) -> str:
    """The first of ``candidates`` that exists, or the first one if none does."""
    return str(next((path for path in candidates if Path(path).is_file()), candidates[0]))


def checkpoint_sha256(path: str | Path) -> str:
    """SHA-256 of a checkpoint file, as 64 hexadecimal digits."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def trained_settings(path: str | Path, task: str | None = None) -> dict[str, Any]:
    """What a checkpoint was trained with: task, sizes, factor, normalisation, parameterization.

    Args:
        path: ``model.pt`` or ``checkpoint.pt`` of a training.
        task: what the weights are wanted for; None takes those of any task.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no checkpoint, or was trained for another task.
    """
    content = read_checkpoint(path)
    trained = content["settings"].get("task")
    if task is not None and trained != task:
        raise ValueError(f"checkpoint={str(path)!r} was trained for {trained!r}; this bundle takes those for {task!r}.")
    return {**content["settings"], **{name: content[name] for name in ("parameterization",) if name in content}}


def load_network(network: torch.nn.Module, path: str | Path, objects: Mapping[str, Any] | None = None) -> None:
    """Load the averaged weights of a checkpoint into a network, in place, and put it into evaluation mode.

    Args:
        network: of the architecture that was trained.
        path: ``model.pt`` or ``checkpoint.pt`` of a training.
        objects: what must agree with the checkpoint, by its name there: scheduler, parameterization.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if architecture, noise schedule or parameterization differ; the message shows both.
    """
    content = read_checkpoint(path)
    weights = content.get("ema_network", content["network"])
    _load("network", network, weights, path)
    for name, target in (objects or {}).items():
        _load(name, target, content[name], path)
    network.eval()


def export_weights(source: str | Path, target: str | Path, dtype: torch.dtype = torch.float16) -> None:
    """Write the averaged weights of a checkpoint for shipping: half the size, loadable as any other.

    Args:
        source: ``model.pt`` or ``checkpoint.pt`` of a training.
        target: the file to write.
        dtype: type of the weights in the file; networks load them into their own type.
    """
    content = read_checkpoint(source)
    weights = content.get("ema_network", content["network"])
    kept = ("settings", *_OF_A_DIFFUSION, "iteration", "train_seconds")
    halved = {name: value.to(dtype) if value.is_floating_point() else value for name, value in weights.items()}
    write_checkpoint({**{name: content[name] for name in kept if name in content}, "network": halved}, target)


def _load(name: str, target: Any, state: Any, path: str | Path) -> None:
    if name == "network":
        _check_architecture(target, state, path)
    try:
        target.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError) as error:
        raise ValueError(f"checkpoint={str(path)!r} does not fit: {name}: {error}") from error


def _check_architecture(network: torch.nn.Module, state: Mapping[str, torch.Tensor], path: str | Path) -> None:
    own = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    saved = {key: tuple(value.shape) for key, value in state.items()}
    if own == saved:
        return
    differing = [key for key in own if own[key] != saved.get(key)] + [key for key in saved if key not in own]
    key = differing[0]
    raise ValueError(
        f"checkpoint={str(path)!r} is of another architecture: {len(differing)} tensors differ, the first is {key}: "
        f"saved {saved.get(key, 'absent')}, configured {own.get(key, 'absent')}; "
        f"{_count(saved):,} saved and {_count(own):,} configured parameters. See network_size and spatial_dims; "
        "the weights of a regression are scored by evaluate.json together with evaluate_regression.json, and restore "
        "by inference.json together with inference_regression.json."
    )


def _count(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return sum(torch.Size(shape).numel() for shape in shapes.values())


class CheckpointHandler:
    """Saves a training at intervals, at its end and after Ctrl-C, and resumes it.

    Two files in ``<output_dir>/checkpoints``, each replaced as a whole: ``checkpoint.pt`` with everything needed to
    continue, and ``model.pt`` with the averaged weights, the settings, the scheduler and the parameterization, for
    inference. With ``resume`` unset, what an earlier training left in ``output_dir`` is moved aside, never overwritten.

    A resumed training is that of the checkpoint. Settings that define it (task, degradation, normalisation, subjects)
    must be the same; another learning rate is applied, its schedule goes on at the place it had reached; another value
    of any other setting is taken, with a warning that shows both.

    Args:
        output_dir: the training's folder.
        objects: what to save, by name: ``network`` and ``ema`` (needed), of a diffusion ``scheduler`` and
            ``parameterization`` (checked when loading), ``optimizer``, ``lr_scheduler``. The trainer's loss scaler is
            added.
        settings: plain values that say what was trained, for ``trained_settings``.
        interval: iterations between two checkpoints.
        resume: False, True for the checkpoint in ``output_dir``, or the path of one; the string "false" is False.

    Raises:
        FileNotFoundError: if there is nothing to resume.
        ValueError: when the training starts, if the checkpoint does not fit; nothing has been written then.
    """

    def __init__(
        self,
        output_dir: str | Path,
        objects: Mapping[str, Any],
        settings: Mapping[str, Any],
        interval: int = 500,
        resume: bool | str = False,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.folder = self.output_dir / "checkpoints"
        self.objects = dict(objects)
        self.settings = dict(settings)
        self.interval = check_integer("interval", interval, 1)
        self.resume = _resume_path(resume, self.folder)
        self.train_seconds = 0.0
        self._started = time.monotonic()
        self._saved_at = -1

    @property
    def model_file(self) -> Path:
        """Where the averaged weights are written."""
        return self.folder / MODEL_FILE

    def attach(self, engine: Engine) -> None:
        """Load when ``engine`` starts, save at intervals and when it has ended."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.interval), self.save)
        engine.add_event_handler(Events.COMPLETED, self.save)

    def start(self, engine: Engine) -> None:
        """Resume, or make room for a new training."""
        if self.resume is not None:
            self._restore(engine, read_checkpoint(self.resume))
        if self.resume is not None and self.resume.resolve().parent == self.folder.resolve():
            self._saved_at = engine.state.iteration
        elif not _rank(engine):
            _move_aside(self.output_dir)
        self._started = time.monotonic() - self.train_seconds

    def _restore(self, engine: Engine, content: dict[str, Any]) -> None:
        if "iteration" not in content or "optimizer" not in content:
            raise ValueError(f"resume={str(self.resume)!r} holds weights only; resume from a {TRAINING_FILE}.")
        for name, value in self.settings.items():
            saved = content["settings"].get(name)
            if saved != value and name in DEFINING:
                raise ValueError(f"resume={str(self.resume)!r}: {name} differs: {_both(saved, value)}.")
            if saved != value and name in content["settings"]:
                logger.warning(f"resuming with another {name}: {_both(saved, value)}.")
        objects = self._objects(engine)
        rates = _base_rates(objects)
        # what can refuse comes first, so that a refusal leaves the network as it was
        for name in sorted(objects, key=lambda n: n not in ("parameterization", "scheduler")):
            _load(name, objects[name], content[name], self.resume or "")
        _set_base_rates(objects, rates)
        torch.set_rng_state(content["rng"])
        if torch.cuda.is_available() and content["rng_cuda"]:
            torch.cuda.set_rng_state_all(content["rng_cuda"])
        engine.state.iteration = content["iteration"]
        engine.state.epoch = content["iteration"] // engine.state.epoch_length
        self.train_seconds = content["train_seconds"]
        logger.info(f"resumed {self.resume} at iteration {engine.state.iteration}.")

    def _objects(self, engine: Engine) -> dict[str, Any]:
        scaler = getattr(engine, "grad_scaler", None)
        return self.objects if scaler is None else {**self.objects, "grad_scaler": scaler}

    def weights(self, iteration: int) -> dict[str, Any]:
        """What ``model.pt`` holds after ``iteration`` iterations, the averaged weights and what they are.

        Raises:
            FloatingPointError: if the weights are not finite.
        """
        averaged = self.objects["ema"].module.state_dict()
        if not all(bool(torch.isfinite(value).all()) for value in averaged.values()):
            raise FloatingPointError(
                f"the weights are not finite at iteration {iteration}; the checkpoint before is kept. "
                "Lower the learning rate, or set amp=False."
            )
        self.train_seconds = time.monotonic() - self._started
        diffusion = {name: self.objects[name].state_dict() for name in _OF_A_DIFFUSION if name in self.objects}
        common = {"settings": self.settings, **diffusion, "iteration": iteration, "train_seconds": self.train_seconds}
        return {**common, "network": averaged}

    def save(self, engine: Engine) -> None:
        """Write both files; on the first process only, and once per iteration."""
        if _rank(engine) or self._saved_at == engine.state.iteration:
            return
        weights = self.weights(engine.state.iteration)
        state = {name: item.state_dict() for name, item in self._objects(engine).items()}
        random = {"rng": torch.get_rng_state(), "rng_cuda": _cuda_rng_states()}
        averaged = {"ema_network": weights["network"]}
        write_checkpoint({**weights, **state, **random, **averaged}, self.folder / TRAINING_FILE)
        write_checkpoint(weights, self.model_file)
        self._saved_at = engine.state.iteration


def _both(saved: Any, configured: Any) -> str:
    """Two values of a setting in words; of lists, which may be long, what the other lacks."""
    if isinstance(saved, list) and isinstance(configured, list) and max(len(saved), len(configured)) > _SHORT.maxlist:
        gone, new = ([item for item in a if item not in b] for a, b in ((saved, configured), (configured, saved)))
        counts = f"saved {len(saved)} items, configured {len(configured)}"
        return f"{counts}; only saved: {_SHORT.repr(gone)}; only configured: {_SHORT.repr(new)}"
    return f"saved {saved!r}; configured {configured!r}"


def _base_rates(objects: Mapping[str, Any]) -> list[float]:
    """The learning rate of each group of the optimiser, before a schedule lowers it."""
    groups = objects["optimizer"].param_groups if "optimizer" in objects else []
    return [float(group.get("initial_lr", group["lr"])) for group in groups]


def _set_base_rates(objects: Mapping[str, Any], rates: list[float]) -> None:
    """Put the configured learning rates in the place of those that came with the state of optimiser and schedule."""
    saved = _base_rates(objects)
    if saved == rates:
        return
    for group, old, new in zip(objects["optimizer"].param_groups, saved, rates):
        group["lr"] = group["lr"] * (new / old) if old else new
        if "initial_lr" in group:
            group["initial_lr"] = new
    schedule: Any = objects.get("lr_scheduler")
    if hasattr(schedule, "base_lrs"):
        schedule.base_lrs = list(rates)


def _resume_path(resume: bool | str | None, folder: Path) -> Path | None:
    text = str(resume).strip().lower()
    if resume is None or text in ("false", "none", "no", "0", ""):
        return None
    path = folder / TRAINING_FILE if text in ("true", "yes", "1") else Path(str(resume))
    if not path.is_file():
        raise FileNotFoundError(f"resume={resume!r}: there is no checkpoint {str(path)!r} to resume from.")
    return path


def _move_aside(output_dir: Path) -> None:
    if not (output_dir / "checkpoints" / TRAINING_FILE).exists():
        return
    target = next(path for n in count(1) if not (path := output_dir / f"earlier-{n}").exists())
    target.mkdir(parents=True)
    for name in ("checkpoints", "previews", "metrics.json", "comparison.png"):
        if (output_dir / name).exists():
            (output_dir / name).rename(target / name)
    logger.warning(f"moved the earlier training in {output_dir} to {target}; --resume true would have continued it.")


def _cuda_rng_states() -> list[torch.Tensor]:
    return list(torch.cuda.get_rng_state_all()) if torch.cuda.is_available() else []


def _rank(engine: Engine) -> int:
    state: Any = engine.state  # MONAI's engines know the number of their process
    return state.rank
