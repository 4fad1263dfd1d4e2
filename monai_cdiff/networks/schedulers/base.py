"""What every scheduler of a Gaussian diffusion shares: tables, grid, noising and the reading of the network's output.

Notation follows the Med-cDiff paper: ``alpha_bar_t = prod(1 - beta_i)``, and
``x_t = alpha x_0 + sigma eps`` with ``alpha = sqrt(alpha_bar_t)``, ``sigma = sqrt(1 - alpha_bar_t)`` (eq. 3).
Timesteps count from 0, so timestep ``t`` of MONAI and of this package is the paper's ``t + 1``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from monai.networks.schedulers import NoiseSchedules, Scheduler
from monai.utils import unsqueeze_right

from ...utils import Generators, PredictionType, check_integer, check_number, check_option
from .spacings import TimestepSpacings

__all__ = ["Bounds", "DiffusionScheduler"]

Bounds = tuple[torch.Tensor, torch.Tensor] | tuple[float, float]


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
        timestep_spacing: name in :py:data:`TimestepSpacings`: ``"trailing"``, ``"leading"``, ``"linspace"`` or
            ``"logsnr"``. With as many steps as timesteps all of them are the whole chain.
        schedule_args: further arguments of the schedule, for example ``beta_start`` and ``beta_end``.

    Raises:
        ValueError: for an argument outside what is allowed, with its name and value.
    """

    betas: torch.Tensor
    alphas: torch.Tensor
    alphas_cumprod: torch.Tensor

    def __init__(
        self,
        num_train_timesteps: int = 2000,
        schedule: str = "linear_beta",
        prediction_type: str = PredictionType.EPSILON,
        clip_sample: bool = True,
        clip_sample_min: float = -1.0,
        clip_sample_max: float = 1.0,
        timestep_spacing: str = "trailing",
        **schedule_args: Any,
    ) -> None:
        check_integer("num_train_timesteps", num_train_timesteps, 2)
        check_option("schedule", schedule, NoiseSchedules.names)
        super().__init__(num_train_timesteps, schedule, **schedule_args)
        self._register_tables()
        self.prediction_type = check_option("prediction_type", prediction_type, PredictionType)
        self.timestep_spacing = check_option("timestep_spacing", timestep_spacing, TimestepSpacings.names)
        low = check_number("clip_sample_min", clip_sample_min)
        high = check_number("clip_sample_max", clip_sample_max, low=low, open_low=True)
        self.clip_sample = clip_sample
        self.clip_sample_values = [low, high]
        self._set_grid(torch.arange(num_train_timesteps - 1, -1, -1))

    def _register_tables(self) -> None:
        betas = self.betas.double()
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
        saved = state_dict.get(prefix + "betas")
        if saved is not None and not _same_table(saved, self.betas):
            error_msgs: list[str] = args[-1]
            error_msgs.append(f"noise schedule differs: saved {_describe(saved)}; configured {_describe(self.betas)}")
            return
        super()._load_from_state_dict(state_dict, prefix, *args)

    def alpha_bar(self, timesteps: torch.Tensor) -> torch.Tensor:
        """``alpha_bar`` at any timesteps, in float64.

        Between two timesteps its logarithm is linear, as if the rate of noise stayed constant there; at -1 it is 1.

        Args:
            timesteps: numbers from -1 to ``num_train_timesteps - 1``, any shape, fractional allowed.

        Returns:
            A float64 tensor of the same shape, on the device of ``timesteps``.
        """
        log_table = torch.nn.functional.pad(self.alphas_cumprod.to(timesteps.device).log(), (1, 0))
        position = timesteps.double() + 1
        lower = position.floor().clamp(0, self.num_train_timesteps - 1).long()
        return torch.lerp(log_table[lower], log_table[lower + 1], position - lower).exp()

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Choose the timesteps to visit.

        Args:
            num_inference_steps: number of network calls, from 1 to ``num_train_timesteps``.
            device: device of ``timesteps``; leave it on the CPU to step without synchronising with a GPU.

        Raises:
            ValueError: if there are more steps than timesteps, or fewer than one.
        """
        count = check_integer("num_inference_steps", num_inference_steps, 1, self.num_train_timesteps)
        grid = torch.arange(self.num_train_timesteps - 1, -1, -1)
        if count < self.num_train_timesteps:
            chosen = torch.from_numpy(TimestepSpacings[self.timestep_spacing](count, self.alphas_cumprod).copy())
            grid = chosen.long() if torch.equal(chosen, chosen.round()) else chosen.float()
        self.num_inference_steps = count
        self._set_grid(grid, device)

    def _set_grid(self, grid: torch.Tensor, device: str | torch.device | None = None) -> None:
        if grid.numel() > 1 and not bool((grid.diff() < 0).all()):
            raise ValueError(f"timesteps={grid.tolist()} must fall strictly; take fewer steps or another spacing.")
        self.timesteps = grid.to(device)
        alpha_bars = [*self.alpha_bar(grid).tolist(), 1.0]
        self._transitions = {float(t): pair for t, pair in zip(grid.tolist(), zip(alpha_bars, alpha_bars[1:]))}

    def add_noise(self, original_samples: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """``x_t = alpha x_0 + sigma eps`` (eq. 3).

        Args:
            original_samples: x0, shape (B, ...).
            noise: eps, the same shape.
            timesteps: shape (B,), from 0 to ``num_train_timesteps - 1``, fractional allowed.

        Returns:
            x_t with the shape and type of ``original_samples``.
        """
        alpha, sigma = self._scalings(timesteps, original_samples)
        return alpha * original_samples + sigma * noise

    def get_velocity(self, sample: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """``v = alpha eps - sigma x_0`` (arXiv:2202.00512); arguments as in :py:meth:`add_noise`."""
        alpha, sigma = self._scalings(timesteps, sample)
        return alpha * noise - sigma * sample

    def _scalings(self, timesteps: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if timesteps.device.type == "cpu" and not 0 <= timesteps.min() <= timesteps.max() < self.num_train_timesteps:
            raise ValueError(f"timesteps={timesteps.tolist()} must lie from 0 to {self.num_train_timesteps - 1}.")
        alpha_bar = unsqueeze_right(self.alpha_bar(timesteps.to(like.device)), like.ndim)
        return alpha_bar.sqrt().to(like.dtype), (1 - alpha_bar).sqrt().to(like.dtype)

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
            bounds: lowest and highest x0, two numbers or two tensors that broadcast to ``sample``; they replace
                ``clip_sample``.

        Returns:
            The sample at the next timestep and the predicted x0, both of the type of ``sample``.

        Raises:
            ValueError: if ``timestep`` is not in the grid, or the shapes differ.
        """
        transition = self._transitions.get(float(timestep))
        if transition is None:
            raise ValueError(f"timestep={timestep} is not in the grid {self.timesteps.tolist()}; see set_timesteps.")
        if model_output.shape != sample.shape:
            raise ValueError(f"model_output has shape {tuple(model_output.shape)}, sample {tuple(sample.shape)}.")
        working = sample.float() if sample.dtype in (torch.float16, torch.bfloat16) else sample
        x0 = self._predict_x0(model_output.to(working.dtype), working, transition[0], bounds)
        previous = self._advance(x0, working, *transition, generator)
        return previous.to(sample.dtype), x0.to(sample.dtype)

    def _predict_x0(
        self, model_output: torch.Tensor, sample: torch.Tensor, alpha_bar: float, bounds: Bounds | None
    ) -> torch.Tensor:
        x0 = _TO_X0[self.prediction_type](model_output, sample, alpha_bar**0.5, (1 - alpha_bar) ** 0.5)
        if bounds is not None:
            return torch.clamp(x0, *bounds)
        return x0.clamp(*self.clip_sample_values) if self.clip_sample else x0

    @abstractmethod
    def _advance(
        self, x0: torch.Tensor, sample: torch.Tensor, alpha_bar: float, alpha_bar_prev: float, generator: Generators
    ) -> torch.Tensor:
        """The sample at the previous noise level; ``alpha_bar_prev`` is 1 in the last step, which draws no noise."""


_TO_X0: dict[str, Callable[[torch.Tensor, torch.Tensor, float, float], torch.Tensor]] = {
    PredictionType.EPSILON.value: lambda eps, sample, alpha, sigma: (sample - sigma * eps) / alpha,
    PredictionType.SAMPLE.value: lambda x0, sample, alpha, sigma: x0,
    PredictionType.V_PREDICTION.value: lambda v, sample, alpha, sigma: alpha * sample - sigma * v,
}


def _same_table(saved: torch.Tensor, own: torch.Tensor) -> bool:
    return saved.shape == own.shape and torch.allclose(saved.to(own), own, rtol=1e-6, atol=0)


def _describe(betas: torch.Tensor) -> str:
    return f"T={len(betas)}, beta from {betas[0].item():.3g} to {betas[-1].item():.3g}"
