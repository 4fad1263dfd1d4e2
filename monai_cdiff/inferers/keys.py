"""The key of an item: what its noise depends on besides the seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.data import MetaTensor

__all__ = ["item_keys"]


def item_keys(inputs: torch.Tensor, keys: Sequence[int | str] | None = None) -> list[Any]:
    """One key per item of a batch: the given ones, or what the metadata says.

    Args:
        inputs: shape (B, C, ...); a ``MetaTensor`` may carry ``key`` (of the image) or ``subject``, and
            ``slice_index`` in its metadata.
        keys: one per item.

    Returns:
        B keys; None for an item that only its content can identify.

    Raises:
        ValueError: if there is not one key per item.
    """
    if keys is None:
        return _metadata_keys(inputs) if isinstance(inputs, MetaTensor) else [None] * len(inputs)
    if len(keys) != len(inputs):
        raise ValueError(f"keys holds {len(keys)} keys for a batch of {len(inputs)}; give one per item.")
    return list(keys)


def _metadata_keys(inputs: MetaTensor) -> list[str | None]:
    subjects = _per_item(inputs.meta.get("key", inputs.meta.get("subject")), len(inputs))
    slices = _per_item(inputs.meta.get("slice_index"), len(inputs))
    return [
        None if subject is None else str(subject) if z is None else f"{subject}:{int(z)}"
        for subject, z in zip(subjects, slices)
    ]


def _per_item(value: Any, count: int) -> list[Any]:
    if isinstance(value, (list, tuple)) or (isinstance(value, torch.Tensor) and value.ndim):
        return list(value) if len(value) == count else [None] * count
    return [value if count == 1 else None] * count  # one value for many items does not tell them apart
