"""Tensors on another device, or without what a ``MetaTensor`` carries."""

from __future__ import annotations

import torch

__all__ = ["as_plain", "to_device"]


def to_device(
    tensor: torch.Tensor, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """``tensor.to(device, dtype)`` that does not wait for what a GPU is doing where it need not.

    From the CPU to a GPU the copy is queued behind the GPU's work, which is safe with ordinary memory too: it is read
    before the call returns. From a GPU the values are there only once it has finished, so that waits.

    Args:
        tensor: any tensor.
        device: where to; None: where it is.
        dtype: type of the result; None: the tensor's.
    """
    return tensor.to(device=device, dtype=dtype, non_blocking=tensor.device.type == "cpu")


def as_plain(tensor: torch.Tensor) -> torch.Tensor:
    """The same values as a plain tensor, without the metadata of a ``MetaTensor``."""
    return tensor.as_subclass(torch.Tensor)
