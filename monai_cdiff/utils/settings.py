"""What the settings of a bundle may be: one table, checked before any data are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from .checks import check_flag, check_integer, check_number, check_option
from .enums import DownsampleDomain
from .tiles import check_roi_size

__all__ = ["check_settings"]

Check: TypeAlias = "Callable[[str, Any], Any]"


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse a setting of a bundle that is not what it may be, by its name and with what is allowed.

    Args:
        settings: values by the ids that a command line overrides.

    Raises:
        ValueError: for the first value that is out of range or of another kind, or a name that is not in the table.

    Example:
        >>> check_settings({"batch_size": 8, "noise": {"std": 0.1, "amount": 0.05}})
    """
    for name, value in settings.items():
        _SETTINGS[check_option("settings", name, _SETTINGS)](name, value)


def _whole(low: int, high: int | None = None) -> Check:
    return partial(check_integer, low=low, high=high)


def _number(low: float, high: float = float("inf"), open_low: bool = False) -> Check:
    return partial(check_number, low=low, high=high, open_low=open_low)


def _option(*options: str) -> Check:
    return partial(check_option, options=options)


def _or_none(check: Check) -> Check:
    return lambda name, value: None if value is None else check(name, value)


def _list(check: Check) -> Check:
    """At least one value, in a list."""

    def check_list(name: str, value: Any) -> None:
        if not _is_list(value) or not value:
            raise ValueError(f'{name}={value!r} must be a list of at least one value, as in --{name} "[2, 4]".')
        for n, one in enumerate(value):
            check(f"{name}[{n}]", one)

    return check_list


def _steps(name: str, value: Any) -> None:
    """A number of calls, or the timesteps themselves."""
    if _is_list(value):
        _list(_number(0.0))(name, value)
    else:
        check_integer(name, value, 1)


def _range(low: float, high: float = float("inf"), open_low: bool = False) -> Check:
    """The lowest and the highest of a range, as a list."""

    def check_range(name: str, value: Any) -> None:
        if not _is_list(value) or len(value) != 2:
            raise ValueError(f"{name}={value!r} must be a list of the lowest and the highest value.")
        least = check_number(f"{name}[0]", value[0], low, high, open_low)
        check_number(f"{name}[1]", value[1], least, high)

    return check_range


def _dictionary(**checks: Check) -> Check:
    """A dictionary with exactly these keys."""
    keys = ", ".join(map(repr, checks))

    def check_dictionary(name: str, value: Any) -> None:
        if not isinstance(value, Mapping):
            raise ValueError(f"{name}={value!r} must be a dictionary with the keys {keys}.")
        for key in value:
            check_option(f"key of {name}", key, checks)
        missing = [key for key in checks if key not in value]
        if missing:
            lacking = ", ".join(map(repr, missing))
            raise ValueError(f"{name}={dict(value)!r} lacks {lacking}; it must have the keys {keys}.")
        for key, check in checks.items():
            check(f"{name}[{key!r}]", value[key])

    return check_dictionary


def _normalisation(name: str, value: Any) -> None:
    percentile = _number(0.0, 100.0)
    _dictionary(lower=percentile, upper=percentile, ref_key=_option("image", "condition"))(name, value)
    if value["lower"] >= value["upper"]:
        raise ValueError(f"{name}={dict(value)!r}: lower must be less than upper.")


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


_MASK = _dictionary(area=_range(0.0, 0.9, open_low=True), max_pieces=_whole(1))
_FACTOR = _number(1.0, open_low=True)

# setting -> what it may be
_SETTINGS: dict[str, Check] = {
    **dict.fromkeys(
        ("max_iterations", "batch_size", "patch_size", "val_interval", "checkpoint_interval", "val_images"), _whole(1)
    ),
    **dict.fromkeys(("seed", "split_seed", "noise_seed", "mask_seed", "num_workers", "neighbours"), _whole(0)),
    **dict.fromkeys(("image_size", "val_slices_per_volume", "num_samples"), _or_none(_whole(1))),
    **dict.fromkeys(("amp", "consistent", "overwrite"), check_flag),
    **dict.fromkeys(("condition_dropout", "noise_correlation"), _number(0.0, 1.0)),
    **dict.fromkeys(("mask", "training_mask"), _MASK),
    "fill": _option("mean", "harmonic"),
    "spatial_dims": _whole(2, 3),
    "learning_rate": _number(0.0, open_low=True),
    "num_inference_steps": _steps,
    "output": _option("sample", "mean", "average", "antithetic"),
    "guidance_scale": _number(0.0),
    "roi_size": _or_none(lambda name, value: check_roi_size(value)),
    "factor": _FACTOR,
    "factors": _list(_FACTOR),
    "domain": partial(check_option, options=DownsampleDomain),
    "noise": _dictionary(std=_number(0.0), amount=_number(0.0, 1.0)),
    "training_noise": _dictionary(std_range=_range(0.0), amount_range=_range(0.0, 1.0)),
    "normalisation": _normalisation,
}
