"""The check of a call that all networks of images share."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["check_network_call"]

_CONCATENATE = "leave it None and concatenate the condition to x as channels (conditioning_mode='concat')."
_HINTS = {
    "context": _CONCATENATE,
    "class_labels": _CONCATENATE,
    "timesteps": "leave it None; it restores in one call, by RegressionInferer, and is no part of a diffusion.",
}


def check_network_call(network: Any, x: torch.Tensor, **unused: Any) -> None:
    """Refuse a call whose ``x`` has another shape than the network takes, or with an argument that it does not use.

    Args:
        network: has ``spatial_dims`` and ``in_channels``.
        x: its input.
        unused: arguments of MONAI's signature that this network knows nothing of; None passes.

    Raises:
        ValueError: with the name, the value and what is allowed.
    """
    name = type(network).__name__
    for argument, value in unused.items():
        if value is not None:
            raise ValueError(f"{argument} was given, but {name} does not use it: {_HINTS[argument]}")
    dims, channels = network.spatial_dims, network.in_channels
    if x.ndim != dims + 2 or x.shape[1] != channels or 0 in x.shape[2:]:
        raise ValueError(
            f"x has shape {tuple(x.shape)}; expected (B, {channels}, {', '.join(('H', 'W', 'D')[:dims])}) with sizes "
            f"from 1, for spatial_dims={dims} and in_channels={channels}."
        )
