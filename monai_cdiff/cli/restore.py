"""``restore``: images in, restored images out, by the inference of a bundle."""

from __future__ import annotations

import argparse
import json
import logging
import os
from pathlib import Path
from typing import Any

from .bundle import bundle_folder
from .errors import FAILURE, WRONG_INPUT, CommandError

__all__ = ["add_command"]

# Argument of the command -> id of inference.json that it overrides.
_IDS = {
    "series": "series",
    "plane": "plane",
    "select": "select",
    "on_gap": "on_gap",
    "seed": "seed",
    "steps": "num_inference_steps",
    "factor": "factor",
    "mask": "mask",
    "device": "device",
    "checkpoint": "checkpoint",
    "consistent": "consistent",
    "template": "template",
    "overwrite": "overwrite",
}
_REGRESSION = "inference_regression.json"
_PATHS = ("mask", "checkpoint", "template")
_DESCRIPTION = """\
Restore images by the inference of a bundle. DICOM gives a derived DICOM series in the same study, NIfTI gives NIfTI,
a picture (PNG, JPEG, BMP, TIFF) gives PNG; folders are repeated below OUTPUT. Nothing that exists is overwritten
unless --overwrite says so, and everything is checked before the network runs. Restored detail is inferred, not
measured: research only, not for diagnosis."""


