"""Restoration by sampling, with the schedulers of the package and MONAI's."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import diffusers
import pytest
import torch
from monai.data import MetaTensor
from monai.engines import SupervisedEvaluator
from monai.inferers import SlidingWindowInferer
from monai.networks.schedulers import DDIMScheduler as MonaiDDIMScheduler
from monai.networks.schedulers import DDPMScheduler as MonaiDDPMScheduler
from monai.networks.schedulers import PNDMScheduler

from contracts.inferer_contract import InfererContract, Pointwise, images
from monai_cdiff.inferers import RestorationInferer, SamplingStep
from monai_cdiff.networks import Parameterization, schedulers
from monai_cdiff.networks.nets import ConditionalUNet
from monai_cdiff.networks.schedulers import (
    BridgeScheduler,
    DDIMScheduler,
    DDPMScheduler,
    DiffusersSchedulerAdapter,
    DiffusionScheduler,
    UniPCMultistepScheduler,
)
from monai_cdiff.utils import item_generators, randn

RESIDUAL = Parameterization("v_prediction", "residual", residual_scale=3.0)


class TestRestorationInferer(InfererContract):
    @staticmethod
    def make(**kwargs: Any) -> RestorationInferer:
        return RestorationInferer(DDPMScheduler(), num_inference_steps=3, **kwargs)


class TestRestorationInfererOfTheResidual(InfererContract):
    @staticmethod
    def make(**kwargs: Any) -> RestorationInferer:
        scheduler = DDIMScheduler(prediction_type="v_prediction")
        return RestorationInferer(scheduler, num_inference_steps=2, parameterization=RESIDUAL, **kwargs)


class TestRestorationInfererWithMonaisScheduler(InfererContract):
    @staticmethod
    def make(**kwargs: Any) -> RestorationInferer:
        scheduler = MonaiDDPMScheduler(num_train_timesteps=20)
        return RestorationInferer(scheduler, num_inference_steps=20, **kwargs)


def test_a_perfect_network_restores_the_image() -> None:
    """Fed the exact v of a known original, every sampler must return that original."""
    original, condition = images(2, 1, 8, 8), images(2, 1, 8, 8, seed=1)
    scheduler = DDIMScheduler(prediction_type="v_prediction")

    def network(x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        x0 = RESIDUAL.encode(original, condition)
        alpha_bar = scheduler.alpha_bar(timesteps).float().view(-1, 1, 1, 1)
        eps = (x[:, :1] - alpha_bar.sqrt() * x0) / (1 - alpha_bar).sqrt()
        return alpha_bar.sqrt() * eps - (1 - alpha_bar).sqrt() * x0

    for output in ("sample", "mean"):
        restore = RestorationInferer(scheduler, 4, parameterization=RESIDUAL, output=output)
        torch.testing.assert_close(restore(condition, network), original, rtol=1e-4, atol=1e-4)


def test_bounds_keep_the_image_in_its_range() -> None:
    restore = RestorationInferer(DDIMScheduler(prediction_type="v_prediction"), 2, parameterization=RESIDUAL)
    restored = restore(images(1, 1, 8, 8), lambda x, timesteps: 100 * torch.ones_like(x[:, :1]))
    assert restored.min() >= -1 - 1e-6 and restored.max() <= 1 + 1e-6


@pytest.mark.parametrize(
    ("output", "kwargs", "calls"), [("mean", {}, 1), ("sample", {}, 3), ("average", {"num_samples": 4}, 12)]
)
def test_network_calls(output: str, kwargs: dict[str, Any], calls: int) -> None:
    network = Pointwise()
    scheduler = DDPMScheduler(prediction_type="sample")
    RestorationInferer(scheduler, 3, output=output, **kwargs)(images(2, 1, 6, 5), network)
    assert network.calls == calls


def test_average_begins_with_the_sample_and_is_the_mean_of_its_samples() -> None:
    inputs = images(1, 1, 6, 5)
    sample = RestorationInferer(DDPMScheduler(), 3)(inputs, Pointwise())
    assert torch.equal(RestorationInferer(DDPMScheduler(), 3, output="average")(inputs, Pointwise()), sample)
    many = RestorationInferer(DDPMScheduler(), 3, output="average", num_samples=64)(inputs, Pointwise())
    assert many.std() < 0.9 * sample.std()


def real_network(spatial_dims: int = 2) -> ConditionalUNet:
    torch.manual_seed(0)
    network = ConditionalUNet(spatial_dims, in_channels=2, out_channels=1, size="tiny").eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


@pytest.mark.parametrize(("amp", "tolerance"), [(False, 1e-4), (True, 5e-2)])
def test_real_network_over_batch_sizes(amp: bool, tolerance: float) -> None:
    network, inputs = real_network(), images(5, 1, 18, 15)
    one, five = (RestorationInferer(DDPMScheduler(), 3, batch_size=n, amp=amp)(inputs, network) for n in (1, 5))
    torch.testing.assert_close(one, five, rtol=0, atol=tolerance)


def test_stands_for_simple_inferer_in_an_evaluator() -> None:
    data = [{"image": images(2, 1, 9, 8), "label": images(2, 1, 9, 8)}]
    restore = RestorationInferer(DDPMScheduler(), 2)
    evaluator = SupervisedEvaluator(torch.device("cpu"), data, real_network(), inferer=restore, decollate=False)
    evaluator.run()
    assert torch.equal(evaluator.state.output["pred"], restore(data[0]["image"], real_network()))


def test_nests_in_sliding_window_inferer() -> None:
    restore, network = RestorationInferer(DDPMScheduler(), 2), real_network()
    window = SlidingWindowInferer(roi_size=(16, 16), overlap=0.25)
    assert window(images(1, 1, 40, 33), lambda patch: restore(patch, network)).shape == (1, 1, 40, 33)


@pytest.mark.parametrize(
    ("scheduler", "name"),
    [(MonaiDDPMScheduler(50), "DDPMScheduler"), (MonaiDDIMScheduler(50), "DDIMScheduler")],
)
def test_monais_own_are_accepted_with_a_warning_where_they_are_wrong(scheduler: Any, name: str) -> None:
    with pytest.warns(UserWarning, match=rf"MONAI's {name} with 5 steps of 50: it .*Use monai_cdiff.*\.{name}"):
        restore = RestorationInferer(scheduler, 5)
    assert torch.isfinite(restore(images(2, 1, 6, 5), Pointwise())).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RestorationInferer(scheduler, 50)
        RestorationInferer(type(scheduler)(50, prediction_type="v_prediction"), 5, output="mean")


def test_timesteps_of_ones_own_and_a_start_in_the_middle() -> None:
    inputs = images(2, 1, 6, 5)
    seen: list[float] = []

    def network(x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        seen.append(float(timesteps[0]))
        return torch.zeros_like(x[:, :1])

    RestorationInferer(DDIMScheduler(prediction_type="v_prediction"), torch.tensor([700.5, 40]))(inputs, network)
    RestorationInferer(DDIMScheduler(prediction_type="v_prediction", start_timestep=300), 1)(inputs, network)
    scheduler = DDIMScheduler(prediction_type="v_prediction", start_timestep=200)
    RestorationInferer(scheduler, 5, output="mean", parameterization=RESIDUAL)(inputs, network)
    assert seen == [700.5, 40, 300, 200]


def test_a_start_in_the_middle_begins_at_the_condition_with_its_noise() -> None:
    inputs, scheduler = images(2, 1, 6, 5), DDIMScheduler(prediction_type="sample", start_timestep=300)
    first: list[torch.Tensor] = []

    def network(x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        first.append(x)
        return x[:, :1]

    RestorationInferer(scheduler, 4)(inputs, network, keys=["a", "b"])
    noise = randn(inputs.shape, item_generators(0, ["a#0", "b#0"]))
    torch.testing.assert_close(first[0][:, :1], scheduler.add_noise(inputs, noise, torch.tensor([300, 300])))
    assert torch.equal(first[0][:, 1:], inputs)


def test_every_scheduler_restores_through_a_real_network() -> None:
    network, inputs = real_network(), images(2, 1, 18, 15)
    for name in schedulers.__all__:
        kind = getattr(schedulers, name)
        if inspect.isclass(kind) and issubclass(kind, DiffusionScheduler) and kind is not DiffusionScheduler:
            if kind is DiffusersSchedulerAdapter:
                scheduler = kind(diffusers.UniPCMultistepScheduler(2000, prediction_type="v_prediction"))
            else:
                scheduler = kind(prediction_type="v_prediction")
            restore = RestorationInferer(scheduler, 3, parameterization=RESIDUAL)
            first = restore(inputs, network)
            assert first.abs().max() <= 1 + 1e-5 and torch.equal(restore(inputs, network), first), name


def test_one_key_for_a_batch_does_not_give_equal_noise() -> None:
    inputs = MetaTensor(images(3, 1, 6, 5), meta={"subject": "a"})
    plain = RestorationInferer(DDPMScheduler(), 2)(images(3, 1, 6, 5), Pointwise())
    assert torch.equal(RestorationInferer(DDPMScheduler(), 2)(inputs, Pointwise()).as_tensor(), plain)


def test_schedulers_that_would_be_wrong_are_refused() -> None:
    with pytest.raises(ValueError, match="scheduler=BridgeScheduler needs target='residual'.*target='image'"):
        RestorationInferer(BridgeScheduler(), 2)
    stock = diffusers.DDIMScheduler(100, prediction_type="v_prediction")
    with pytest.raises(ValueError, match="scheduler=DiffusersSchedulerAdapter would clip the scaled residual"):
        RestorationInferer(DiffusersSchedulerAdapter(stock), 10, parameterization=RESIDUAL)
    with pytest.raises(ValueError, match="scheduler=PNDMScheduler: its step takes no generator"):
        RestorationInferer(PNDMScheduler(100, skip_prk_steps=True), 10)
    clipping = MonaiDDIMScheduler(100, prediction_type="v_prediction")
    with pytest.raises(ValueError, match="scheduler=DDIMScheduler would clip the scaled residual"):
        RestorationInferer(clipping, 10, parameterization=RESIDUAL)


def test_amp_reaches_the_network() -> None:
    seen = []
    network = torch.nn.Conv2d(2, 1, 1)
    network.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    for amp in (False, True):
        RestorationInferer(DDPMScheduler(), 1, amp=amp)(images(1, 1, 6, 5), lambda x, timesteps: network(x))
    assert seen == [torch.float32, torch.bfloat16]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"output": "mean"}, "output='mean' needs a network that predicts x0 or v"),
        ({"num_inference_steps": 0}, "num_inference_steps=0 must be a whole number, from 1 to 2000"),
        ({"num_inference_steps": 2001}, "num_inference_steps=2001 must be"),
        ({"output": "median"}, "output='median' is not supported; allowed: 'sample', 'mean', 'average', 'antithetic'"),
        ({"num_samples": 0, "output": "average"}, "num_samples=0 must be a whole number, at least 1"),
        ({"num_samples": 2}, "num_samples=2 needs output='average'"),
        ({"num_samples": 3, "output": "antithetic"}, "num_samples=3 must be even: output='antithetic' averages pairs"),
        ({"guidance_scale": "strong"}, "guidance_scale='strong' must be a finite number"),
        ({"seed": -1}, "seed=-1 must be a whole number, at least 0"),
        ({"batch_size": 0}, "batch_size=0 must be"),
        ({"parameterization": RESIDUAL}, "scheduler.prediction_type='epsilon' differs"),
        ({"num_inference_steps": [5, 7]}, r"timesteps=\[5, 7\] must be one or more numbers that fall strictly"),
        ({"num_inference_steps": [2000]}, r"timesteps\[0\]=2000 must be"),
        ({"num_inference_steps": "10"}, "num_inference_steps='10' must be a whole number"),
    ],
)
def test_wrong_arguments(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RestorationInferer(DDPMScheduler(), **{"num_inference_steps": 2, **kwargs})


def test_antithetic_pairs_mirror_their_noise() -> None:
    """Where the restoration is linear in the noise, a pair cancels it all."""
    inputs = images(2, 1, 6, 5)

    def linear(x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        return 0.5 * x[:, :1] + 0.1 * x[:, 1:2]

    for scheduler in (DDIMScheduler(prediction_type="sample"), DDPMScheduler(prediction_type="sample")):
        unbounded = Parameterization("sample", image_min=None, image_max=None)
        mean = RestorationInferer(scheduler, 4, unbounded, output="average", num_samples=2)(inputs, linear)
        pair = RestorationInferer(scheduler, 4, unbounded, output="antithetic")(inputs, linear)
        four = RestorationInferer(scheduler, 4, unbounded, output="antithetic", num_samples=4)(inputs, linear)
        torch.testing.assert_close(pair, four, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(mean, pair, atol=1e-3)


def test_posterior_is_mean_and_spread_of_its_samples() -> None:
    inputs, scheduler = images(2, 1, 6, 5), DDPMScheduler()
    samples: list[torch.Tensor] = []

    def keep(step: SamplingStep) -> None:
        if step.index == step.count - 1:
            samples.append(step.sample)

    mean, std = RestorationInferer(scheduler, 3).posterior(inputs, Pointwise(), num_samples=5, callback=keep)
    drawn = torch.stack(samples)
    torch.testing.assert_close(mean, drawn.mean(0))
    torch.testing.assert_close(std, drawn.std(0))
    average = RestorationInferer(scheduler, 3, output="average", num_samples=5)(inputs, Pointwise())
    torch.testing.assert_close(average, mean)
    with pytest.raises(ValueError, match="num_samples=1 must be a whole number, at least 2"):
        RestorationInferer(scheduler, 3).posterior(inputs, Pointwise(), num_samples=1)


def test_posterior_of_a_volume_keeps_its_metadata() -> None:
    volume = MetaTensor(images(1, 1, 6, 5, 3), meta={"subject": "p"})
    mean, std = RestorationInferer(DDPMScheduler(), 3).posterior(volume, Pointwise(), num_samples=2)
    assert mean.shape == std.shape == volume.shape and std.meta["subject"] == "p" and (std >= 0).all()


def test_guidance_goes_away_from_what_no_condition_gives() -> None:
    inputs = images(2, 1, 6, 5)
    for scale in (1.0, 3.0):
        unbounded = Parameterization("sample", image_min=None, image_max=None)
        restore = RestorationInferer(DDIMScheduler(prediction_type="sample"), 1, unbounded, guidance_scale=scale)
        found = restore(inputs, lambda x, timesteps: 0.2 * x[:, 1:2] + 0.05)
        torch.testing.assert_close(found, 0.2 * scale * inputs + 0.05)


def test_callback_is_told_of_every_step() -> None:
    steps: list[SamplingStep] = []
    scheduler = DDPMScheduler(timestep_spacing="trailing")
    final = RestorationInferer(scheduler, 4)(images(2, 1, 6, 5), Pointwise(), callback=steps.append)
    assert [(step.index, step.count, step.timestep) for step in steps] == [(i, 4, 1999 - 500 * i) for i in range(4)]
    assert torch.equal(steps[-1].sample, final) and steps[0].x0.shape == final.shape


def test_hooks_make_every_prediction_and_the_result_agree() -> None:
    inputs = images(2, 1, 6, 5)
    seen: list[torch.Tensor] = []

    def keep_left(image: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        seen.append(image)
        return torch.cat([given[..., :2], image[..., 2:]], dim=-1)

    def halve_right(image: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        return torch.cat([image[..., :3], 0.5 * image[..., 3:]], dim=-1)

    x0s: list[torch.Tensor] = []
    scheduler = UniPCMultistepScheduler(prediction_type="v_prediction")
    restore = RestorationInferer(scheduler, 4, RESIDUAL, consistency=[keep_left, halve_right])
    final = restore(inputs, Pointwise(), callback=lambda step: x0s.append(RESIDUAL.decode(step.x0, inputs)))
    assert torch.equal(final[..., :2], inputs[..., :2])
    for image in x0s:
        torch.testing.assert_close(image[..., :2], inputs[..., :2])
    assert len(seen) > 4


def test_nothing_is_held_after_an_exception() -> None:
    scheduler = UniPCMultistepScheduler()
    restore = RestorationInferer(scheduler, 5)

    def stop(step: SamplingStep) -> None:
        if step.index == 2:
            raise KeyboardInterrupt

    inputs = images(2, 1, 6, 5)
    with pytest.raises(KeyboardInterrupt):
        restore(inputs, Pointwise(), callback=stop)
    assert not scheduler._memory
    fresh = RestorationInferer(UniPCMultistepScheduler(), 5)
    assert torch.equal(restore(inputs, Pointwise()), fresh(inputs, Pointwise()))


def test_nan_from_the_network_names_the_step() -> None:
    def broken(x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        return torch.full_like(x[:, :1], torch.nan) if float(timesteps[0]) < 1200 else x[:, :1]

    scheduler = DDIMScheduler(timestep_spacing="trailing")
    with pytest.raises(ValueError, match="network returned NaN or infinite values in step 3 of 4, at timestep 999"):
        RestorationInferer(scheduler, 4)(images(1, 1, 6, 5), broken)


def test_channels_that_do_not_fit_are_found_before_any_call() -> None:
    with pytest.raises(ValueError, match="inputs has 2 channels; with the 1 of the noisy image.*takes in_channels=2"):
        RestorationInferer(DDPMScheduler(), 2)(images(1, 2, 16, 16), real_network())


def test_the_wrapper_of_a_network_is_looked_through() -> None:
    wrapped = torch.nn.DataParallel(real_network())
    with pytest.raises(ValueError, match="takes in_channels=2"):
        RestorationInferer(DDPMScheduler(), 2)(images(1, 2, 16, 16), wrapped)
    inputs = images(1, 1, 16, 16, 2)
    restore = RestorationInferer(DDPMScheduler(), 2)
    assert torch.equal(restore(inputs, wrapped), restore(inputs, real_network()))
