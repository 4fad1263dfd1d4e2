"""The chain of steps that draws one restoration of a batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..networks import Parameterization
from ..utils import Generators, randn

__all__ = ["Hook", "SamplingChain", "SamplingStep"]

Hook = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclasses.dataclass(frozen=True)
class SamplingStep:
    """What a callback is told after each step of a chain.

    Args:
        index: number of the step, from 0.
        count: steps of the chain.
        timestep: where the network was called.
        sample: the sample after the step, shape (N, C, ...).
        x0: the predicted x0, as :py:class:`Parameterization` encodes it.
    """

    index: int
    count: int
    timestep: float
    sample: torch.Tensor
    x0: torch.Tensor


@dataclasses.dataclass
class SamplingChain:
    """Samples a batch along the timesteps that its scheduler holds.

    Args:
        scheduler: the sampler.
        parameterization: what the network predicts.
        predict: the network, called with the noisy image beside the condition, and timesteps of shape (N,).
        consistency: functions of the image that make it agree with what was measured.
        guidance_scale: strength of the condition; 1 is the network's prediction.
        takes_bounds: whether the scheduler's ``step`` does.
        first_only: stop after the first call, with the predicted x0.
        callback: called after each step.
    """

    scheduler: Any
    parameterization: Parameterization
    predict: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    consistency: Sequence[Callable[[torch.Tensor], torch.Tensor]]
    guidance_scale: float
    takes_bounds: bool
    first_only: bool
    callback: Callable[[SamplingStep], Any] | None

    @property
    def timesteps(self) -> torch.Tensor:
        """The timesteps of the network calls."""
        return self.scheduler.timesteps[:1] if self.first_only else self.scheduler.timesteps

    def __call__(self, condition: torch.Tensor, generators: Generators, channels: int) -> torch.Tensor:
        """Draw a restoration.

        Args:
            condition: shape (N, C, ...), on the device of the network.
            generators: a source of noise per item.
            channels: channels of the image.

        Returns:
            Images, shape (N, channels, ...).

        Raises:
            ValueError: if the network returns NaN or infinite values, with the first step where it did.
        """
        restrict = self._restriction(condition, channels)
        shape = (len(condition), channels, *condition.shape[2:])
        sample = self._start(condition, randn(shape, generators, condition.device))
        # one transfer for the whole chain, and one look at what is finite at its end: no step waits for the device
        on_device = self.timesteps.to(condition.device, dtype=torch.float32)
        finite: list[torch.Tensor] = []
        x0 = sample
        for index, timestep in enumerate(self.timesteps):
            output = self._guided(sample, condition, on_device[index].expand(len(sample)))
            finite.append(torch.isfinite(output).all())
            sample, x0 = self._step(output, timestep, sample, generators, restrict)
            if self.callback is not None:
                self.callback(SamplingStep(index, len(self.timesteps), float(timestep), sample, x0))
        self._check_finite(finite)
        image = self.parameterization.decode(x0 if self.first_only else sample, condition)
        for agree in self.consistency:
            image = agree(image)
        return image

    def _guided(self, sample: torch.Tensor, condition: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        x = torch.cat([sample, condition], dim=1)
        if self.guidance_scale == 1:
            return self.predict(x, timesteps)
        without = torch.cat([sample, torch.zeros_like(condition)], dim=1)
        with_condition, unconditional = self.predict(torch.cat([x, without]), timesteps.repeat(2)).chunk(2)
        return unconditional + self.guidance_scale * (with_condition - unconditional)

    def _restriction(self, condition: torch.Tensor, channels: int) -> Any:
        # without limits of its own an image has none: a scheduler's clip_sample is not asked
        bounds = self.parameterization.bounds(condition, channels) or (-torch.inf, torch.inf)
        if not self.consistency:
            return bounds

        def restrict(x0: torch.Tensor) -> torch.Tensor:
            image = self.parameterization.decode(torch.clamp(x0, *bounds), condition)
            for agree in self.consistency:
                image = agree(image)
            return self.parameterization.encode(image, condition)

        return restrict

    def _start(self, condition: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """The condition in place of the image, as noisy as the first timestep: almost only noise at the noisiest."""
        guess = self.parameterization.encode(condition[:, : noise.shape[1]], condition)
        return self.scheduler.add_noise(guess, noise, self.timesteps[:1].expand(len(noise)))

    def _step(
        self, output: torch.Tensor, timestep: torch.Tensor, sample: torch.Tensor, generators: Any, restrict: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.takes_bounds:
            return self.scheduler.step(output, timestep, sample, generator=generators, bounds=restrict)
        # MONAI's own take one generator for a whole batch: step item by item, so that each keeps its own noise
        steps = [
            self.scheduler.step(output[i : i + 1], timestep, sample[i : i + 1], generator=generator)
            for i, generator in enumerate(generators)
        ]
        previous, x0 = zip(*steps)
        return torch.cat(previous), torch.cat(x0)

    def _check_finite(self, finite: Sequence[torch.Tensor]) -> None:
        good = torch.stack(list(finite)).tolist()
        if not all(good):
            index = good.index(False)
            raise ValueError(
                f"network returned NaN or infinite values in step {index + 1} of {len(good)}, at timestep "
                f"{float(self.timesteps[index]):g}."
            )
