"""Schedulers of diffusers behind the step protocol: equal to a loop of diffusers' own, and bounded from outside."""

from __future__ import annotations

import inspect
from typing import Any

import diffusers
import pytest
import torch
from monai.inferers import DiffusionInferer

from contracts.inferer_contract import InfererContract
from contracts.scheduler_contract import SHAPE, noise
from monai_cdiff.inferers import RestorationInferer
from monai_cdiff.networks import Parameterization
from monai_cdiff.networks.schedulers import DiffusersSchedulerAdapter, UniPCMultistepScheduler
from monai_cdiff.utils import item_generators

CHAIN = {"num_train_timesteps": 200, "beta_start": 1e-3, "beta_end": 0.08, "prediction_type": "v_prediction"}
ON_THE_SCALE_OF_NOISE = ["EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler"]
ON_THE_SCALE_OF_NOISE += ["LMSDiscreteScheduler", "KDPM2DiscreteScheduler"]
CLIPPING = ["DDIMScheduler", "DDPMScheduler"]
NAMES = ["DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler"]
NAMES += ["DEISMultistepScheduler", "DPMSolverSinglestepScheduler", "SASolverScheduler", *ON_THE_SCALE_OF_NOISE]


def peer(name: str = "DDIMScheduler", **kwargs: Any) -> Any:
    return getattr(diffusers, name)(**{**CHAIN, "beta_schedule": "linear", **kwargs})


def network(x: torch.Tensor, timesteps: Any, context: Any = None) -> torch.Tensor:
    return torch.tanh(x) - 0.3 * x


def sample(scheduler: Any, start: torch.Tensor, **kwargs: Any) -> torch.Tensor:
    for t in scheduler.timesteps:
        start, x0 = scheduler.step(network(start, t), t, start, **kwargs)
        assert x0.shape == start.shape
    return start


