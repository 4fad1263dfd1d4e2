"""From a batch of the loader to the arguments of an inferer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.engines import DiffusionPrepareBatch, PrepareBatch
from monai.networks.schedulers import Scheduler
from monai.utils.enums import CommonKeys

from ..networks import Parameterization
from ..utils import as_plain, check_integer, check_number, item_generators, randn

__all__ = ["ConditionalDiffusionPrepareBatch", "RegressionPrepareBatch", "RestorationPrepareBatch"]


class ConditionalDiffusionPrepareBatch(DiffusionPrepareBatch):
    """Draws noise and timesteps for a training batch, and the target that the parameterization asks for.

    Noise and timestep of an item depend on ``(seed, position)`` alone, where the batch carries the ``position`` that
    ``KeyedDataset`` adds; otherwise they come from torch's global generator.

    Args:
        scheduler: adds the noise; its ``num_train_timesteps`` is the range of the timesteps.
        parameterization: what is diffused and predicted.
        condition_name: key of the degraded image in the batch.
        seed: seed of noise and timesteps.
        condition_dropout: share of the items whose condition the network does not see, from 0 to less than 1: what it
            needs for a ``guidance_scale`` in restorations (arXiv:2207.12598).

    Raises:
        ValueError: for an argument outside what is allowed, or if scheduler and parameterization disagree.

    Example:
        >>> import torch
        >>> from monai_cdiff.networks.schedulers import DDPMScheduler
        >>> prepare = ConditionalDiffusionPrepareBatch(DDPMScheduler(), Parameterization())
        >>> batch = {"image": torch.zeros(2, 1, 8, 8), "condition": torch.zeros(2, 1, 8, 8)}
        >>> image, target, args, kwargs = prepare(batch, "cpu")
        >>> sorted(kwargs)
        ['condition', 'noise', 'timesteps']
    """

    def __init__(
        self,
        scheduler: Scheduler,
        parameterization: Parameterization,
        condition_name: str = "condition",
        seed: int = 0,
        condition_dropout: float = 0.0,
    ) -> None:
        super().__init__(scheduler.num_train_timesteps, condition_name)
        parameterization.check_scheduler(scheduler)
        self.scheduler = scheduler
        self.parameterization = parameterization
        self.seed = check_integer("seed", seed, 0)
        self.condition_dropout = check_number("condition_dropout", condition_dropout, 0, 1)
        if self.condition_dropout == 1:
            raise ValueError("condition_dropout=1.0 must be less than 1; the network would never see a condition.")

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor, tuple, dict]:
        """Returns image, target, positional and keyword arguments of the inferer, all on ``device``."""
        image = _to(batchdata[CommonKeys.IMAGE], device, non_blocking, **kwargs)
        condition = _to(batchdata[str(self.condition_name)], device, non_blocking, **kwargs)
        generators = None
        if "position" in batchdata:
            generators = item_generators(self.seed, [f"noise:{int(position)}" for position in batchdata["position"]])
        timesteps = self._draw_timesteps(len(image), generators).to(image.device, non_blocking=non_blocking)
        x0 = self.parameterization.encode(image, condition)
        noise = randn(x0.shape, generators, x0.device, x0.dtype)
        target = self.parameterization.training_target(x0, noise, timesteps, self.scheduler)
        kwargs = {"noise": noise, "timesteps": timesteps, "condition": condition}
        if self.condition_dropout:
            kwargs["dropped"] = self._draw_dropped(len(image), generators).to(image.device, non_blocking=non_blocking)
        return image, target, (), kwargs

    def _draw_dropped(self, count: int, generators: list[torch.Generator] | None) -> torch.Tensor:
        sources: Sequence[torch.Generator | None] = generators or [None] * count
        return torch.cat([torch.rand(1, generator=source) for source in sources]) < self.condition_dropout

    def _draw_timesteps(self, count: int, generators: list[torch.Generator] | None) -> torch.Tensor:
        sources: Sequence[torch.Generator | None] = generators or [None] * count
        draws = [torch.randint(0, self.num_train_timesteps, (1,), generator=source) for source in sources]
        return torch.cat(draws)


class RegressionPrepareBatch(PrepareBatch):
    """Inputs and targets of a network that returns the image, or its residual, from the degraded image alone.

    Args:
        parameterization: what the network is to return.
        condition_name: key of the degraded image in the batch.
        target_name: also give the network the target, by this keyword, as one with a posterior needs; None does not.

    Example:
        >>> prepare = RegressionPrepareBatch(Parameterization("sample"), target_name="target")
        >>> image, condition = torch.ones(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
        >>> inputs, target, args, kwargs = prepare({"image": image, "condition": condition})
        >>> kwargs["target"] is target, inputs.equal(condition)
        (True, True)
    """

    def __init__(
        self, parameterization: Parameterization, condition_name: str = "condition", target_name: str | None = None
    ) -> None:
        self.parameterization = parameterization
        self.condition_name = condition_name
        self.target_name = target_name

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple:
        """Returns the degraded image and the target, on ``device``; with ``target_name`` further arguments too."""
        image = _to(batchdata[CommonKeys.IMAGE], device, non_blocking, **kwargs)
        condition = _to(batchdata[self.condition_name], device, non_blocking, **kwargs)
        target = self.parameterization.encode(image, condition)
        return (condition, target) if self.target_name is None else (condition, target, (), {self.target_name: target})


class RestorationPrepareBatch(PrepareBatch):
    """Inputs and targets of an evaluator that restores: the degraded image goes in, the original is the label.

    Args:
        condition_name: key of the degraded image in the batch.
    """

    def __init__(self, condition_name: str = "condition") -> None:
        self.condition_name = condition_name

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Returns the degraded image and, where there is one, the original, on ``device`` with their metadata."""
        original = batchdata.get(CommonKeys.IMAGE)
        if original is not None:
            original = original.to(device=device, non_blocking=non_blocking, **kwargs)
        return batchdata[self.condition_name].to(device=device, non_blocking=non_blocking, **kwargs), original


def _to(tensor: torch.Tensor, device: str | torch.device | None, non_blocking: bool, **kwargs: Any) -> torch.Tensor:
    return as_plain(tensor).to(device=device, non_blocking=non_blocking, **kwargs)
