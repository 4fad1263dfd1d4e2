"""Sampling behind MONAI's ``Inferer`` protocol: a degraded image goes in, a restored one comes out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer
from monai.networks.schedulers import Scheduler
from monai.utils import convert_to_dst_type

from ..networks import Parameterization
from ..utils import (
    NoiseSource,
    PredictionType,
    Target,
    as_plain,
    autocast,
    check_finite,
    check_flag,
    check_integer,
    check_number,
    check_option,
    content_key,
    item_generators,
)
from .call import NetworkCall
from .chain import Hook, SamplingChain, SamplingStep
from .draws import Draws, average, moments
from .keys import item_keys
from .slices import Pass, SliceSettings, slice_pass
from .stock_schedulers import warn_of_strides

__all__ = ["RestorationInferer"]


class RestorationInferer(Inferer):
    """Restores images by sampling; stands wherever ``SimpleInferer`` stood.

    The noise of a voxel depends on ``seed``, the item's key and its place in the item alone, so results do not depend
    on the batch, the order or the number of processes. Keys are given in the call, or read from the metadata
    (``subject`` and ``slice_index``), or else made from the content of the degraded image. A network for 2-D images (it
    says ``spatial_dims=2``, or all its convolutions are 2-D) restores volumes slice by slice, in batches. Large images
    and volumes go through :py:class:`TiledNetwork`, in place of the network. One scheduler serves one call at a time.

    Args:
        scheduler: the sampler; one of this package, or MONAI's DDPM or DDIM scheduler.
        num_inference_steps: network calls per sample, from 1 to the length of the chain; or the timesteps themselves,
            falling, for schedulers of this package.
        parameterization: what the network predicts; default: of the image, the scheduler's prediction type.
        output: ``"mean"`` (one call at the noisiest step: the posterior mean; not with noise prediction) and
            ``"antithetic"`` (the average of pairs whose noise is mirrored) have the smallest error, ``"sample"`` the
            texture of an original, ``"average"`` of ``num_samples`` samples lies between.
        seed: seed of all noise.
        num_samples: samples per image for ``"average"`` and, an even number, for ``"antithetic"``, by default 2 for it.
        batch_size: most images or slices in one network call; half of them with guidance, which needs each twice.
        amp: run the network under autocast, on bfloat16 or the type the device is good at; the chain stays float32.
        progress: show a progress bar.
        slices: how volumes go through a network for 2-D images; default: along the last axis, each slice on its own.
        guidance_scale: strength of the condition: 1 takes the network's prediction, more goes further from what the
            network predicts without a condition (arXiv:2207.12598), which it must have learned by dropping it in
            training; doubles the calls.
        consistency: functions ``hook(image, inputs) -> image`` that make an image agree with what was measured, one
            after another; for the predicted image of every step and for the result. They get the item as it went into
            the network, a slice of a volume for a 2-D network.

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
        num_samples: int | None = None,
        batch_size: int = 16,
        amp: bool = False,
        progress: bool = False,
        slices: SliceSettings | None = None,
        guidance_scale: float = 1.0,
        consistency: Hook | Sequence[Hook] | None = None,
    ) -> None:
        self.scheduler: Any = scheduler
        prediction_type = getattr(scheduler, "prediction_type", PredictionType.EPSILON)
        self.parameterization = parameterization or Parameterization(prediction_type)
        self.parameterization.check_scheduler(scheduler)
        self.output = check_option("output", output, ["sample", "mean", "average", "antithetic"])
        self.seed = check_integer("seed", seed, 0)
        self.num_samples = self._check_samples(num_samples)
        self.batch_size = check_integer("batch_size", batch_size, 1)
        self.amp = check_flag("amp", amp)
        self.progress = check_flag("progress", progress)
        self.slices = SliceSettings() if slices is None else slices
        if not isinstance(self.slices, SliceSettings):
            raise ValueError(f"slices={slices!r} must be SliceSettings(...) or None.")
        self.guidance_scale = check_number("guidance_scale", guidance_scale, 0)
        self.consistency = self._check_hooks(consistency)
        step: Any = scheduler.step
        self._takes_bounds = "bounds" in inspect.signature(step).parameters
        self._check_scheduler(inspect.signature(step).parameters)
        self.num_inference_steps = self._check_grid(num_inference_steps)
        if self.output != "mean":
            warn_of_strides(scheduler, self.num_inference_steps)

    def _check_samples(self, num_samples: int | None) -> int:
        count = (2 if self.output == "antithetic" else 1) if num_samples is None else num_samples
        count = check_integer("num_samples", count, 1)
        if count > 1 and self.output not in ("average", "antithetic"):
            raise ValueError(f"num_samples={count} needs output='average'; output={self.output!r} takes one sample.")
        if count % 2 and self.output == "antithetic":
            raise ValueError(f"num_samples={count} must be even: output='antithetic' averages pairs.")
        return count

    def _check_hooks(self, consistency: Any) -> list[Hook]:
        hooks = [consistency] if callable(consistency) else consistency or []
        if not isinstance(hooks, Sequence) or not all(map(callable, hooks)):
            raise ValueError(f"consistency={consistency!r} must be a function, a list of functions or None.")
        planar = next((type(hook).__name__ for hook in hooks if hasattr(hook, "spatial_axes")), None)
        if planar and self.slices.axes != (2,):
            raise ValueError(
                f"slices.axis={self.slices.axis!r}: {planar} works in the planes of the last axis; "
                "take axis=-1 with it."
            )
        return list(hooks)

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
        if self.consistency and not self._takes_bounds:
            raise ValueError(
                f"scheduler={name}: consistency holds the predicted image of every step, which needs a scheduler of "
                "this package or its adapter."
            )
        limited = getattr(self.scheduler, "dynamic_threshold", None) is not None
        if self.consistency and (limited or getattr(self.scheduler, "clips_itself", False)):
            raise ValueError(f"scheduler={name}: its thresholding or clipping and consistency cannot both bound x0.")
        mixes = self.output == "antithetic" or 0 < self.slices.noise_correlation < 1
        if mixes and not getattr(self.scheduler, "takes_noise_sources", False):
            raise ValueError(
                f"scheduler={name} draws from torch's generators only; output='antithetic' and a noise_correlation "
                "between 0 and 1 need a scheduler of this package."
            )

    def _check_grid(self, num_inference_steps: int | Sequence[float]) -> int:
        """Try the grid, so that a wrong one is refused here; return its number of calls."""
        several = isinstance(num_inference_steps, Sequence | torch.Tensor | np.ndarray)
        given = several and not isinstance(num_inference_steps, str) and np.ndim(num_inference_steps) > 0
        if not given:
            check_integer("num_inference_steps", num_inference_steps, 1, self.scheduler.num_train_timesteps)
        name = "timesteps" if given else "num_inference_steps"
        if name not in inspect.signature(self.scheduler.set_timesteps).parameters:
            kind = type(self.scheduler).__name__
            raise ValueError(f"{name}={num_inference_steps!r}: the set_timesteps of scheduler={kind} takes none.")
        self._grid: dict[str, Any] = {name: num_inference_steps}
        self.scheduler.set_timesteps(**self._grid)
        count = len(self.scheduler.timesteps)
        if self.output == "mean":
            self._set_timesteps()
            first, last = float(self.scheduler.timesteps[0]), self.scheduler.num_train_timesteps - 1
            if first > last:
                raise ValueError(f"scheduler begins at timestep {first:g}; its noise table ends at {last}.")
        return count

    @torch.no_grad()
    def __call__(
        self,
        inputs: torch.Tensor,
        network: Callable[..., torch.Tensor],
        *args: Any,
        keys: Sequence[int | str] | None = None,
        callback: Callable[[SamplingStep], Any] | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Restore a batch of degraded images or volumes.

        Args:
            inputs: degraded images, normalised as in training: (B, C, H, W), or (B, C, H, W, D) for a 3-D network or,
                slice by slice, a 2-D one.
            network: called ``network(x, timesteps, *args, **kwargs)``, ``x`` holding the noisy image and the condition.
            args: passed on to the network; tensors with one entry per item of ``inputs`` go with their items.
            keys: one key per item of the batch; what the noise depends on besides ``seed``.
            callback: called after each step with a :py:class:`SamplingStep`.
            kwargs: passed on as ``args`` are.

        Returns:
            Restored images (B, C_out, H, W[, D]) of the device, floating type and metadata of ``inputs``.

        Raises:
            ValueError: if the inputs hold NaN, their dimensions, channels or keys do not fit, or the network returns
                NaN.
        """
        _check_inputs(inputs)
        mirrored = self.output == "antithetic"
        draws = Draws(self.num_samples, mirrored, average)
        (restored,) = self._restore(inputs, NetworkCall(network, args, kwargs, len(inputs)), keys, callback, draws)
        return restored

    @torch.no_grad()
    def posterior(
        self,
        inputs: torch.Tensor,
        network: Callable[..., torch.Tensor],
        *args: Any,
        num_samples: int = 8,
        keys: Sequence[int | str] | None = None,
        callback: Callable[[SamplingStep], Any] | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation over samples: what is likely, and where the network cannot know.

        Args:
            inputs: as in a call.
            network: as in a call.
            args: passed on to the network.
            num_samples: samples, at least 2, each with noise of its own, whatever the inferer's calls return.
            keys: as in a call.
            callback: as in a call.
            kwargs: passed on to the network.

        Returns:
            Mean and (unbiased) standard deviation, each shaped and typed as what a call returns.

        Raises:
            ValueError: as in a call, or for an inferer with ``output="mean"``, which draws no samples.
        """
        count = check_integer("num_samples", num_samples, 2)
        if self.output == "mean":
            raise ValueError("output='mean' draws no samples; take output='sample' for a posterior.")
        _check_inputs(inputs)
        draws = Draws(count, False, moments)
        mean, std = self._restore(inputs, NetworkCall(network, args, kwargs, len(inputs)), keys, callback, draws)
        return mean, std

    def _restore(
        self,
        inputs: torch.Tensor,
        network: NetworkCall,
        keys: Sequence[int | str] | None,
        callback: Callable[[SamplingStep], Any] | None,
        draws: Draws,
    ) -> list[torch.Tensor]:
        known = item_keys(inputs, keys)
        plain = as_plain(inputs)
        passes = self._passes(plain, known, network)
        network.check_channels(passes[0].items)
        for items in passes:
            self._try_hooks(items, network)
        try:
            results = [self._restore_items(items, network, callback, draws) for items in passes]
        finally:
            self._set_timesteps()  # what a solver remembers goes with it, after an exception as well
        dtype = plain.dtype if plain.is_floating_point() else torch.float32
        finished = [average(iter(parts))[0].to(dtype) for parts in zip(*results)]
        if self.consistency and hasattr(self.consistency[-1], "finish"):
            finished[0] = self.consistency[-1].finish(finished[0], plain[:, : passes[0].channels])
        return [convert_to_dst_type(result, dst=inputs, dtype=dtype)[0] for result in finished]

    def _passes(self, plain: torch.Tensor, known: Sequence[Any], network: NetworkCall) -> list[Pass]:
        dims = plain.ndim - 2
        wanted = network.spatial_dims or dims
        if dims not in (wanted, 3 if wanted == 2 else wanted):
            raise ValueError(
                f"inputs has shape {tuple(plain.shape)}; a network for {wanted}-D images takes batches of {wanted}-D "
                "images, or of volumes one dimension higher."
            )
        if dims == wanted:
            seen = 1 + 2 * self.slices.neighbours if wanted == 2 else 1
            if plain.shape[1] % seen:
                raise ValueError(
                    f"inputs has {plain.shape[1]} channels; images with slices.neighbours={self.slices.neighbours} "
                    f"have a multiple of {seen}."
                )
            own = plain.shape[1] // seen
            return [Pass(plain, list(known), list(known), 0.0, own, 1, lambda restored: restored)]
        return [slice_pass(plain, known, axis, self.slices) for axis in self.slices.axes]

    def _try_hooks(self, items: Pass, network: NetworkCall) -> None:
        """Once through all inputs, so that a wrong mask in the last slice is found before the first network call."""
        for start in range(0, len(items.items), self.batch_size) if self.consistency else ():
            condition = items.items[start : start + self.batch_size][:, : items.channels]
            condition = condition.to(device=network.device, dtype=torch.float32)
            image = condition[:, : network.channels]
            for hook in self.consistency:
                found = _bound(hook, condition)(image)
                if not isinstance(found, torch.Tensor) or found.shape != image.shape:
                    got = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
                    raise ValueError(f"consistency: {hook!r} returned {got} for an image of {tuple(image.shape)}.")

    def _restore_items(
        self, items: Pass, network: NetworkCall, callback: Callable[[SamplingStep], Any] | None, draws: Draws
    ) -> list[torch.Tensor]:
        from tqdm import tqdm

        home = items.items[:1].device
        device = network.device or home
        self._set_timesteps()
        size = max(1, self.batch_size // 2) if self.guidance_scale != 1 else self.batch_size
        batches = range(0, len(items.items), size)
        results: list[torch.Tensor] = []
        calls = len(batches) * draws.count * (1 if self.output == "mean" else len(self.scheduler.timesteps))
        with tqdm(total=calls, desc="restoring", unit="call", disable=not self.progress) as bar:
            for start in batches:
                chosen = slice(start, start + size)
                condition = items.items[chosen].to(device=device, dtype=torch.float32)
                origin = torch.arange(start, start + len(condition)) // items.per_input

                def predict(x: torch.Tensor, timesteps: torch.Tensor, of: torch.Tensor = origin) -> torch.Tensor:
                    with autocast(device, self.amp):
                        output = network(x, timesteps, of.repeat(len(x) // len(of)))
                    bar.update()
                    return output

                own = condition[:, : items.channels]
                chain = SamplingChain(
                    self.scheduler,
                    self.parameterization,
                    predict,
                    [_bound(hook, own) for hook in self.consistency],
                    self.guidance_scale,
                    self._takes_bounds,
                    self.output == "mean",
                    callback,
                )
                names = [content_key(item) if key is None else key for key, item in zip(items.keys[chosen], condition)]
                shared = [name if key is None else key for key, name in zip(items.shared_keys[chosen], names)]
                sources = partial(self._sources, names, shared, items.correlation, draws.mirrored)
                images = (chain(condition, sources(k), network.channels) for k in range(draws.count))
                for place, part in enumerate(draws.combine(images)):
                    if place == len(results):
                        results.append(part.new_empty((len(items.items), *part.shape[1:]), device=home))
                    results[place][chosen] = part
        return [items.assemble(result) for result in results]

    def _sources(
        self, names: Sequence[Any], shared: Sequence[Any], correlation: float, mirrored: bool, index: int
    ) -> list[torch.Generator | NoiseSource]:
        draw = index // 2 if mirrored else index
        own = item_generators(self.seed, [f"{name}#{draw}" for name in names])
        if not correlation and not mirrored:
            return list(own)
        common = item_generators(self.seed, [f"{name}#{draw}" for name in shared])
        if correlation == 1 and not mirrored:
            return list(common)
        sign = -1.0 if mirrored and index % 2 else 1.0
        return [NoiseSource(a, b, correlation, sign) for a, b in zip(own, common)]

    def _set_timesteps(self) -> None:
        if self.output != "mean":
            return self.scheduler.set_timesteps(**self._grid)
        # the whole chain, whose first timestep is the noisiest, whatever the spacing
        count = (getattr(self.scheduler, "start_timestep", None) or self.scheduler.num_train_timesteps - 1) + 1
        return self.scheduler.set_timesteps(count)


def _bound(hook: Hook, inputs: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    bind = getattr(hook, "bind", None)
    return bind(inputs) if bind is not None else lambda image: hook(image, inputs)


def _check_inputs(inputs: Any) -> None:
    if not isinstance(inputs, torch.Tensor) or inputs.is_complex() or inputs.ndim not in (4, 5) or not inputs.numel():
        found = f"{tuple(inputs.shape)} {inputs.dtype}" if hasattr(inputs, "dtype") else type(inputs).__name__
        raise ValueError(
            f"inputs is {found}; it must be a real tensor (B, C, H, W[, D]); an empty batch cannot be restored."
        )
    check_finite("inputs", inputs)