def add_command(commands: Any) -> None:
    """Add ``restore`` to the commands of an argument parser."""
    parser = commands.add_parser(
        "restore",
        help="restore DICOM or NIfTI images, or pictures",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("input", metavar="INPUT", help="DICOM file, series, study or folder of studies; NIfTI file, picture or folder")
    add("output", metavar="OUTPUT", help="folder for what is written")
    add(
        "--bundle",
        help='folder of the bundle, or name of a packaged one as "bundle list" gives it, which is read where it is '
        "installed (default: bundles/sr if there is that folder, else the packaged sr)",
    )
    add("--series", help='which DICOM series: pattern of its description ("t2*"), its number or its UID')
    add("--plane", choices=("axial", "coronal", "sagittal"), help="which DICOM series, by its plane")
    add("--select", metavar="TAG=VALUE", action="append", help="which images of a series; may be repeated")
    add("--on-gap", choices=("error", "warn", "resample"), help="what to do about missing slices (default: error)")
    add("--mask", help="for bundles that inpaint: mask of what is to be filled, or a folder of masks of the same names")
    add("--template", metavar="SERIES", help="for a NIfTI INPUT: write DICOM, as derived from this series")
    add("--checkpoint", help="weights, of a diffusion or of a regression (default: the bundle's)")
    add("--factor", type=float, help="how much finer the grid becomes in each in-plane direction")
    add("--steps", type=int, help="network calls for a sample")
    add(
        "--samples",
        type=int,
        help="samples for an image: their average is written, for an even number of pairs with mirrored noise, which "
        "err least; 1 keeps the texture of one sample (default: the bundle's choice; 8 with --uncertainty)",
    )
    add("--uncertainty", action="store_true", help="write the mean of samples, and beside it their standard deviation")
    add("--consistent", action="store_true", default=None, help="make the result agree with what was measured")
    add("--seed", type=int, help="seed of the noise (default: 0)")
    add("--device", help='"cpu", "cuda", "cuda:1" (default: a GPU if there is one)')
    add("--overwrite", action="store_true", default=None, help="replace outputs that exist")
    add("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=_restore)


def _restore(args: argparse.Namespace) -> int:
    configs = _configs(args.bundle, args.uncertainty)
    config = json.loads(configs[0].read_text(encoding="utf-8"))
    if "derivation" not in config:  # what every restoration says of itself
        raise ValueError(
            f"--bundle {args.bundle}: this bundle restores nothing ({configs[0]} has no 'derivation'); run it by "
            f"python -m monai.bundle run --config_file {configs[0]} --bundle_root {configs[0].parent.parent} "
            "--input_dir INPUT --output_dir OUTPUT"
        )
    overrides = {**_overrides(args, config, str(configs[0])), "bundle_root": str(configs[0].parent.parent)}
    _check_device(args.device)
    if _method(configs[0], overrides) == "regression":
        _check_no_sampling(args)
        configs.append(configs[0].with_name(_REGRESSION))
        if not configs[1].is_file():
            raise FileNotFoundError(
                f"--checkpoint: these weights are of a regression, and {configs[1]} does not exist; a bundle that was "
                "exported by an older version lacks it: export it again by bundle export --overwrite."
            )
    _run(configs, overrides)
    return 0


def _method(file: Path, overrides: dict[str, Any]) -> str | None:
    """What the weights are: "regression" for those that are called once and without noise."""
    from monai.bundle import ConfigParser

    from ..handlers import trained_settings

    try:
        parser = ConfigParser()
        parser.read_config([str(file)])
        parser.update({name: value for name, value in overrides.items() if name in ("bundle_root", "checkpoint")})
        return trained_settings(parser.get_parsed_content("checkpoint")).get("method")
    except Exception as error:
        raise _command_error(error, WRONG_INPUT) from error


def _check_no_sampling(args: argparse.Namespace) -> None:
    names = ("steps", "samples", "seed", "uncertainty")
    asked = [f"--{name}" for name in names if not (getattr(args, name) is None or getattr(args, name) is False)]
    if asked:
        raise ValueError(
            f"{', '.join(asked)}: these weights are of a regression, which is called once and without noise; leave "
            "it away, or give the weights of a diffusion."
        )


def _configs(bundle: str | None, uncertainty: bool) -> list[Path]:
    names = ["inference.json", *(["uncertainty.json"] if uncertainty else [])]
    return [bundle_folder(bundle, name) / "configs" / name for name in names]


def _overrides(args: argparse.Namespace, config: dict[str, Any], file: str) -> dict[str, Any]:
    from ..data import is_nifti, is_raster

    found: dict[str, Any] = {"input_dir": _path(args.input), "output_dir": _path(args.output)}
    for name in ("input", "output"):
        if not getattr(args, name).strip():
            raise ValueError(f"{name.upper()} is empty; give a path, \".\" for the folder you are in.")
    named = is_nifti(args.output) or is_raster(args.output) or args.output.lower().endswith(".dcm")
    if named or os.path.isfile(args.output):
        raise ValueError(f"OUTPUT={args.output!r} names a file; give a folder.")
    for name, key in _IDS.items():
        value = getattr(args, name)
        if value is None:
            continue
        if key not in config:
            raise ValueError(f"--{name.replace('_', '-')}: this bundle takes none ({file} has no {key!r}).")
        found[key] = _path(value) if name in _PATHS else _selection(value) if name == "select" else _plain(name, value)
    if args.samples is not None:
        if args.samples < 1:
            raise ValueError(f"--samples={args.samples} must be at least 1.")
        found["num_samples"] = args.samples
        if not args.uncertainty:
            found["output"] = "sample" if args.samples == 1 else "average" if args.samples % 2 else "antithetic"
    return found


def _path(text: str) -> str:
    return os.path.abspath(os.path.expanduser(text))


def _selection(words: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        tag, _, value = word.partition("=")
        if not tag or not value:
            raise ValueError(f"--select {word!r}: give TAG=VALUE, for example EchoTime=90.")
        if tag in found:
            raise ValueError(f"--select {word!r}: {tag}={found[tag]} is asked for already; give each TAG once.")
        found[_plain("select", tag)] = _plain("select", value)
    return found


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("$", "@", "%"):
        raise ValueError(f"--{name}={value!r} begins with {value[0]!r}, which a configuration would evaluate.")
    return value


def _check_device(device: str | None) -> None:
    import torch

    try:
        torch.zeros(1, device=device).item()  # a device without memory ("meta") fails at the latter
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"--device {device}: there is no such device here ({reason}).") from error


def _run(configs: list[Path], overrides: dict[str, Any]) -> None:
    from monai.bundle import ConfigWorkflow

    logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)  # it warns of logging_file=False
    code = WRONG_INPUT
    try:
        files = [str(file) for file in configs]
        workflow = ConfigWorkflow(config_file=files, workflow_type="infer", logging_file=False, **overrides)
        workflow.initialize()
        code = FAILURE  # all that was given has been checked
        workflow.run()
        workflow.finalize()
    except Exception as error:
        raise _command_error(error, code) from error


def _command_error(error: Exception, code: int) -> CommandError:
    """What went wrong in words of the command; ``code`` if what was given is to blame for it."""
    from ..utils import root_cause

    cause = _in_words_of_the_command(root_cause(error))
    return CommandError(cause, code if isinstance(cause, (ValueError, OSError)) else FAILURE)


def _in_words_of_the_command(cause: BaseException) -> BaseException:
    """The cause with the command's own name for an argument, where it begins with that of the configuration."""
    text = str(cause)
    names = {key: f"--{name.replace('_', '-')}" for name, key in _IDS.items()}
    names |= {"num_samples": "--samples", "input_dir": "INPUT"}
    known = next((key for key in names if text.startswith(f"{key}=")), None)
    if known is None or not isinstance(cause, (ValueError, FileNotFoundError)):
        return cause
    kind = FileNotFoundError if isinstance(cause, FileNotFoundError) else ValueError
    return kind(names[known] + text.removeprefix(known))
