"""Volumes through a network for 2-D images: any axis, neighbours, and noise that slices share."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.networks.schedulers import DDIMScheduler as MonaiDDIMScheduler

from contracts.inferer_contract import Pointwise, images
from monai_cdiff.inferers import RestorationInferer, SliceSettings
from monai_cdiff.networks.schedulers import DDPMScheduler

VOLUME = images(2, 1, 6, 5, 4)


def restore(volume: torch.Tensor, keys: list[str] | None = None, network: Any = None, **settings: Any) -> torch.Tensor:
    slices = SliceSettings(**settings)
    return RestorationInferer(DDPMScheduler(), 3, slices=slices)(volume, network or Pointwise(), keys=keys)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_any_axis_restores_its_slices(axis: int) -> None:
    whole = restore(VOLUME, ["a", "b"], axis=axis)
    assert whole.shape == VOLUME.shape
    name = "b" if axis % 3 == 2 else f"b/{axis % 3}"
    for z in (0, 2):
        part = VOLUME.select(axis % 3 + 2, z)[1:]
        alone = RestorationInferer(DDPMScheduler(), 3)(part, Pointwise(), keys=[f"{name}:{z}"])
        assert torch.equal(whole.select(axis % 3 + 2, z)[1:], alone)


def test_several_axes_are_averaged() -> None:
    parts = [restore(VOLUME, ["a", "b"], axis=axis) for axis in (0, 2)]
    torch.testing.assert_close(restore(VOLUME, ["a", "b"], axis=[0, -1]), torch.stack(parts).mean(0))


@pytest.mark.parametrize("keys", [["a", "b"], None])
def test_slices_with_the_same_noise_and_content_are_equal(keys: list[str] | None) -> None:
    same = images(2, 1, 6, 5, 1).expand(2, 1, 6, 5, 4)
    shared = restore(same, keys, noise_correlation=1.0)
    assert torch.equal(shared, shared[..., :1].expand_as(shared)) and not torch.equal(shared[0], shared[1])
    own = restore(same, ["a", "b"])
    assert not torch.equal(own[..., 0], own[..., 1])


def test_noise_has_the_correlation_that_was_asked_for() -> None:
    starts = []

    class Recorder(Pointwise):
        def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: Any = None) -> torch.Tensor:
            starts.append(x[:, 0].flatten(1))
            return torch.zeros_like(x[:, :1])

    restore(torch.zeros(1, 1, 100, 100, 3), ["a"], Recorder(), noise_correlation=0.6)
    for drawn in starts[:1]:
        found = torch.corrcoef(drawn)
        torch.testing.assert_close(found, 0.6 + 0.4 * torch.eye(3), rtol=0, atol=0.03)
        torch.testing.assert_close(drawn.std(dim=1), torch.ones(3), rtol=0, atol=0.03)


def test_correlated_noise_does_not_depend_on_the_batch() -> None:
    slices = SliceSettings(noise_correlation=0.5)
    inferers = [RestorationInferer(DDPMScheduler(), 3, batch_size=n, slices=slices) for n in (1, 7)]
    one, seven = (inferer(VOLUME, Pointwise(), keys=["a", "b"]) for inferer in inferers)
    assert torch.equal(one, seven)
    assert torch.equal(inferers[0](VOLUME[1:], Pointwise(), keys=["b"]), one[1:])


def test_neighbours_are_further_channels() -> None:
    seen = []

    class Recorder(Pointwise):
        def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: Any = None) -> torch.Tensor:
            seen.append(x[:, 1:])
            return torch.zeros_like(x[:, :1])

    volume = torch.arange(4.0).view(1, 1, 1, 1, 4).expand(1, 1, 6, 5, 4)
    restore(volume, ["a"], Recorder(), neighbours=2)
    assert [row.tolist() for row in seen[0][:, :, 0, 0]] == [
        [0, 0, 1, 0, 2],
        [1, 0, 2, 0, 3],
        [2, 1, 3, 0, 3],
        [3, 2, 3, 1, 3],
    ]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"axis": 3}, "axis=3 must be a whole number, from -3 to 2"),
        ({"axis": [0, -3]}, r"axis=\[0, -3\] must name at least one axis, and each only once"),
        ({"axis": []}, r"axis=\[\] must name at least one axis"),
        ({"noise_correlation": 1.5}, "noise_correlation=1.5 must be a finite number, at least 0 and at most 1"),
        ({"neighbours": -1}, "neighbours=-1 must be a whole number, at least 0"),
    ],
)
def test_wrong_settings(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SliceSettings(**kwargs)


def test_monais_schedulers_share_all_noise_or_none() -> None:
    scheduler = MonaiDDIMScheduler(20)
    RestorationInferer(scheduler, 20, slices=SliceSettings(noise_correlation=1.0))
    with pytest.raises(ValueError, match="scheduler=DDIMScheduler draws from torch's generators only"):
        RestorationInferer(scheduler, 20, slices=SliceSettings(noise_correlation=0.5))


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("shape", "dims"), [((2, 1, 60, 50), 2), ((2, 1, 20, 15, 10), 3), ((2, 1, 60, 50, 1), 2)])
@pytest.mark.parametrize("keys", [["a", "b"], None])
def test_noise_is_standard_normal_whatever_is_shared(
    correlation: float, shape: tuple[int, ...], dims: int, keys: list[str] | None
) -> None:
    starts = []

    class Recorder(Pointwise):
        def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: Any = None) -> torch.Tensor:
            starts.append(x[:, 0])
            return torch.zeros_like(x[:, :1])

    restore(images(*shape), keys, Recorder(spatial_dims=dims), noise_correlation=correlation)
    assert abs(float(starts[0].std()) - 1) < 0.05
