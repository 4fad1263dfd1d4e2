"""Registry of timestep grids: which timesteps of the chain a sampler visits.

A spacing is a function ``(num_inference_steps, half_log_snr, **spacing_args) -> timesteps``. ``half_log_snr`` is the
array of ``log(alpha / sigma)`` at each timestep, falling; a start in the middle of the chain gives its first part. The
timesteps are strictly falling float64 numbers from ``len(half_log_snr) - 1`` or less to 0 or more, fractional ones
allowed. ``"trailing"`` ends above 0; ``"leading"`` begins below the noisiest timestep, where there is some image
left.

A new one is added by name::

    @TimestepSpacings.add_def("mine", "every other timestep")
    def _mine(num_inference_steps, half_log_snr): ...
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from monai.utils import ComponentStore

from ...utils import check_number, check_option

__all__ = ["TimestepSpacings", "check_spacing_args"]

TimestepSpacings = ComponentStore("TimestepSpacings", "Functions that choose the timesteps a sampler visits")

# How far the last of n calls of "log1p" may lie from pure noise, in strides of log(1 + alpha / sigma). Below six calls
# it is better to end where noise is left and let the last prediction remove it. Found on 60 random mixtures of normal
# distributions, none of them among those that benchmarks/samplers.py reports.
_LONGEST_STRIDE = 0.85


def check_spacing_args(timestep_spacing: str, spacing_args: dict[str, Any] | None) -> dict[str, Any]:
    """Return the further arguments of a spacing if it takes them, all of them positive numbers.

    Raises:
        ValueError: for a name the spacing does not have, or a value that is not a positive number.
    """
    accepted = list(inspect.signature(TimestepSpacings[timestep_spacing]).parameters)[2:]
    if spacing_args and not accepted:
        raise ValueError(f"spacing_args={spacing_args!r}: timestep_spacing={timestep_spacing!r} takes none.")
    return {
        check_option("spacing_args", name, accepted): check_number(f"spacing_args[{name!r}]", value, 0, open_low=True)
        for name, value in (spacing_args or {}).items()
    }


@TimestepSpacings.add_def("trailing", "equal strides counted back from the noisiest timestep")
def _trailing(num_inference_steps: int, half_log_snr: np.ndarray) -> np.ndarray:
    stride = len(half_log_snr) / num_inference_steps
    return np.round(len(half_log_snr) - stride * np.arange(num_inference_steps)) - 1


@TimestepSpacings.add_def("leading", "equal whole strides counted up from timestep 0")
def _leading(num_inference_steps: int, half_log_snr: np.ndarray) -> np.ndarray:
    stride = len(half_log_snr) // num_inference_steps
    return stride * np.arange(num_inference_steps, dtype=np.float64)[::-1]


@TimestepSpacings.add_def("linspace", "equal strides from the noisiest timestep to timestep 0")
def _linspace(num_inference_steps: int, half_log_snr: np.ndarray) -> np.ndarray:
    return np.round(np.linspace(len(half_log_snr) - 1, 0, num_inference_steps))


@TimestepSpacings.add_def("logsnr", "equal strides in log(alpha_bar / (1 - alpha_bar)), warped by a power")
def _logsnr(num_inference_steps: int, half_log_snr: np.ndarray, power: float = 1.0) -> np.ndarray:
    """``log_snr_T + (log_snr_1 - log_snr_T) (i / (n - 1))^power``; a power below 1 hurries through the noise."""
    log_snr = 2 * half_log_snr
    share = np.linspace(0, 1, num_inference_steps) ** power
    return _timesteps_at(log_snr[-1] + (log_snr[0] - log_snr[-1]) * share, log_snr)


@TimestepSpacings.add_def("log1p", "equal strides in log(1 + scale alpha / sigma)")
def _log1p(num_inference_steps: int, half_log_snr: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Uniform in log-SNR where the image shows, sparse where noise hides it: one stride leaves the pure noise.

    ``scale`` is the size of what is diffused: 1 fits values that fill [-1, 1].
    """
    signal = np.log1p(scale * np.exp(half_log_snr))
    last = min(signal[0], signal[-1] + _LONGEST_STRIDE * num_inference_steps)
    return _timesteps_at(np.linspace(signal[-1], last, num_inference_steps), signal)


@TimestepSpacings.add_def("karras", "equal strides in (sigma / alpha)^(1 / rho), arXiv:2206.00364 eq. 5")
def _karras(num_inference_steps: int, half_log_snr: np.ndarray, rho: float = 7.0) -> np.ndarray:
    root = np.exp(-half_log_snr / rho)
    return _timesteps_at(np.linspace(root[-1], root[0], num_inference_steps), root)


def _timesteps_at(wanted: np.ndarray, of_timestep: np.ndarray) -> np.ndarray:
    """The fractional timesteps at which a quantity, given for each whole timestep, has the wanted values."""
    rising = of_timestep[0] < of_timestep[-1]
    timesteps = np.arange(len(of_timestep), dtype=np.float64)
    known, at = (of_timestep, timesteps) if rising else (of_timestep[::-1], timesteps[::-1])
    found = np.interp(wanted, known, at)
    found[0] = timesteps[-1]
    return found
