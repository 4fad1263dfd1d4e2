"""What a training batch becomes: noise, timesteps, target, and conditions that the network does not see."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.data import MetaTensor

from contracts.inferer_contract import images
from monai_cdiff.engines import ConditionalDiffusionPrepareBatch, RegressionPrepareBatch
from monai_cdiff.inferers import ConditionalDiffusionInferer
from monai_cdiff.networks import Parameterization
from monai_cdiff.networks.schedulers import DDPMScheduler

RESIDUAL = Parameterization("v_prediction", "residual", residual_scale=3.0)
SCHEDULER = DDPMScheduler(prediction_type="v_prediction")


def batch(count: int, first: int = 0) -> dict[str, Any]:
    positions = torch.arange(first, first + count)
    return {"image": images(count, 1, 8, 8), "condition": images(count, 1, 8, 8, seed=1), "position": positions}


def prepare(**kwargs: Any) -> ConditionalDiffusionPrepareBatch:
    return ConditionalDiffusionPrepareBatch(SCHEDULER, RESIDUAL, **kwargs)


def test_dropped_conditions_are_zeros_for_the_network_and_nothing_else() -> None:
    data = batch(4)
    image, target, _, kwargs = prepare(condition_dropout=0.5)(data, "cpu")
    _, plain_target, _, plain = prepare()(data, "cpu")
    assert torch.equal(target, plain_target) and torch.equal(kwargs["noise"], plain["noise"])
    assert "dropped" not in plain
    dropped = torch.tensor([True, False, True, False])
    seen: list[torch.Tensor] = []

    def network(x: torch.Tensor, timesteps: torch.Tensor, context: Any = None) -> torch.Tensor:
        seen.append(x)
        return x[:, :1]

    inferer = ConditionalDiffusionInferer(SCHEDULER, parameterization=RESIDUAL)
    inferer(image, network, **{**kwargs, "dropped": dropped})
    inferer(image, network, **plain)
    assert torch.equal(seen[0][:, :1], seen[1][:, :1])
    assert (seen[0][dropped, 1:] == 0).all() and torch.equal(seen[0][~dropped], seen[1][~dropped])


def test_the_share_that_is_dropped_depends_on_the_position_alone() -> None:
    _, _, _, many = prepare(condition_dropout=0.3)(batch(4000), "cpu")
    assert abs(float(many["dropped"].float().mean()) - 0.3) < 0.03
    _, _, _, few = prepare(condition_dropout=0.3)(batch(5, first=100), "cpu")
    assert torch.equal(few["dropped"], many["dropped"][100:105])


def test_regression_gets_the_condition_and_what_is_to_be_added_to_it() -> None:
    data = {key: MetaTensor(value) for key, value in batch(2).items()}
    condition, target = RegressionPrepareBatch(Parameterization("sample", "residual", residual_scale=3.0))(data, "cpu")
    assert type(condition) is type(target) is torch.Tensor and torch.equal(condition, data["condition"].as_tensor())
    torch.testing.assert_close(target, 3 * (data["image"] - data["condition"]).as_tensor())
    condition, target = RegressionPrepareBatch(Parameterization("sample", "image"), "image")(data, "cpu")
    assert torch.equal(condition, target) and torch.equal(target, data["image"].as_tensor())
    inputs, target, args, kwargs = RegressionPrepareBatch(Parameterization("sample"), target_name="truth")(data, "cpu")
    assert torch.equal(inputs, data["condition"].as_tensor()) and args == () and kwargs == {"truth": target}


@pytest.mark.parametrize("value", [-0.1, 1.0, 1.5, "often"])
def test_wrong_dropout(value: Any) -> None:
    with pytest.raises(ValueError, match=f"condition_dropout={value!r} must be"):
        prepare(condition_dropout=value)
