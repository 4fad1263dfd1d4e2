"""One call without noise: the rival that every generative restoration has to be compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type

from ..networks import Parameterization
from ..utils import as_plain, autocast, check_finite, check_flag
from .chain import Hook

__all__ = ["RegressionInferer"]


class RegressionInferer(Inferer):
    """Restores by a network that was trained to return the image, or its residual, from the degraded image alone.

    It stands where :py:class:`RestorationInferer` stands; the network is the same but for the noisy image, which it
    does not get.

    Args:
        parameterization: what the network returns: the image or the scaled residual to the condition.
        amp: run the network under autocast.
        consistency: function ``hook(image, inputs) -> image`` that makes the image agree with what was measured.

    Raises:
        ValueError: for an argument outside what is allowed.

    Example:
        >>> import torch
        >>> restore = RegressionInferer(Parameterization("sample", target="residual"))
        >>> restore(torch.ones(1, 1, 4, 4), torch.zeros_like).sum().item()
        16.0
    """

    num_samples = 1

    def __init__(
        self, parameterization: Parameterization, amp: bool = False, consistency: Hook | None = None
    ) -> None:
        self.parameterization = parameterization
        self.amp = check_flag("amp", amp)
        if consistency is not None and not callable(consistency):
            raise ValueError(f"consistency={consistency!r} must be a function or None.")
        self.consistency = consistency

    @torch.no_grad()
    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Restore a batch of degraded images.

        Args:
            inputs: degraded images, normalised as in training: (B, C, H, W) or (B, C, H, W, D).
            network: called ``network(inputs, *args, **kwargs)``.
            args: passed on to the network.
            kwargs: passed on to the network.

        Returns:
            Restored images (B, C_out, H, W[, D]), of the device, floating type and metadata of ``inputs``.

        Raises:
            ValueError: if the inputs or what the network returns hold NaN.
        """
        condition = check_finite("inputs", as_plain(inputs))
        with autocast(condition.device, self.amp):
            value = network(condition, *args, **kwargs)
        image = self.parameterization.decode(check_finite("the network's output", value.float()), condition)
        if self.consistency is not None:
            image = self.consistency(image, condition)
        return convert_to_dst_type(image.to(condition.dtype), dst=inputs, dtype=condition.dtype)[0]
