"""Training items as a function of (seed, iteration, place in the batch), so that runs can be resumed and split.

Item ``j`` of iteration ``i`` has the position ``i * batch_size + j``. Which image it shows and how it is augmented are
drawn from a generator seeded by ``(seed, position)`` and nothing else: neither the number of workers or processes nor
what was drawn before plays a part.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch.distributed as dist
from monai.transforms import Randomizable
from torch.utils.data import Dataset, Sampler

from ..utils import check_integer, derive_seed

__all__ = ["IterationSampler", "KeyedDataset", "ignore_interrupt"]


class KeyedDataset(Dataset):
    """An endless sequence of randomly transformed items; each pass over the data is a new permutation of it.

    Args:
        data: the items, for example a :py:class:`ItemDataset`.
        transform: applied to a copy of the item, its random state set from ``(seed, position)``.
        seed: seed of everything that is drawn.

    Returns of ``dataset[position]``:
        What the transform returns, with the ``position`` added: the key of the item's noise.

    Raises:
        ValueError: if ``data`` is empty.

    Example:
        >>> dataset = KeyedDataset([{"image": 1.0}, {"image": 2.0}], transform=dict, seed=0)
        >>> sorted(dataset[position]["image"] for position in (6, 7))
        [1.0, 2.0]
    """

    def __init__(
        self, data: Sequence[Mapping[str, Any]], transform: Callable[[dict], dict] | None = None, seed: int = 0
    ) -> None:
        if len(data) == 0:
            raise ValueError("data is empty: there is nothing to train on.")
        self.data = data
        self.transform = transform
        self.seed = check_integer("seed", seed, 0)

    def __getitem__(self, position: int) -> dict[str, Any]:
        epoch, place = divmod(position, len(self.data))
        item = dict(self.data[_permutation(self.seed, epoch, len(self.data))[place]])
        if isinstance(self.transform, Randomizable):
            self.transform.set_random_state(seed=derive_seed(self.seed, "augmentation", position) % 2**32)
        item = self.transform(item) if self.transform is not None else item
        item["position"] = position
        return item


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng(derive_seed(seed, "order", epoch)).permutation(count)


class IterationSampler(Sampler[list[int]]):
    """Batches of positions for a ``KeyedDataset``, for the ``batch_sampler`` of a ``DataLoader``.

    ``batch_size`` counts the items of one iteration over all processes: process ``rank`` of ``world_size`` gets an
    equal, consecutive share, so that training on any number of processes sees the same items.

    Args:
        batch_size: items per iteration over all processes, a multiple of the number of processes.
        num_iterations: where the sequence ends.
        rank: number of this process; default: that of ``torch.distributed``, or 0.
        world_size: number of processes; default: that of ``torch.distributed``, or 1.

    Raises:
        ValueError: if the batch cannot be shared equally.

    Example:
        >>> list(IterationSampler(batch_size=4, num_iterations=2, rank=1, world_size=2))
        [[2, 3], [6, 7]]
    """

    def __init__(
        self, batch_size: int, num_iterations: int, rank: int | None = None, world_size: int | None = None
    ) -> None:
        together = dist.is_available() and dist.is_initialized()
        self.world_size = world_size if world_size is not None else dist.get_world_size() if together else 1
        self.rank = rank if rank is not None else dist.get_rank() if together else 0
        self.batch_size = check_integer("batch_size", batch_size, 1)
        self.num_iterations = check_integer("num_iterations", num_iterations, 1)
        if batch_size % self.world_size:
            raise ValueError(
                f"batch_size={batch_size} counts the items over all processes and must be a multiple of their number, "
                f"{self.world_size}."
            )
        self.iteration = 0

    def set_iteration(self, iteration: int) -> None:
        """Begin the next pass at this iteration: how a resumed run continues in the middle of an epoch."""
        self.iteration = iteration

    def __iter__(self) -> Iterator[list[int]]:
        share = self.batch_size // self.world_size
        for iteration in range(self.iteration, self.num_iterations):
            first = iteration * self.batch_size + self.rank * share
            yield list(range(first, first + share))

    def __len__(self) -> int:
        return self.num_iterations


def ignore_interrupt(worker_id: int) -> None:
    """``worker_init_fn`` for a ``DataLoader``: leave Ctrl-C, which a terminal sends to all, to the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
