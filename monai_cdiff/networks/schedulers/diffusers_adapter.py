"""Schedulers of diffusers behind MONAI's step protocol."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ...utils import Generators, PredictionType, check_integer
from .base import Bounds, DiffusionScheduler
from .noise_level import NoiseLevel, Transition

__all__ = ["DiffusersSchedulerAdapter"]


class DiffusersSchedulerAdapter(DiffusionScheduler):
    """A noise scheduler of diffusers, used as one of MONAI's or of this package; diffusers itself is not imported.

    ``step`` returns ``(prev_sample, pred_original_sample)`` and takes one generator per item. Schedulers that work on
    the scale of the original and shrink the network's input themselves (Euler, Heun, LMS, ...) are kept on the scale of
    ``x_t = alpha x_0 + sigma eps`` outside. With ``bounds``, the predicted x0 is bounded before the scheduler sees it,
    voxel by voxel, and so is the sample at the end. One object can serve many calls, one after the other.

    Args:
        scheduler: of diffusers, with a table ``alphas_cumprod`` and a prediction type of epsilon, sample or
            v_prediction, that goes from noise to image; its own settings (spacing, thresholding, clipping) stay in
            force.
        step_kwargs: further arguments of its ``step``, for example ``eta`` for DDIM.

    Raises:
        ValueError: for an object that is no such scheduler, with what it lacks.

    Example:
        A scheduler of diffusers in a pipeline of MONAI::

            from diffusers import UniPCMultistepScheduler
            scheduler = UniPCMultistepScheduler(2000, beta_end=0.02, prediction_type="v_prediction")
            restore = RestorationInferer(DiffusersSchedulerAdapter(scheduler), num_inference_steps=10)
    """

    takes_noise_sources = False  # steps draw as diffusers does

    def __init__(self, scheduler: Any, **step_kwargs: Any) -> None:
        name = type(scheduler).__name__
        for needed in ("alphas_cumprod", "config", "set_timesteps", "step", "scale_model_input"):
            if not hasattr(scheduler, needed):
                raise ValueError(f"scheduler={name} has no {needed}: no scheduler of diffusers with a noise table.")
        accepted = inspect.signature(scheduler.step).parameters
        _check_kind(name, scheduler, accepted)
        prediction_type = scheduler.config.prediction_type
        super().__init__(len(scheduler.alphas_cumprod), prediction_type=prediction_type, clip_sample=False)
        alpha_bar = scheduler.alphas_cumprod.double().cpu()
        self.alphas_cumprod = alpha_bar
        self.alphas = alpha_bar / torch.nn.functional.pad(alpha_bar, (1, 0), value=1.0)[:-1]
        self.betas = 1 - self.alphas
        self.scheduler = scheduler
        # a clipping of its own stays in force inside bounds
        self.clips_itself = any(scheduler.config.get(word, False) for word in ("clip_sample", "thresholding"))
        self.step_kwargs = step_kwargs
        self._takes_generator = "generator" in accepted
        allowed = [word for word in accepted if word not in (*_GIVEN, "generator", "return_dict")]
        unknown = [word for word in step_kwargs if word not in allowed]
        if unknown:
            raise ValueError(f"step_kwargs={unknown} cannot be set for {name}.step; allowed: {', '.join(allowed)}.")
        self.set_timesteps(min(50, self.num_train_timesteps))

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[float] | torch.Tensor | None = None,
        start_timestep: int | None = None,
    ) -> None:
        """Let the scheduler choose its timesteps; ``timesteps`` as far as it takes them, ``start_timestep`` never."""
        name = type(self.scheduler).__name__
        if start_timestep is not None:
            raise ValueError(f"start_timestep={start_timestep!r}: schedulers of diffusers begin at their own start.")
        self._check_one_given(num_inference_steps, timesteps)
        if timesteps is None:
            count = check_integer("num_inference_steps", num_inference_steps, 1, self.num_train_timesteps)
            self._grid_kwargs: dict[str, Any] = {"num_inference_steps": count}
        elif "timesteps" in inspect.signature(self.scheduler.set_timesteps).parameters:
            self._grid_kwargs = {"timesteps": self._check_timesteps(timesteps).tolist()}
        else:
            raise ValueError(f"timesteps={timesteps!r}: {name} chooses them itself; give num_inference_steps.")
        self.scheduler.set_timesteps(**self._grid_kwargs)
        self.timesteps = self.scheduler.timesteps.to(device)
        self.num_inference_steps = len(self.timesteps)
        self._expected = [float(t) for t in self.scheduler.timesteps]  # some visit a timestep twice
        self._position = 0

    def _set_grid(self, grid: torch.Tensor, device: str | torch.device | None = None) -> None:
        if grid[0] < grid[-1]:  # some repeat a timestep or go back a little on their way
            raise ValueError(f"scheduler={type(self.scheduler).__name__} goes from image to noise; it cannot restore.")
        self._grid = grid.to(device)

    def step(
        self,
        model_output: torch.Tensor,
        timestep: int | float | torch.Tensor,
        sample: torch.Tensor,
        generator: Generators = None,
        bounds: Bounds | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Go to the next timestep of the grid; arguments and returns as :py:meth:`DiffusionScheduler.step`.

        Raises:
            ValueError: if ``timestep`` is not the one that comes next in the grid, or the shapes differ.
        """
        self._check_shapes(model_output, sample)
        here = self._arrive(float(timestep))
        x0 = self._restrict(self._predict_x0(model_output, sample, here), bounds)
        if bounds is not None:
            model_output = _FROM_X0[self.prediction_type](x0, sample, *here)
        # the scheduler's own timestep: some look it up by identity of value and type
        own = self.scheduler.timesteps[self._position]
        scale = self._input_scale(own)
        kwargs = {**self.step_kwargs, **({"generator": generator} if self._takes_generator else {})}
        previous = self.scheduler.step(model_output, own, sample / scale, **kwargs).prev_sample
        self._position += 1
        if self._position < len(self._expected):
            previous = previous * self._input_scale(self.scheduler.timesteps[self._position])
        elif bounds is not None:
            previous = self._clamp(previous, bounds)
        return previous.to(sample.dtype), x0

    def _arrive(self, timestep: float) -> NoiseLevel:
        if self._position and timestep == self._expected[0]:
            self.scheduler.set_timesteps(**self._grid_kwargs)  # forgets the run before
            self._position = 0
        if self._position >= len(self._expected) or timestep != self._expected[self._position]:
            raise ValueError(f"timestep={timestep:g} does not come next in the grid; begin at {self._expected[0]:g}.")
        sigmas = getattr(self.scheduler, "sigmas", None)
        if sigmas is not None and len(sigmas) > len(self._expected):
            noise_to_signal = float(sigmas[self._position])
            alpha = (1 + noise_to_signal**2) ** -0.5
            return NoiseLevel(alpha, alpha * noise_to_signal)
        alpha_t, sigma_t = self.scalings(torch.tensor(timestep))
        return NoiseLevel(float(alpha_t), float(sigma_t))

    def _input_scale(self, timestep: torch.Tensor) -> float:
        return float(self.scheduler.scale_model_input(torch.ones(1), timestep))

    def _advance(
        self, x0: torch.Tensor, sample: torch.Tensor, transition: Transition, generator: Generators
    ) -> torch.Tensor:
        raise NotImplementedError("the steps are those of diffusers; see step.")


_GIVEN = ("model_output", "timestep", "sample")


def _check_kind(name: str, scheduler: Any, accepted: Mapping[str, inspect.Parameter]) -> None:
    if scheduler.config.get("prediction_type") not in list(PredictionType):
        found = scheduler.config.get("prediction_type")
        raise ValueError(f"scheduler={name} has prediction_type={found!r}; allowed: {', '.join(PredictionType)}.")
    if "learned" in str(scheduler.config.get("variance_type")):
        raise ValueError(f"scheduler={name} has variance_type={scheduler.config.variance_type!r}; it must be fixed.")
    further = [word for word, p in accepted.items() if p.default is p.empty and word not in _GIVEN]
    if further:
        raise ValueError(f"scheduler={name}: its step needs {', '.join(further)} too, which no sampling loop gives.")


_FROM_X0 = {
    PredictionType.EPSILON.value: lambda x0, sample, alpha, sigma: (sample - alpha * x0) / sigma,
    PredictionType.SAMPLE.value: lambda x0, sample, alpha, sigma: x0,
    PredictionType.V_PREDICTION.value: lambda x0, sample, alpha, sigma: (alpha * sample - x0) / sigma,
}
