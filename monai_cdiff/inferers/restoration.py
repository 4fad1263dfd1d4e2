"""Sampling behind MONAI's ``Inferer`` protocol: a degraded image goes in, a restored one comes out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.networks.schedulers import Scheduler
from monai.utils import convert_to_dst_type

from ..networks import Parameterization
from ..utils import (
    PredictionType,
    Target,
    autocast,
    check_finite,
    check_flag,
    check_integer,
    check_option,
    content_key,
    item_generators,
    randn,
)
from .keys import item_keys
from .stock_schedulers import warn_of_strides

__all__ = ["RestorationInferer"]


class RestorationInferer(Inferer):
    """Restores images by sampling; stands wherever ``SimpleInferer`` stood.

    The noise of an item depends on ``seed`` and the item's key alone, so results do not depend on the batch, the
    order or the number of processes. Keys are given in the call, or read from the metadata (``subject`` and
    ``slice_index``), or else made from the content of the degraded image. A network for 2-D images restores volumes
    slice by slice along the last axis, in batches, if it has an attribute ``spatial_dims``.

    Nested in ``SlidingWindowInferer`` each window draws noise of its own, from its content; tiles that share the noise
    of the whole image are not built yet.

    Args:
        scheduler: the sampler; one of this package, or MONAI's DDPM or DDIM scheduler.
        num_inference_steps: network calls per sample, from 1 to the length of the chain; or the timesteps themselves,
            falling, for schedulers of this package.
        parameterization: what the network predicts; default: of the image, the scheduler's prediction type.
        output: ``"sample"``, ``"mean"`` (one call at the noisiest step: the posterior mean; not with noise prediction)
            or ``"average"`` of ``num_samples`` samples.
        seed: seed of all noise.
        num_samples: samples per image for ``"average"``.
        batch_size: most images or slices in one network call.
        amp: run the network under autocast, on bfloat16 or the type the device is good at; the chain stays float32.
        progress: show a progress bar.
        start_timestep: begin in the middle of the chain, at this timestep, from the condition with the noise that
            belongs there; for schedulers of this package. Default: the noisiest timestep.

    Raises:
        ValueError: for an argument outside what is allowed, or if scheduler and parameterization disagree.

    Warns:
        UserWarning: if the scheduler is MONAI's DDPM or DDIM with fewer calls than its chain is long, which is wrong.

    Example:
        >>> import torch
        >>> from monai_cdiff.networks.nets import ConditionalUNet
        >>> from monai_cdiff.networks.schedulers import DDIMScheduler
        >>> network = ConditionalUNet(2, in_channels=2, out_channels=1, size="tiny")
        >>> restore = RestorationInferer(DDIMScheduler(), num_inference_steps=2)
        >>> tuple(restore(torch.zeros(1, 1, 20, 18, 3), network).shape)
        (1, 1, 20, 18, 3)
    """

    def __init__(
        self,
        scheduler: Scheduler,
        num_inference_steps: int | Sequence[float],
        parameterization: Parameterization | None = None,
        output: str = "sample",
        seed: int = 0,
        num_samples: int = 1,
        batch_size: int = 16,
        amp: bool = False,
        progress: bool = False,
        start_timestep: int | None = None,
    ) -> None:
        self.scheduler: Any = scheduler
        prediction_type = getattr(scheduler, "prediction_type", PredictionType.EPSILON)
        self.parameterization = parameterization or Parameterization(prediction_type)
        self.parameterization.check_scheduler(scheduler)
        self.output = check_option("output", output, ["sample", "mean", "average"])
        self.seed = check_integer("seed", seed, 0)
        self.num_samples = check_integer("num_samples", num_samples, 1)
        if self.num_samples > 1 and self.output != "average":
            raise ValueError(f"num_samples={num_samples} needs output='average'; output={output!r} takes one sample.")
        self.batch_size = check_integer("batch_size", batch_size, 1)
        self.amp = check_flag("amp", amp)
        self.progress = check_flag("progress", progress)
        step: Any = scheduler.step
        self._takes_bounds = "bounds" in inspect.signature(step).parameters
        self._check_scheduler(inspect.signature(step).parameters)
        self.start_timestep = start_timestep
        self.num_inference_steps = self._check_grid(num_inference_steps)
        if self.output != "mean":
            warn_of_strides(scheduler, self.num_inference_steps)

    def _check_scheduler(self, accepted: Any) -> None:
        name = type(self.scheduler).__name__
        if "generator" not in accepted:
            raise ValueError(f"scheduler={name}: its step takes no generator, so its noise cannot be keyed to an item.")
        clips = not self._takes_bounds and getattr(self.scheduler, "clip_sample", False)
        if getattr(self.scheduler, "clips_itself", clips) and self.parameterization.target == Target.RESIDUAL:
            raise ValueError(
                f"scheduler={name} would clip the scaled residual as if it were an image; use clip_sample=False, or a "
                "scheduler of this package."
            )
        if self.output == "mean" and self.parameterization.prediction_type == PredictionType.EPSILON:
            raise ValueError(
                "output='mean' needs a network that predicts x0 or v: at the noisiest step a prediction of the noise "
                "says nothing about the image."
            )

    def _check_grid(self, num_inference_steps: int | Sequence[float]) -> int:
        """Try the grid, so that a wrong one is refused here; return its number of calls."""
        given = isinstance(num_inference_steps, Sequence | torch.Tensor) and not isinstance(num_inference_steps, str)
        if not given:
            check_integer("num_inference_steps", num_inference_steps, 1, self.scheduler.num_train_timesteps)
        self._grid: dict[str, Any] = {"timesteps" if given else "num_inference_steps": num_inference_steps}
        if self.start_timestep is not None:
            self._grid["start_timestep"] = self.start_timestep
        accepted = inspect.signature(self.scheduler.set_timesteps).parameters
        for name, value in self._grid.items():
            if name not in accepted:
                name_of_scheduler = type(self.scheduler).__name__
                raise ValueError(f"{name}={value!r}: the set_timesteps of scheduler={name_of_scheduler} takes none.")
        self.scheduler.set_timesteps(**self._grid)
        return len(self.scheduler.timesteps)

    @torch.no_grad()
    def __call__(
        self,
        inputs: torch.Tensor,
        network: Callable[..., torch.Tensor],
        *args: Any,
        keys: Sequence[int | str] | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Restore a batch of degraded images or volumes.

        Args:
            inputs: degraded images, normalised as in training: (B, C, H, W), or (B, C, H, W, D) for a 3-D network or,
                slice by slice, a 2-D one.
            network: called ``network(x, timesteps, *args, **kwargs)``, ``x`` holding the noisy image and the condition.
            args: passed on to the network.
            keys: one key per item of the batch; what the noise depends on besides ``seed``.
            kwargs: passed on to the network.

        Returns:
            Restored images (B, C_out, H, W[, D]) of the device, floating type and metadata of ``inputs``.

        Raises:
            ValueError: if the inputs hold NaN, or their dimensions or keys do not fit.
        """
        check_finite("inputs", inputs)
        known = item_keys(inputs, keys)
        plain = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        bare: Any = getattr(network, "module", network)
        slicewise = plain.ndim - 2 == getattr(bare, "spatial_dims", plain.ndim - 2) + 1
        if not slicewise and plain.ndim - 2 != getattr(bare, "spatial_dims", plain.ndim - 2):
            raise ValueError(
                f"inputs has shape {tuple(plain.shape)}; a network for {bare.spatial_dims}-D images takes batches of "
                f"{bare.spatial_dims}-D images, or of volumes one dimension higher."
            )
        items = plain.movedim(-1, 1).flatten(0, 1) if slicewise else plain
        if slicewise:
            known = [None if key is None else f"{key}:{z}" for key in known for z in range(plain.shape[-1])]
        restored = self._restore_items(items, network, known, args, kwargs)
        if slicewise:
            restored = restored.unflatten(0, (plain.shape[0], plain.shape[-1])).movedim(1, -1)
        dtype = plain.dtype if plain.is_floating_point() else torch.float32
        return convert_to_dst_type(restored, dst=inputs, dtype=dtype)[0]

    def _restore_items(self, items: torch.Tensor, network: Any, keys: list, args: tuple, kwargs: dict) -> torch.Tensor:
        from tqdm import tqdm

        weights = network.parameters() if isinstance(network, torch.nn.Module) else ()
        device = next(iter(weights), items).device
        self._set_timesteps()
        batches = range(0, len(items), self.batch_size)
        calls = len(batches) * self.num_samples * len(self._timesteps())
        restored: torch.Tensor | None = None
        with tqdm(total=calls, desc="restoring", unit="call", disable=not self.progress) as bar:

            def predict(x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
                with autocast(device, self.amp):
                    output = network(x, timesteps, *args, **kwargs)
                bar.update()
                return output.float()

            for start in batches:
                condition = items[start : start + self.batch_size].to(device=device, dtype=torch.float32)
                names = [content_key(item) if key is None else key for key, item in zip(keys[start:], condition)]
                image = self._restore_batch(condition, predict, names, getattr(network, "module", network))
                if restored is None:
                    restored = image.new_empty((len(items), *image.shape[1:]), device=items.device)
                restored[start : start + len(image)] = image
        if restored is None:
            raise ValueError(f"inputs has shape {tuple(items.shape)}: an empty batch cannot be restored.")
        return restored

    def _restore_batch(self, condition: torch.Tensor, predict: Callable, keys: list, network: Any) -> torch.Tensor:
        channels = getattr(network, "out_channels", 1)
        shape = (len(condition), channels, *condition.shape[2:])
        total = torch.zeros(shape, device=condition.device)
        for index in range(self.num_samples):
            generators = item_generators(self.seed, [f"{key}#{index}" for key in keys])
            total += self.parameterization.decode(self._sample(condition, predict, generators, shape), condition)
        return total / self.num_samples

    def _set_timesteps(self) -> None:
        if self.output != "mean":
            return self.scheduler.set_timesteps(**self._grid)
        if self.start_timestep is None:  # whose first timestep is the noisiest, whatever the spacing
            return self.scheduler.set_timesteps(self.scheduler.num_train_timesteps)
        return self.scheduler.set_timesteps(self.start_timestep + 1, start_timestep=self.start_timestep)

    def _timesteps(self) -> torch.Tensor:
        return self.scheduler.timesteps[:1] if self.output == "mean" else self.scheduler.timesteps

    def _sample(
        self, condition: torch.Tensor, predict: Callable, generators: list[torch.Generator], shape: tuple[int, ...]
    ) -> torch.Tensor:
        bounds = self.parameterization.bounds(condition, shape[1])
        sample = self._start(condition, randn(shape, generators, condition.device))
        # one transfer for the whole chain: no step waits for the device
        on_device = self._timesteps().to(condition.device, dtype=torch.float32)
        x0 = sample
        for index, timestep in enumerate(self._timesteps()):
            x = torch.cat([sample, condition], dim=1)
            output = predict(x, on_device[index].expand(len(x)))
            sample, x0 = self._step(output, timestep, sample, generators, bounds)
        return x0 if self.output == "mean" else sample

    def _start(self, condition: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """The condition in place of the image, as noisy as the first timestep: almost only noise at the noisiest."""
        guess = self.parameterization.encode(condition[:, : noise.shape[1]], condition)
        return self.scheduler.add_noise(guess, noise, self._timesteps()[:1].expand(len(noise)))

    def _step(
        self, output: torch.Tensor, timestep: torch.Tensor, sample: torch.Tensor, generators: list, bounds: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self._takes_bounds:
            return self.scheduler.step(output, timestep, sample, generator=generators, bounds=bounds)
        # MONAI's own take one generator for a whole batch: step item by item, so that each keeps its own noise
        steps = [
            self.scheduler.step(output[i : i + 1], timestep, sample[i : i + 1], generator=generator)
            for i, generator in enumerate(generators)
        ]
        previous, x0 = zip(*steps)
        return torch.cat(previous), torch.cat(x0)
