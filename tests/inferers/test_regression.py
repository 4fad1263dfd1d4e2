"""The rival without noise: one call, decoded as the diffusion's output is."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer

from contracts.inferer_contract import images
from monai_cdiff.engines import RegressionPrepareBatch
from monai_cdiff.inferers import KeepMeasured, RegressionInferer
from monai_cdiff.networks import Parameterization
from monai_cdiff.utils import randn, with_neighbours

RESIDUAL = Parameterization("sample", target="residual", residual_scale=3.0)
IMAGE = Parameterization("sample", target="image")


def network(condition: torch.Tensor) -> torch.Tensor:
    return torch.tanh(2 * condition[:, :1])


@pytest.mark.parametrize("shape", [(1, 1, 6, 5), (2, 1, 6, 5), (2, 1, 6, 5, 3)])
def test_image_and_residual(shape: tuple[int, ...]) -> None:
    inputs = images(*shape)
    assert isinstance(RegressionInferer(IMAGE), Inferer)
    assert torch.equal(RegressionInferer(IMAGE)(inputs, network), network(inputs))
    torch.testing.assert_close(RegressionInferer(RESIDUAL)(inputs, network), network(inputs) / 3 + inputs)


@pytest.mark.parametrize("parameterization", [IMAGE, RESIDUAL])
def test_undoes_what_training_asks_for(parameterization: Parameterization) -> None:
    """A network that returns its target restores the image; the condition may have more channels than it."""
    data = {"image": images(2, 1, 6, 5), "low": images(2, 2, 6, 5, seed=1)}
    condition, target = RegressionPrepareBatch(parameterization, "low")(data, "cpu")
    assert torch.equal(condition, data["low"]) and target.shape == (2, 1, 6, 5)
    restored = RegressionInferer(parameterization)(condition, lambda _: target)
    torch.testing.assert_close(restored, data["image"])


def test_metadata_and_type_of_the_inputs() -> None:
    inputs = MetaTensor(images(1, 1, 6, 5), affine=torch.diag(torch.tensor([2.0, 3, 4, 1])), meta={"subject": "a"})
    found = RegressionInferer(RESIDUAL)(inputs, network)
    assert isinstance(found, MetaTensor) and found.meta["subject"] == "a" and torch.equal(found.affine, inputs.affine)
    assert RegressionInferer(RESIDUAL)(inputs.double(), network).dtype == torch.float64
    assert not RegressionInferer(IMAGE)(inputs, torch.nn.Conv2d(1, 1, 1)).requires_grad


@pytest.mark.parametrize("neighbours", [0, 1])
def test_volumes_go_slice_by_slice_through_a_network_for_images(neighbours: int) -> None:
    seen = 1 + 2 * neighbours
    torch.manual_seed(0)
    planar, volumes = torch.nn.Conv2d(seen, 1, 3, padding=1), images(2, 1, 6, 5, 4)
    restore = RegressionInferer(RESIDUAL, batch_size=3, neighbours=neighbours)
    found = restore(volumes, planar)
    for z in range(4):
        places = with_neighbours(z, neighbours, 4)
        item = torch.cat([volumes[..., n] for n in places], dim=1)
        torch.testing.assert_close(found[..., z], restore(item, planar))


def test_arguments_of_an_item_go_with_its_slices() -> None:
    class Shifted(torch.nn.Conv2d):
        def forward(self, condition: torch.Tensor, shift: Any = None, scale: Any = 1) -> torch.Tensor:
            return torch.zeros_like(condition) + shift.view(-1, 1, 1, 1) * scale

    shift = torch.tensor([0.0, 100.0, 200.0])
    restore = RegressionInferer(IMAGE, batch_size=3)
    found = restore(images(3, 1, 6, 5, 2), Shifted(1, 1, 1), shift, scale=2)
    assert torch.equal(found, (2 * shift).view(-1, 1, 1, 1, 1).expand(3, 1, 6, 5, 2))


def test_slices_of_a_volume_draw_as_items_of_their_own() -> None:
    class Noisy(torch.nn.Conv2d):
        def forward(self, condition: torch.Tensor, generator: Any = None) -> torch.Tensor:
            return noisy(condition, generator)

    volume, network = images(1, 1, 6, 5, 3), Noisy(1, 1, 1)
    restore = RegressionInferer(IMAGE, seed=1, batch_size=2)
    found = restore(volume, network, keys=["a"])
    for z in range(3):
        assert torch.equal(found[..., z], restore(volume[..., z], network, keys=[f"a:{z}"]))


def noisy(condition: torch.Tensor, generator: Any = None) -> torch.Tensor:
    return condition + (randn(condition.shape, generator) if generator else 0)


def test_a_seed_draws_by_the_key_of_the_item() -> None:
    inputs = images(3, 1, 6, 5)
    drawn = RegressionInferer(IMAGE, seed=1)(inputs, noisy)
    assert torch.equal(RegressionInferer(IMAGE)(inputs, noisy), inputs) and not torch.equal(drawn, inputs)
    assert torch.equal(RegressionInferer(IMAGE, seed=1)(inputs[1:2], noisy), drawn[1:2])  # by content
    assert not torch.equal(RegressionInferer(IMAGE, seed=2)(inputs, noisy), drawn)
    same = inputs[:1].expand(2, -1, -1, -1)
    keyed = RegressionInferer(IMAGE, seed=1)(same, noisy, keys=["a", "b"])
    assert not torch.equal(keyed[0], keyed[1])
    alone = RegressionInferer(IMAGE, seed=1)(MetaTensor(same[:1], meta={"key": "b"}), noisy)
    assert torch.equal(alone.as_tensor(), keyed[1:])


def test_a_seed_for_a_network_without_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="seed=0 was given, but Conv2d has no noise to draw"):
        RegressionInferer(IMAGE, seed=0)(images(1, 1, 4, 4), torch.nn.Conv2d(1, 1, 1))
    with pytest.raises(ValueError, match="seed=-1"):
        RegressionInferer(IMAGE, seed=-1)


def test_what_is_passed_on() -> None:
    seen: dict[str, Any] = {}

    def watching(condition: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        seen.update(args=args, kwargs=kwargs)
        return condition

    RegressionInferer(IMAGE)(images(1, 1, 4, 4), watching, 3, context="c")
    assert seen == {"args": (3,), "kwargs": {"context": "c"}}


def test_measured_pixels_stay() -> None:
    inputs = torch.cat([images(2, 1, 6, 5), (images(2, 1, 6, 5, seed=1) > 0).float()], 1)
    found = RegressionInferer(RESIDUAL, consistency=KeepMeasured())(inputs, network)
    outside = inputs[:, 1:] == 0
    assert torch.equal(found[outside], inputs[:, :1][outside]) and (found != inputs[:, :1])[~outside].all()


def test_mixed_precision() -> None:
    conv = torch.nn.Conv2d(1, 1, 3, padding=1)
    seen: list[torch.dtype] = []
    conv.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    for amp in (False, "true"):
        assert RegressionInferer(IMAGE, amp=amp)(images(1, 1, 6, 5), conv).dtype == torch.float32
    assert seen == [torch.float32, torch.bfloat16]


def test_errors() -> None:
    with pytest.raises(ValueError, match="consistency='keep' must be a function or None"):
        RegressionInferer(IMAGE, consistency="keep")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="amp='x' is not supported; allowed: true, false"):
        RegressionInferer(IMAGE, amp="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="inputs holds 16 NaN or infinite values of 16"):
        RegressionInferer(IMAGE)(torch.full((1, 1, 4, 4), math.nan), network)
    with pytest.raises(ValueError, match="the network's output holds 16 NaN or infinite values of 16"):
        RegressionInferer(IMAGE)(torch.zeros(1, 1, 4, 4), lambda condition: condition / 0)
