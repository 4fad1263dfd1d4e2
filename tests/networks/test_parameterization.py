"""What the network predicts: encoding, bounds and target, one object for all."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from monai_cdiff.networks import Parameterization
from monai_cdiff.networks.schedulers import BridgeScheduler, DDPMScheduler

IMAGE = torch.linspace(-1, 1, 32).view(2, 1, 4, 4)
CONDITION = IMAGE.flip(0) * 0.5
RESIDUAL = Parameterization("v_prediction", "residual", residual_scale=3.0)


@pytest.mark.parametrize("parameterization", [RESIDUAL, Parameterization()])
def test_decode_inverts_encode(parameterization: Parameterization) -> None:
    decoded = parameterization.decode(parameterization.encode(IMAGE, CONDITION), CONDITION)
    torch.testing.assert_close(decoded, IMAGE)


def test_residual_is_scaled_difference_to_the_first_channels_of_the_condition() -> None:
    condition = torch.cat([CONDITION, torch.ones(2, 1, 4, 4)], dim=1)
    torch.testing.assert_close(RESIDUAL.encode(IMAGE, condition), 3 * (IMAGE - CONDITION))


def test_bounds_of_the_residual_are_those_of_the_image() -> None:
    low, high = RESIDUAL.bounds(CONDITION)
    torch.testing.assert_close(RESIDUAL.decode(low, CONDITION), torch.full_like(CONDITION, -1.0))
    torch.testing.assert_close(RESIDUAL.decode(high, CONDITION), torch.full_like(CONDITION, 1.0))
    assert Parameterization().bounds() == (-1.0, 1.0)
    assert Parameterization(image_min=None, image_max=None).bounds() is None
    assert Parameterization(image_max=None).bounds() == (-1.0, float("inf"))


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_scheduler_recovers_x0_from_the_training_target(prediction_type: str) -> None:
    parameterization = Parameterization(prediction_type)
    scheduler = DDPMScheduler(prediction_type=prediction_type, clip_sample=False)
    noise, t = torch.randn(IMAGE.shape, generator=torch.Generator().manual_seed(0)), torch.tensor([900, 900])
    target = parameterization.training_target(IMAGE, noise, t, scheduler)
    _, x0 = scheduler.step(target, 900, scheduler.add_noise(IMAGE, noise, t))
    torch.testing.assert_close(x0, IMAGE, rtol=1e-4, atol=1e-4)


def test_is_frozen_and_travels_as_plain_values() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RESIDUAL.target = "image"  # type: ignore[misc]
    assert Parameterization(**RESIDUAL.state_dict()) == RESIDUAL
    RESIDUAL.load_state_dict(RESIDUAL.state_dict())


def test_a_checkpoint_that_differs_is_shown_beside_the_configuration() -> None:
    with pytest.raises(ValueError, match="parameterization differs: saved .*'epsilon'.*configured .*'v_prediction'"):
        RESIDUAL.load_state_dict(Parameterization().state_dict())


def test_a_scheduler_that_reads_something_else() -> None:
    with pytest.raises(ValueError, match="scheduler.prediction_type='epsilon' differs .*'v_prediction'"):
        RESIDUAL.check_scheduler(DDPMScheduler())
    with pytest.raises(ValueError, match="scheduler=BridgeScheduler needs target='residual'; .* target='image'"):
        Parameterization("v_prediction").check_scheduler(BridgeScheduler())
    RESIDUAL.check_scheduler(BridgeScheduler())
    thresholding = DDPMScheduler(prediction_type="v_prediction", dynamic_threshold=0.99)
    for unbounded in (RESIDUAL, Parameterization("v_prediction", image_max=None)):
        with pytest.raises(ValueError, match="dynamic_threshold=0.99 of the scheduler needs target='image', image_min"):
            unbounded.check_scheduler(thresholding)
    Parameterization("v_prediction").check_scheduler(thresholding)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"prediction_type": "v"}, "prediction_type='v' is not supported"),
        ({"target": "residul"}, "Did you mean 'residual'"),
        ({"residual_scale": 0}, "residual_scale=0 must be a finite number, more than 0"),
        ({"image_min": 1, "image_max": -1}, "image_min=1.0 must be less than image_max=-1.0"),
    ],
)
def test_wrong_arguments(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Parameterization(**kwargs)


def test_residual_without_its_condition() -> None:
    with pytest.raises(ValueError, match="condition=None: a residual needs the condition"):
        RESIDUAL.encode(IMAGE)
    with pytest.raises(ValueError, match="condition has 1 channels; the image's 2 are needed"):
        RESIDUAL.encode(IMAGE.repeat(1, 2, 1, 1), CONDITION)
