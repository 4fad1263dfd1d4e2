"""One object that says what the network predicts, read by training, sampling and checkpoints alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from monai.networks.schedulers import Scheduler

from ..utils import PredictionType, Target, check_number, check_option

__all__ = ["Parameterization"]


@dataclasses.dataclass(frozen=True)
class Parameterization:
    """What is diffused and what the network predicts of it.

    The diffused value x0 is either the image or its residual to the condition, scaled so that its spread fits the
    noise: ``x0 = (image - condition) * residual_scale``. Of ``x_t`` the network predicts the noise, x0 or v.

    Args:
        prediction_type: ``"epsilon"`` (the paper, eq. 19), ``"sample"`` (x0) or ``"v_prediction"``.
        target: ``"image"`` (the paper) or ``"residual"``.
        residual_scale: factor on the residual, more than 0; not used for ``"image"``.
        image_min: lowest value an image can have, or None for no limit.
        image_max: highest value an image can have, or None for no limit.

    Raises:
        ValueError: for an argument outside what is allowed, with its name and value.

    Example:
        >>> import torch
        >>> p = Parameterization("v_prediction", "residual", residual_scale=3.0)
        >>> image, condition = torch.full((1, 1, 4, 4), 0.5), torch.full((1, 1, 4, 4), 0.25)
        >>> p.encode(image, condition)[0, 0, 0, 0].item()
        0.75
        >>> p.decode(p.encode(image, condition), condition).equal(image)
        True
    """

    prediction_type: str = PredictionType.EPSILON.value
    target: str = Target.IMAGE.value
    residual_scale: float = 1.0
    image_min: float | None = -1.0
    image_max: float | None = 1.0

    def __post_init__(self) -> None:
        checked = {
            "prediction_type": check_option("prediction_type", self.prediction_type, PredictionType),
            "target": check_option("target", self.target, Target),
            "residual_scale": check_number("residual_scale", self.residual_scale, low=0, open_low=True),
        }
        for name in ("image_min", "image_max"):
            value = getattr(self, name)
            checked[name] = None if value is None else check_number(name, value)
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if None not in (self.image_min, self.image_max) and self._low >= self._high:
            raise ValueError(f"image_min={self.image_min} must be less than image_max={self.image_max}.")

    @property
    def _low(self) -> float:
        return -torch.inf if self.image_min is None else self.image_min

    @property
    def _high(self) -> float:
        return torch.inf if self.image_max is None else self.image_max

    def encode(self, image: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        """The diffused value x0 of an image.

        Args:
            image: shape (B, C, ...), normalised intensities.
            condition: shape (B, C', ...) with C' >= C; its first C channels are the image's counterpart. Needed for
                the residual only.
        """
        if self.target == Target.IMAGE:
            return image
        return (image - self._reference(condition, image.shape[1])) * self.residual_scale

    def decode(self, value: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        """The image of a diffused value, the inverse of :py:meth:`encode`."""
        if self.target == Target.IMAGE:
            return value
        return value / self.residual_scale + self._reference(condition, value.shape[1])

    def bounds(
        self, condition: torch.Tensor | None = None, channels: int = 1
    ) -> tuple[torch.Tensor, torch.Tensor] | tuple[float, float] | None:
        """Lowest and highest x0 of an image within its limits: for the residual, a tensor per voxel.

        Args:
            condition: as in :py:meth:`encode`.
            channels: channels of the image.

        Returns:
            ``(low, high)`` for a scheduler's ``step``, or None where the image has no limits.
        """
        if self.image_min is None and self.image_max is None:
            return None
        if self.target == Target.IMAGE:
            return self._low, self._high
        reference = self._reference(condition, channels)
        return (self._low - reference) * self.residual_scale, (self._high - reference) * self.residual_scale

    def training_target(
        self, x0: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, scheduler: Scheduler
    ) -> torch.Tensor:
        """What the network should predict of ``scheduler.add_noise(x0, noise, timesteps)``; shape of ``x0``."""
        if self.prediction_type == PredictionType.EPSILON:
            return noise
        if self.prediction_type == PredictionType.SAMPLE:
            return x0
        return scheduler.get_velocity(x0, noise, timesteps)

    def check_scheduler(self, scheduler: Any) -> None:
        """Raise a ``ValueError`` if the scheduler takes the network's output or what is diffused for another."""
        theirs = getattr(scheduler, "prediction_type", self.prediction_type)
        if str(theirs) != self.prediction_type:
            raise ValueError(
                f"scheduler.prediction_type={str(theirs)!r} differs from the parameterization's "
                f"prediction_type={self.prediction_type!r}; the scheduler would misread the network's output."
            )
        threshold = getattr(scheduler, "dynamic_threshold", None)
        if threshold is not None and (self.target == Target.RESIDUAL or None in (self.image_min, self.image_max)):
            raise ValueError(
                f"dynamic_threshold={threshold} of the scheduler needs target='image', image_min and image_max; the "
                f"parameterization has target={self.target!r}, {self.image_min} and {self.image_max}."
            )
        if getattr(scheduler, "target", self.target) != self.target:
            raise ValueError(
                f"scheduler={type(scheduler).__name__} needs target={scheduler.target!r}; the parameterization has "
                f"target={self.target!r}."
            )

    def state_dict(self) -> dict[str, Any]:
        """The fields as plain values, for checkpoints and metadata."""
        return dataclasses.asdict(self)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Check a checkpoint's parameterization against this one.

        Raises:
            ValueError: if they differ; the message shows both.
        """
        if dict(state_dict) != self.state_dict():
            raise ValueError(f"parameterization differs: saved {dict(state_dict)}; configured {self.state_dict()}.")

    @staticmethod
    def _reference(condition: torch.Tensor | None, channels: int) -> torch.Tensor:
        if condition is None:
            raise ValueError("condition=None: a residual needs the condition it is a residual to.")
        if condition.shape[1] < channels:
            raise ValueError(f"condition has {condition.shape[1]} channels; the image's {channels} are needed first.")
        return condition[:, :channels]