@pytest.mark.parametrize("kwargs", [{}, {"use_karras_sigmas": True, "beta_end": 0.05}])
@pytest.mark.parametrize("name", NAMES)
def test_equals_a_loop_of_diffusers_and_can_be_used_again(name: str, kwargs: dict[str, Any]) -> None:
    if kwargs and "use_karras_sigmas" not in inspect.signature(getattr(diffusers, name)).parameters:
        kwargs = {"beta_end": 0.05}
    scheduler, generator, settings = peer(name, **kwargs), torch.Generator().manual_seed(1), kwargs
    scheduler.set_timesteps(7)
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    kwargs = {"generator": generator} if takes_generator else {}
    start = noise(1)
    if name in ON_THE_SCALE_OF_NOISE:  # begin with the very sample the adapter begins with
        start = start / float(scheduler.scale_model_input(torch.ones(1), scheduler.timesteps[0]))
        scheduler.set_timesteps(7)
    for t in scheduler.timesteps:
        start = scheduler.step(network(scheduler.scale_model_input(start, t), t), t, start, **kwargs).prev_sample
    adapter = DiffusersSchedulerAdapter(peer(name, **settings))
    adapter.set_timesteps(7)
    for _ in range(2):
        found = sample(adapter, noise(1), generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(found, start, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_bounds_hold_voxel_by_voxel_inside_any_solver(name: str) -> None:
    adapter = DiffusersSchedulerAdapter(peer(name, **({"clip_sample": False} if name in CLIPPING else {})))
    adapter.set_timesteps(7)
    low, high = noise(5) - 0.01, noise(5) + 0.01
    found = sample(adapter, noise(1), generator=torch.Generator().manual_seed(1), bounds=(low, high))
    assert ((found >= low) & (found <= high)).all()
    for prediction_type in ("epsilon", "sample", "v_prediction"):
        adapter = DiffusersSchedulerAdapter(peer(prediction_type=prediction_type, clip_sample=False))
        adapter.set_timesteps(7)
        found = sample(adapter, noise(1), bounds=(low, high))
        assert ((found >= low) & (found <= high)).all()


@pytest.mark.parametrize("name", ["DDPMScheduler", "EulerAncestralDiscreteScheduler"])
def test_item_of_a_batch_equals_the_item_alone(name: str) -> None:
    adapter = DiffusersSchedulerAdapter(peer(name))
    adapter.set_timesteps(5)
    both = sample(adapter, noise(1), generator=item_generators(0, ["a", "b"]))
    alone = sample(adapter, noise(1)[1:], generator=item_generators(0, ["b"]))
    torch.testing.assert_close(both[1:], alone)


def test_works_in_monai_sample_twice() -> None:
    adapter = DiffusersSchedulerAdapter(peer("UniPCMultistepScheduler"))
    adapter.set_timesteps(5)
    inferer = DiffusionInferer(adapter)
    first, second = (inferer.sample(noise(1), network, verbose=False) for _ in range(2))
    assert torch.equal(first, second) and first.shape == SHAPE


def test_tables_are_those_of_the_scheduler() -> None:
    scheduler = peer(beta_schedule="scaled_linear")
    adapter = DiffusersSchedulerAdapter(scheduler)
    torch.testing.assert_close(adapter.alphas_cumprod, scheduler.alphas_cumprod.double())
    t = torch.tensor([3, 150])
    torch.testing.assert_close(adapter.add_noise(noise(1), noise(2), t), scheduler.add_noise(noise(1), noise(2), t))


def test_step_kwargs_reach_the_scheduler() -> None:
    adapters = [DiffusersSchedulerAdapter(peer()), DiffusersSchedulerAdapter(peer(), eta=1.0)]
    finals = []
    for adapter in adapters:
        adapter.set_timesteps(5)
        finals.append(sample(adapter, noise(1), generator=torch.Generator().manual_seed(0)))
    assert not torch.equal(*finals)
    with pytest.raises(ValueError, match=r"step_kwargs=\['etta'\] cannot be set for DDIMScheduler.step; allowed: eta"):
        DiffusersSchedulerAdapter(peer(), etta=1.0)
    with pytest.raises(ValueError, match=r"step_kwargs=\['generator'\] cannot be set"):
        DiffusersSchedulerAdapter(peer(), generator=None)


def test_what_is_no_scheduler_of_diffusers_is_refused() -> None:
    with pytest.raises(ValueError, match="scheduler=FlowMatchEulerDiscreteScheduler has no alphas_cumprod"):
        DiffusersSchedulerAdapter(diffusers.FlowMatchEulerDiscreteScheduler())
    with pytest.raises(ValueError, match="scheduler=UniPCMultistepScheduler has no config"):
        DiffusersSchedulerAdapter(UniPCMultistepScheduler())


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("RePaintScheduler", {"num_train_timesteps": 50}, "scheduler=RePaintScheduler has prediction_type=None"),
        ("DDPMScheduler", {**CHAIN, "variance_type": "learned_range"}, "variance_type='learned_range'; it must"),
        ("DDIMInverseScheduler", CHAIN, "DDIMInverseScheduler goes from image to noise; it cannot"),
        ("CogVideoXDPMScheduler", CHAIN, "CogVideoXDPMScheduler: its step needs old_pred"),
    ],
)
def test_schedulers_that_do_not_fit(name: str, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiffusersSchedulerAdapter(getattr(diffusers, name)(**kwargs))


@pytest.mark.parametrize("name", ["DDIMScheduler", "EulerDiscreteScheduler"])
@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_inference_steps": 0}, "num_inference_steps=0 must be a whole number, from 1 to 200"),
        ({"num_inference_steps": 201}, "num_inference_steps=201 must be"),
        ({"num_inference_steps": 2.5}, "num_inference_steps=2.5 must be"),
        ({}, "num_inference_steps=None and timesteps=None: give one of the two"),
        ({"timesteps": [50, 90]}, r"timesteps=\[50, 90\](: DDIMScheduler chooses them| must be one or more)"),
        ({"timesteps": [300, 1]}, r"timesteps(=\[300, 1\]: DDIMScheduler chooses them|\[0\]=300 must be)"),
    ],
)
def test_wrong_grids(name: str, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiffusersSchedulerAdapter(peer(name)).set_timesteps(**kwargs)


def test_shapes_that_differ() -> None:
    adapter = DiffusersSchedulerAdapter(peer())
    with pytest.raises(ValueError, match="model_output has shape"):
        adapter.step(noise(1)[:1], adapter.timesteps[0], noise(2))


def test_a_timestep_out_of_turn() -> None:
    adapter = DiffusersSchedulerAdapter(peer())
    adapter.set_timesteps(5)
    with pytest.raises(ValueError, match="timestep=3 does not come next in the grid; begin at 160"):
        adapter.step(noise(1), 3, noise(2))
    sample(adapter, noise(1))
    with pytest.raises(ValueError, match="timestep=0 does not come next in the grid; begin at 160"):
        adapter.step(noise(1), adapter.timesteps[-1], noise(2))
    with pytest.raises(ValueError, match="start_timestep=50: schedulers of diffusers begin at their own start"):
        adapter.set_timesteps(5, start_timestep=50)


@pytest.mark.parametrize("kwargs", [{"clip_sample": True}, {"clip_sample": False, "thresholding": True}])
def test_a_residual_is_not_clipped_behind_the_bounds(kwargs: dict[str, Any]) -> None:
    residual = Parameterization("v_prediction", "residual", residual_scale=3.0)
    with pytest.raises(ValueError, match="scheduler=DiffusersSchedulerAdapter would clip the scaled residual"):
        RestorationInferer(DiffusersSchedulerAdapter(peer(**kwargs)), 5, parameterization=residual)
    RestorationInferer(DiffusersSchedulerAdapter(peer(clip_sample=False)), 5, parameterization=residual)


class TestRestorationInfererWithTheAdapter(InfererContract):
    @staticmethod
    def make(**kwargs: Any) -> RestorationInferer:
        scheduler = DiffusersSchedulerAdapter(peer("UniPCMultistepScheduler", prediction_type="epsilon"))
        return RestorationInferer(scheduler, num_inference_steps=3, **kwargs)
