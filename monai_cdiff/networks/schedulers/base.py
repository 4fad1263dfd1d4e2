"""What every scheduler of a Gaussian diffusion shares: tables, grid, noising and the reading of the network's output.

Notation follows the Med-cDiff paper: ``alpha_bar_t = prod(1 - beta_i)``, and
``x_t = alpha x_0 + sigma eps`` with ``alpha = sqrt(alpha_bar_t)``, ``sigma = sqrt(1 - alpha_bar_t)`` (eq. 3).
Timesteps count from 0, so timestep ``t`` of MONAI and of this package is the paper's ``t + 1``.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.networks.schedulers import NoiseSchedules, Scheduler
from monai.utils import unsqueeze_right

from ...utils import Generators, PredictionType, check_flag, check_integer, check_number, check_option, to_device
from .noise_level import NoiseLevel, Transition
from .spacings import TimestepSpacings, check_spacing_args
from .thresholding import dynamic_threshold

__all__ = ["Bounds", "DiffusionScheduler"]

Bounds = tuple[torch.Tensor, torch.Tensor] | tuple[float, float] | Callable[[torch.Tensor], torch.Tensor]

# What is left of the signal where none is left: far below what float32 can show, and its logarithm is finite.
_NO_SIGNAL = 1e-30


class DiffusionScheduler(Scheduler):
    """Base of the package's schedulers; a subclass says only how to go from one timestep to the next.

    It differs from MONAI's schedulers in what goes wrong there: the previous timestep is the next entry of the grid
    in ``timesteps``; the tables are float64 buffers that no call overwrites and no cast shortens; noise can be drawn
    with one generator per item; the predicted image can be bounded voxel by voxel.

    Args:
        num_train_timesteps: length T of the chain, 2000 in the paper.
        schedule: name in MONAI's ``NoiseSchedules``; the paper's is ``"linear_beta"`` with its default range.
        prediction_type: what the network predicts: ``"epsilon"`` (eq. 19), ``"sample"`` (x0) or ``"v_prediction"``
            (arXiv:2202.00512, ``v = alpha eps - sigma x0``).
        clip_sample: clamp the predicted x0 to ``[clip_sample_min, clip_sample_max]`` in steps without ``bounds``.
        clip_sample_min: lower limit of x0.
        clip_sample_max: upper limit of x0.
        timestep_spacing: name in :py:data:`TimestepSpacings`: ``"log1p"``, ``"logsnr"``, ``"karras"``, ``"trailing"``,
            ``"leading"`` or ``"linspace"``. With as many steps as timesteps all of them are the whole chain.
        spacing_args: further arguments of the spacing, for example ``{"power": 0.8}`` for ``"logsnr"``.
        dynamic_threshold: instead of clamping, scale each item's predicted x0 back into the range (of ``bounds``, two
            numbers then, or of ``clip_sample``) by the quantile given here, from 0 to 1 (arXiv:2205.11487, section
            2.3; the paper's is 0.995); None clamps.
        zero_terminal_snr: rescale the schedule so that nothing of the image is left at the noisiest timestep
            (arXiv:2305.08891, algorithm 1); needs a network that predicts x0 or v, trained with this schedule.
        start_timestep: begin in the middle of the chain, at this whole timestep of at least 1, with a sample made by
            :py:meth:`add_noise` at ``timesteps[0]`` (which ``"leading"`` puts below it); default: the noisiest.
        schedule_args: further arguments of the schedule, for example ``beta_start`` and ``beta_end``.

    Raises:
        ValueError: for an argument outside what is allowed, with its name and value.
    """

    betas: torch.Tensor
    alphas: torch.Tensor
    alphas_cumprod: torch.Tensor
    _transitions: dict[float, Transition] | None
    takes_noise_sources = True  # steps draw by ``utils.randn``

    def __init__(
        self,
        num_train_timesteps: int = 2000,
        schedule: str = "linear_beta",
        *,
        prediction_type: str = PredictionType.EPSILON,
        clip_sample: bool = True,
        clip_sample_min: float = -1.0,
        clip_sample_max: float = 1.0,
        timestep_spacing: str = "log1p",
        spacing_args: dict[str, Any] | None = None,
        dynamic_threshold: float | None = None,
        zero_terminal_snr: bool = False,
        start_timestep: int | None = None,
        **schedule_args: Any,
    ) -> None:
        check_integer("num_train_timesteps", num_train_timesteps, 2)
        self._check_schedule(schedule, schedule_args)
        super().__init__(num_train_timesteps, schedule, **schedule_args)
        if not bool(((self.betas > 0) & (self.betas < 1)).all()):
            low, high = float(self.betas.min()), float(self.betas.max())
            raise ValueError(
                f"schedule={schedule!r} with {schedule_args} gives betas from {low:.3g} to {high:.3g}; each must be "
                "more than 0 and less than 1."
            )
        self.prediction_type = check_option("prediction_type", prediction_type, PredictionType)
        self._register_tables(self._check_terminal_snr(zero_terminal_snr))
        self.timestep_spacing = check_option("timestep_spacing", timestep_spacing, TimestepSpacings.names)
        self.spacing_args = check_spacing_args(self.timestep_spacing, spacing_args)
        low = check_number("clip_sample_min", clip_sample_min)
        high = check_number("clip_sample_max", clip_sample_max, low=low, open_low=True)
        self.clip_sample = check_flag("clip_sample", clip_sample)
        self.clip_sample_values = [low, high]
        if dynamic_threshold is not None:
            dynamic_threshold = check_number("dynamic_threshold", dynamic_threshold, 0, 1)
        self.dynamic_threshold = dynamic_threshold
        if start_timestep is not None:
            start_timestep = check_integer("start_timestep", start_timestep, 1, num_train_timesteps - 1)
        self.start_timestep = start_timestep

    def _check_schedule(self, schedule: str, schedule_args: Mapping[str, Any]) -> None:
        check_option("schedule", schedule, NoiseSchedules.names)
        accepted = list(inspect.signature(NoiseSchedules[schedule]).parameters)[1:]
        unknown = [name for name in schedule_args if name not in accepted]
        if unknown:
            raise ValueError(
                f"{unknown[0]}={schedule_args[unknown[0]]!r} is an argument neither of {type(self).__name__} nor of "
                f"schedule={schedule!r}, which takes {', '.join(accepted)}."
            )

    def _check_terminal_snr(self, zero_terminal_snr: bool) -> bool:
        zero = check_flag("zero_terminal_snr", zero_terminal_snr)
        if zero and self.prediction_type == PredictionType.EPSILON:
            raise ValueError(
                "zero_terminal_snr=True needs prediction_type='sample' or 'v_prediction': where nothing of the image "
                "is left, a prediction of the noise says nothing about it."
            )
        return zero

    def _register_tables(self, zero_terminal_snr: bool) -> None:
        betas = self.betas.double()
        if zero_terminal_snr:
            alpha = torch.cumprod(1 - betas, dim=0).sqrt()
            alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
            alpha_bar = torch.nn.functional.pad(alpha.square(), (1, 0), value=1.0)
            betas = 1 - alpha_bar[1:] / alpha_bar[:-1]
            if not bool((betas[:-1] < 1).all()):
                raise ValueError("zero_terminal_snr=True: this schedule leaves nothing of the image before its end.")
        # MONAI's base sets float32 tables as plain attributes, which would shadow buffers of the same names
        del self.betas, self.alphas, self.alphas_cumprod
        self.register_buffer("betas", betas)
        self.register_buffer("alphas", 1.0 - betas)
        self.register_buffer("alphas_cumprod", torch.cumprod(1.0 - betas, dim=0))

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> DiffusionScheduler:
        tables = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)
        for name, table in tables.items():
            self._buffers[name] = table.to(getattr(self, name).device)  # follows the device, stays float64
        return self

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        own = dict(self.named_buffers(recurse=False))
        saved = {name: state_dict[prefix + name] for name in own if prefix + name in state_dict}
        if not all(_same_table(table, own[name]) for name, table in saved.items()):
            error_msgs: list[str] = args[-1]
            error_msgs.append(f"noise schedule differs: saved {_describe(saved)}; configured {_describe(own)}")
            return
        state_dict.update({prefix + name: own[name] for name in saved})  # the same, and surely in float64
        super()._load_from_state_dict(state_dict, prefix, *args)

    def alpha_bar(self, timesteps: torch.Tensor) -> torch.Tensor:
        """``alpha_bar`` at any timesteps, in float64.

        Between two timesteps its logarithm is linear, as if the rate of noise stayed constant there; at -1 it is 1.

        Args:
            timesteps: numbers from -1 to ``num_train_timesteps - 1``, any shape, fractional allowed.

        Returns:
            A float64 tensor of the same shape, on the device of ``timesteps``.
        """
        table = to_device(self.alphas_cumprod, timesteps.device).clamp(min=_NO_SIGNAL)
        log_table = torch.nn.functional.pad(table.log(), (1, 0))
        position = timesteps.double() + 1
        lower = position.floor().clamp(0, self.num_train_timesteps - 1).long()
        return torch.lerp(log_table[lower], log_table[lower + 1], position - lower).exp()

    def scalings(self, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``alpha`` and ``sigma`` of ``x_t = alpha x_0 + sigma eps``; arguments and type as :py:meth:`alpha_bar`."""
        alpha_bar = self.alpha_bar(timesteps)
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[float] | torch.Tensor | None = None,
        start_timestep: int | None = None,
    ) -> None:
        """Choose the timesteps to visit.

        Args:
            num_inference_steps: number of network calls, from 1 to ``num_train_timesteps``.
            device: device of ``timesteps``; leave it on the CPU to step without synchronising with a GPU.
            timesteps: the timesteps themselves, strictly falling from at most ``num_train_timesteps - 1`` to at least
                0, fractional allowed; instead of a number of calls.
            start_timestep: for this grid, in place of the scheduler's own ``start_timestep``.

        Raises:
            ValueError: if there are more steps than timesteps or fewer than one, both a number of calls and timesteps
                or neither are given, or the timesteps do not fall or leave the chain.
        """
        self._check_one_given(num_inference_steps, timesteps)
        if timesteps is not None:
            if start_timestep is not None:
                raise ValueError(f"start_timestep={start_timestep!r}: the first of timesteps is the start already.")
            grid = self._check_timesteps(timesteps)
        else:
            grid = self._spaced(num_inference_steps, self.start_timestep if start_timestep is None else start_timestep)
        self.num_inference_steps = len(grid)
        self._set_grid(grid, device)
        self._transitions = self._list_transitions(grid)  # here, so that no step reads a table

    @staticmethod
    def _check_one_given(num_inference_steps: Any, timesteps: Any) -> None:
        if (num_inference_steps is None) == (timesteps is None):
            raise ValueError(
                f"num_inference_steps={num_inference_steps!r} and timesteps={timesteps!r}: give one of the two."
            )

    @staticmethod
    def _check_shapes(model_output: torch.Tensor, sample: torch.Tensor) -> None:
        if model_output.shape != sample.shape:
            raise ValueError(f"model_output has shape {tuple(model_output.shape)}, sample {tuple(sample.shape)}.")

    def _spaced(self, num_inference_steps: Any, start_timestep: int | None) -> torch.Tensor:
        last = self.num_train_timesteps - 1
        start = last if start_timestep is None else check_integer("start_timestep", start_timestep, 1, last)
        count = check_integer("num_inference_steps", num_inference_steps, 1, start + 1)
        if count == start + 1:
            return torch.arange(start, -1, -1)
        spacing = TimestepSpacings[self.timestep_spacing]
        alpha, sigma = self.scalings(torch.arange(self.num_train_timesteps))
        half_log_snr = (alpha / sigma).log().numpy()
        if alpha[-1] ** 2 <= _NO_SIGNAL:
            half_log_snr[-1] = half_log_snr[-2]
        # the chain up to the start is a chain of its own
        return _whole_if_possible(spacing(count, half_log_snr[: start + 1], **self.spacing_args).copy())

    def _check_timesteps(self, timesteps: Sequence[float] | torch.Tensor) -> torch.Tensor:
        values = timesteps.tolist() if isinstance(timesteps, torch.Tensor | np.ndarray) else timesteps
        last = self.num_train_timesteps - 1
        refusal = f"timesteps={values!r} must be one or more numbers that fall strictly, from at most {last}."
        if not isinstance(values, Sequence) or isinstance(values, str | bytes) or not values:
            raise ValueError(refusal)
        grid = _whole_if_possible([check_number(f"timesteps[{i}]", value, 0, last) for i, value in enumerate(values)])
        if not bool((grid.diff() < 0).all()):
            raise ValueError(refusal)
        return grid

    @property
    def timesteps(self) -> torch.Tensor:
        """The timesteps to visit, falling; a part of them may be assigned."""
        return self._grid

    @timesteps.setter
    def timesteps(self, grid: torch.Tensor) -> None:
        self._set_grid(grid)

    def _set_grid(self, grid: torch.Tensor, device: str | torch.device | None = None) -> None:
        if grid.numel() > 1 and not bool((grid.diff() < 0).all()):
            raise ValueError(f"timesteps={_shortened(grid)} must fall strictly; take fewer steps or another spacing.")
        self._grid = grid.to(device)
        self._transitions = None

    def _transition(self, timestep: int | float | torch.Tensor) -> Transition:
        if self._transitions is None:
            self._transitions = self._list_transitions(self._grid.cpu())
        found = self._transitions.get(float(timestep))
        if found is None:
            raise ValueError(f"timestep={timestep} is not in the grid {_shortened(self._grid)}; see set_timesteps.")
        return found

    def _list_transitions(self, grid: torch.Tensor) -> dict[float, Transition]:
        alpha, sigma = self.scalings(torch.cat([grid, grid.new_tensor([-1])]))
        levels = [NoiseLevel(*pair) for pair in zip(alpha.tolist(), sigma.tolist())]
        steps = enumerate(zip(grid.tolist(), levels, levels[1:]))
        return {float(t): Transition(place, here, there) for place, (t, here, there) in steps}

    def add_noise(self, original_samples: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """``x_t = alpha x_0 + sigma eps`` (eq. 3).

        Args:
            original_samples: x0, shape (B, ...).
            noise: eps, the same shape.
            timesteps: shape (B,), from 0 to ``num_train_timesteps - 1``, fractional allowed.

        Returns:
            x_t with the shape and type of ``original_samples``.
        """
        alpha, sigma = self._scalings_like(timesteps, original_samples, noise)
        return alpha * original_samples + sigma * noise

    def get_velocity(self, sample: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """``v = alpha eps - sigma x_0`` (arXiv:2202.00512); arguments as in :py:meth:`add_noise`."""
        alpha, sigma = self._scalings_like(timesteps, sample, noise)
        return alpha * noise - sigma * sample

    def _scalings_like(
        self, timesteps: torch.Tensor, like: torch.Tensor, noise: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        last = self.num_train_timesteps - 1
        if noise.shape != like.shape:
            raise ValueError(f"noise has shape {tuple(noise.shape)}; the sample has {tuple(like.shape)}.")
        if timesteps.device.type == "cpu" and not bool(((timesteps >= 0) & (timesteps <= last)).all()):
            raise ValueError(f"timesteps={timesteps.tolist()} must lie from 0 to {last}.")
        alpha, sigma = self.scalings(to_device(timesteps, like.device))
        return unsqueeze_right(alpha, like.ndim).to(like.dtype), unsqueeze_right(sigma, like.ndim).to(like.dtype)

    def step(
        self,
        model_output: torch.Tensor,
        timestep: int | float | torch.Tensor,
        sample: torch.Tensor,
        generator: Generators = None,
        bounds: Bounds | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Go from ``timestep`` to the next one of the grid, or from the last one to x0.

        Args:
            model_output: what the network predicted for ``sample``, of kind ``prediction_type``.
            timestep: an entry of ``timesteps``.
            sample: x_t, shape (B, C, ...).
            generator: source of noise for stochastic steps; a list holds one generator per item of the batch.
            bounds: lowest and highest x0, two numbers or two tensors that broadcast to ``sample``; they replace the
                range of ``clip_sample``. Or a function that returns an allowed x0 for any.

        Returns:
            The sample at the next timestep and the predicted x0, both of the type of ``sample``.

        Raises:
            ValueError: if ``timestep`` is not in the grid, or the shapes differ.
        """
        transition = self._transition(timestep)
        self._check_shapes(model_output, sample)
        if not sample.is_floating_point():
            raise ValueError(f"sample has type {sample.dtype}; it must be of a floating point type.")
        working = sample.float() if sample.dtype in (torch.float16, torch.bfloat16) else sample
        x0 = self._restrict(self._predict_x0(model_output.to(working.dtype), working, transition.here), bounds)
        previous = self._advance(x0, working, transition, generator)
        if transition.is_last:
            previous = self._clamp(previous, bounds)
        return previous.to(sample.dtype), x0.to(sample.dtype)

    def _predict_x0(self, model_output: torch.Tensor, sample: torch.Tensor, here: NoiseLevel) -> torch.Tensor:
        return _TO_X0[self.prediction_type](model_output, sample, *here)

    def _restrict(self, x0: torch.Tensor, bounds: Bounds | None) -> torch.Tensor:
        if self.dynamic_threshold is None or callable(bounds):
            return self._clamp(x0, bounds)
        low, high = self.clip_sample_values if bounds is None else bounds
        if isinstance(low, torch.Tensor) or isinstance(high, torch.Tensor):
            raise ValueError("bounds: dynamic_threshold needs two numbers, not a tensor per voxel.")
        return dynamic_threshold(x0, self.dynamic_threshold, low, high)

    def _clamp(self, x0: torch.Tensor, bounds: Bounds | None) -> torch.Tensor:
        if callable(bounds):
            return bounds(x0)
        if bounds is not None:
            return torch.clamp(x0, *bounds)
        return x0.clamp(*self.clip_sample_values) if self.clip_sample else x0

    @abstractmethod
    def _advance(
        self, x0: torch.Tensor, sample: torch.Tensor, transition: Transition, generator: Generators
    ) -> torch.Tensor:
        """The sample at the noise level ``transition.there``; the last step goes to x0 and draws no noise."""


_TO_X0: dict[str, Callable[[torch.Tensor, torch.Tensor, float, float], torch.Tensor]] = {
    PredictionType.EPSILON.value: lambda eps, sample, alpha, sigma: (sample - sigma * eps) / alpha,
    PredictionType.SAMPLE.value: lambda x0, sample, alpha, sigma: x0,
    PredictionType.V_PREDICTION.value: lambda v, sample, alpha, sigma: alpha * sample - sigma * v,
}


def _whole_if_possible(grid: Any) -> torch.Tensor:
    chosen = torch.as_tensor(grid, dtype=torch.float64)
    return chosen.long() if torch.equal(chosen, chosen.round()) else chosen.float()


def _same_table(saved: torch.Tensor, own: torch.Tensor) -> bool:
    return saved.shape == own.shape and torch.allclose(saved.to(own), own, rtol=1e-6, atol=0)


def _describe(tables: Mapping[str, torch.Tensor]) -> str:
    betas = tables.get("betas", torch.full((2,), torch.nan))
    numbers = [f", {name}={table.item():.3g}" for name, table in tables.items() if table.ndim == 0]
    return f"T={len(betas)}, beta from {betas[0].item():.3g} to {betas[-1].item():.3g}" + "".join(numbers)


def _shortened(grid: torch.Tensor) -> str:
    values = [f"{value:.9g}" for value in grid.tolist()]
    return f"[{', '.join(values if len(values) < 12 else [*values[:5], '...', *values[-5:]])}]"
