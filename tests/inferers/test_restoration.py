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
from monai_cdiff.inferers import RestorationInferer
from monai_cdiff.networks import Parameterization, schedulers
from monai_cdiff.networks.nets import ConditionalUNet
from monai_cdiff.networks.schedulers import (
    BridgeScheduler,
    DDIMScheduler,
    DDPMScheduler,
    DiffusersSchedulerAdapter,
    DiffusionScheduler,
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
    RestorationInferer(DDIMScheduler(prediction_type="v_prediction"), 1, start_timestep=300)(inputs, network)
    RestorationInferer(
        DDIMScheduler(prediction_type="v_prediction"), 5, start_timestep=200, output="mean", parameterization=RESIDUAL
    )(inputs, network)
    assert seen == [700.5, 40, 300, 200]


def test_a_start_in_the_middle_begins_at_the_condition_with_its_noise() -> None:
    inputs, scheduler = images(2, 1, 6, 5), DDIMScheduler(prediction_type="sample")
    first: list[torch.Tensor] = []

    def network(x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        first.append(x)
        return x[:, :1]

    RestorationInferer(scheduler, 4, start_timestep=300)(inputs, network, keys=["a", "b"])
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
    with pytest.raises(ValueError, match="start_timestep=5: the set_timesteps of scheduler=DDPMScheduler takes none"):
        RestorationInferer(MonaiDDPMScheduler(50), 6, start_timestep=5)
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
        ({"output": "median"}, "output='median' is not supported; allowed: 'sample', 'mean', 'average'"),
        ({"num_samples": 0, "output": "average"}, "num_samples=0 must be a whole number, at least 1"),
        ({"num_samples": 2}, "num_samples=2 needs output='average'"),
        ({"seed": -1}, "seed=-1 must be a whole number, at least 0"),
        ({"batch_size": 0}, "batch_size=0 must be"),
        ({"parameterization": RESIDUAL}, "scheduler.prediction_type='epsilon' differs"),
        ({"num_inference_steps": [5, 7]}, r"timesteps=\[5, 7\] must be one or more numbers that fall strictly"),
        ({"num_inference_steps": [2000]}, r"timesteps\[0\]=2000 must be"),
        ({"num_inference_steps": "10"}, "num_inference_steps='10' must be a whole number"),
        ({"start_timestep": 2000}, "start_timestep=2000 must be a whole number, from 1 to 1999"),
        ({"num_inference_steps": [9, 3], "start_timestep": 9}, "start_timestep=9: the first of timesteps is the start"),
    ],
)
def test_wrong_arguments(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RestorationInferer(DDPMScheduler(), **{"num_inference_steps": 2, **kwargs})
