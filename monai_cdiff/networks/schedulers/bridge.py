"""A bridge from the degraded image to the original: the chain starts where the image already is, not from noise."""

from __future__ import annotations

from typing import Any

import torch
from monai.utils import unsqueeze_right

from ...utils import PredictionType, Target, check_number, to_device
from .ddim import DDIMScheduler
from .noise_level import NoiseLevel

__all__ = ["BridgeScheduler"]


class BridgeScheduler(DDIMScheduler):
    """Image-to-image Schroedinger bridge (I2SB, Liu et al., arXiv:2302.05872), made for 1 to 5 calls.

    Between an original ``x_0`` and its degraded counterpart ``y`` the bridge is (proposition 3.3)
    ``x_t = (1 - s) x_0 + s y + kappa sqrt(s (1 - s)) eps``, where the share ``s = 1 - alpha_bar_t`` grows with the
    timestep from 0 to 1. It has noise in between only: a restoration starts from the degraded image itself. The bridge
    is built on the residual ``x_0 - y`` (``Parameterization(target="residual")``), for which the degraded image is 0,
    so add_noise and step need no further argument and ``x_t = alpha x_0 + sigma eps`` with ``alpha = alpha_bar``,
    ``sigma = kappa sqrt(alpha_bar (1 - alpha_bar))``.

    In these coordinates it is, but for the scale of what the network sees, the diffusion of the residual divided by
    ``kappa``: the samples of a perfect network are the same. What differs is the task of an imperfect one, whose input
    fades to the degraded image instead of to noise.

    The network predicts x0 (``"sample"``) or, with ``"v_prediction"``, the paper's target ``(x_t - x_0) / sigma_t``
    (eq. 12), whose ``sigma_t`` is ``kappa sqrt(s)``. A prediction of the noise is refused: there is none at the start.

    Args:
        num_train_timesteps: see :py:class:`DiffusionScheduler`.
        schedule: see :py:class:`DiffusionScheduler`; its ``alpha_bar`` says how far along the bridge a timestep lies.
        eta: share of the bridge's own noise in a step: 1 samples its posterior, 0 is deterministic.
        kappa: strength of the noise in units of what is diffused, more than 0; half of it is the standard deviation in
            the middle of the bridge.
        prediction_type: ``"sample"`` or ``"v_prediction"``.
        kwargs: the other arguments of :py:class:`DiffusionScheduler` and of the schedule.

    Example:
        >>> import torch
        >>> scheduler = BridgeScheduler()
        >>> scheduler.set_timesteps(2)
        >>> residual = torch.zeros(1, 1, 8, 8)
        >>> start = scheduler.add_noise(residual, torch.randn(1, 1, 8, 8), scheduler.timesteps[:1])
        >>> bool(start.abs().max() < 1e-3)  # the degraded image itself
        True
    """

    kappa: torch.Tensor
    target = Target.RESIDUAL.value

    def __init__(
        self,
        num_train_timesteps: int = 2000,
        schedule: str = "linear_beta",
        *,
        eta: float = 1.0,
        kappa: float = 1.0,
        prediction_type: str = PredictionType.V_PREDICTION,
        **kwargs: Any,
    ) -> None:
        if str(prediction_type) == PredictionType.EPSILON:
            raise ValueError(
                "prediction_type='epsilon' does not fit a bridge, which starts without noise; allowed: 'sample', "
                "'v_prediction'."
            )
        super().__init__(num_train_timesteps, schedule, eta=eta, prediction_type=prediction_type, **kwargs)
        self.register_buffer("kappa", torch.tensor(check_number("kappa", kappa, 0, open_low=True), dtype=torch.float64))

    def scalings(self, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``alpha`` and ``sigma`` of ``x_t = alpha x_0 + sigma eps``, where ``x_0`` is the residual."""
        alpha = self.alpha_bar(timesteps)
        return alpha, to_device(self.kappa, alpha.device) * (alpha * (1 - alpha)).sqrt()

    def get_velocity(self, sample: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """``(x_t - x_0) / (kappa sqrt(s))``; arguments as in :py:meth:`add_noise`."""
        alpha, sigma = self._scalings_like(timesteps, sample, noise)
        root = unsqueeze_right(self.alpha_bar(to_device(timesteps, sample.device)), sample.ndim).sqrt().to(sample.dtype)
        return root * noise + (alpha - 1) * root / sigma * sample

    def _predict_x0(self, model_output: torch.Tensor, sample: torch.Tensor, here: NoiseLevel) -> torch.Tensor:
        if self.prediction_type == PredictionType.SAMPLE:
            return model_output
        return sample - here.sigma / here.alpha**0.5 * model_output  # sigma = kappa sqrt(s) sqrt(alpha)
