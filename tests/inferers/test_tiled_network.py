"""A network run tile by tile: the untiled result where that is possible, and nothing lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import sliding_window_inference

from contracts.inferer_contract import Pointwise, images
from monai_cdiff.inferers import RestorationInferer
from monai_cdiff.inferers.tiled_network import TiledNetwork
from monai_cdiff.networks.nets import ConditionalUNet
from monai_cdiff.networks.schedulers import DDIMScheduler, DDPMScheduler
from monai_cdiff.utils.tiles import tile_borders, tile_layout


class Timed(torch.nn.Module):
    """Pointwise and different for each timestep; keeps how many tiles each call held."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(0.5))
        self.sizes: list[int] = []

    def forward(self, x: torch.Tensor, timesteps: Any, shift: Any = 0.0, mask: Any = 1.0) -> torch.Tensor:
        self.sizes.append(len(x))
        shape = (-1, *[1] * (x.ndim - 1))
        time = torch.as_tensor(0.0 if timesteps is None else timesteps, dtype=torch.float32)
        offset = time.view(shape) + torch.as_tensor(shift).view(shape)
        return mask * torch.tanh(self.gain * x[:, :1] - x[:, 1:]) + offset


class Convolutions(torch.nn.Module):
    """Two convolutions without statistics of the image; sees 3 voxels far."""

    spatial_dims = 2

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.second = torch.nn.Conv2d(2, 4, 3, padding=1), torch.nn.Conv2d(4, 1, 5, padding=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x)))


class Spy:
    """A network that must not be called."""

    def __call__(self, *args: Any) -> torch.Tensor:
        pytest.fail("the network was called")


@pytest.mark.parametrize("mode", ["gaussian", "constant"])
@pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.9])
@pytest.mark.parametrize(
    ("shape", "roi_size"),
    [
        ((45, 33), (16, 16)),
        ((45, 33), (7, 20)),
        ((17, 5), 16),
        ((1, 31), 8),
        ((17, 15, 9), (8, 8, 4)),
        ((13, 11, 3), (6, 11, 8)),
    ],
)
def test_a_pointwise_network_gives_its_untiled_result(
    shape: tuple[int, ...], roi_size: Any, overlap: float, mode: str
) -> None:
    x, timesteps = images(2, 2, *shape), torch.tensor([0.25, -0.5])
    tiled = TiledNetwork(Timed(), roi_size, overlap, tile_batch_size=5, mode=mode)
    torch.testing.assert_close(tiled(x, timesteps), Timed()(x, timesteps), rtol=0, atol=1e-5)


@pytest.mark.parametrize("timesteps", [None, 3, 0.5, torch.tensor(2.0), torch.tensor([4.0]), torch.tensor([1.0, 9.0])])
@pytest.mark.parametrize("tile_batch_size", [1, 3, 4, 100])
def test_timesteps_reach_the_tiles_of_their_items(timesteps: Any, tile_batch_size: int) -> None:
    x = images(2, 2, 21, 13)
    tiled = TiledNetwork(Timed(), 8, tile_batch_size=tile_batch_size)
    args = () if timesteps is not None else (torch.zeros(2),)  # with args, timesteps=None is passed on
    torch.testing.assert_close(tiled(x, timesteps, *args), Timed()(x, timesteps, *args), rtol=0, atol=1e-5)


def test_other_arguments_follow_their_items_and_are_cut_with_the_image() -> None:
    x, shift, mask = images(3, 2, 21, 13), torch.tensor([0.0, 5.0, -2.0]), images(3, 1, 21, 13, seed=1)
    tiled, timesteps = TiledNetwork(Timed(), 8, tile_batch_size=7), torch.tensor([1.0, 2.0, 3.0])
    expected = Timed()(x, timesteps, shift, mask)
    torch.testing.assert_close(tiled(x, timesteps, shift, mask), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(tiled(x, timesteps, mask=mask, shift=shift), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(tiled(x, timesteps, shift=5.0), Timed()(x, timesteps, 5.0), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("tile_batch_size", "sizes"), [(1, [1] * 12), (5, [5, 5, 2]), (12, [12]), (99, [12])])
def test_no_more_tiles_at_once_than_asked_for(tile_batch_size: int, sizes: list[int]) -> None:
    network = Timed()
    TiledNetwork(network, 8, overlap=0, tile_batch_size=tile_batch_size)(images(2, 2, 24, 16), 0.0)
    assert network.sizes == sizes
    network.sizes.clear()
    TiledNetwork(network, 32, tile_batch_size=2)(images(5, 2, 24, 16), 0.0)
    assert network.sizes == [2, 2, 1]


@pytest.mark.parametrize("shape", [(16, 16), (16, 9), (5, 3)])
@pytest.mark.parametrize("mode", ["gaussian", "constant"])
def test_an_image_of_one_tile_gives_exactly_the_networks_output(shape: tuple[int, int], mode: str) -> None:
    network, x = Convolutions(), images(2, 2, *shape)
    assert torch.equal(TiledNetwork(network, 16, mode=mode)(x), network(x))
    half = x.to(torch.bfloat16)
    result = TiledNetwork(network.to(torch.bfloat16), 16, mode=mode)(half)
    assert result.dtype == torch.bfloat16 and torch.equal(result, network(half))


def test_convolutions_differ_only_near_borders() -> None:
    network, x = Convolutions(), images(1, 2, 51, 37)
    whole = network(x)
    difference = (TiledNetwork(network, 16, overlap=0)(x) - whole).abs()[0, 0]
    far = torch.ones_like(difference, dtype=torch.bool)
    for axis, places in enumerate(tile_layout("x", x.shape, 16, 0)):
        for border in tile_borders(places):
            far.narrow(axis, border - 3, 6).fill_(False)
    assert far.float().mean() > 0.2 and difference[far].max() < 1e-5 and difference.max() > 1e-2


def test_overlap_makes_convolutions_agree() -> None:
    network, x = Convolutions(), images(1, 2, 51, 37)
    errors = [
        (TiledNetwork(network, 16, overlap)(x) - network(x)).abs()[..., 8:-8, 8:-8].mean() for overlap in (0, 0.25, 0.5)
    ]
    assert errors[0] > 5 * errors[1] > 25 * errors[2]


def test_convolutions_agree_in_the_middle_of_tiles() -> None:
    """Tiles of 24 at 0, 18 and 36: between 24 and 36 only the second counts, which ends 6 voxels and more away."""
    network, x = Convolutions(), images(1, 2, 60, 60)
    middle = (..., slice(24, 36), slice(24, 36))
    tiled, whole = TiledNetwork(network, 24, overlap=0.25)(x), network(x)
    torch.testing.assert_close(tiled[middle], whole[middle], rtol=0, atol=1e-5)
    assert not torch.allclose(tiled, whole, rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 2, 51, 37), (1, 2, 16, 40), (1, 2, 17, 16), (1, 2, 23, 19, 12)])
@pytest.mark.parametrize("overlap", [0, 0.1, 0.25, 0.33, 0.5, 0.7, 0.99])
def test_tiles_lie_as_monais_windows(shape: tuple[int, ...], overlap: float) -> None:
    roi_size = (16, 16, 8)[: len(shape) - 2]
    seen: list[list[tuple[int, int]]] = []

    def predictor(windows: torch.Tensor, places: list[list[slice]]) -> torch.Tensor:
        seen.extend([(int(s.start), int(s.stop)) for s in place[2:]] for place in places)
        return windows

    sliding_window_inference(torch.zeros(shape), roi_size, 4, predictor, overlap, with_coord=True)
    layout = tile_layout("x", shape, roi_size, overlap)
    for axis, places in enumerate(layout):
        assert [(place.start, place.stop) for place in places] == sorted({tile[axis] for tile in seen})


@pytest.mark.parametrize("values", [(1.0, 0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 1.0), (0.0, 1.0, 0.0, 1.0)])
def test_no_jump_where_tiles_end_nor_where_four_meet(values: tuple[float, ...]) -> None:
    """Each of four tiles predicts a constant of its own; they end at 48 and at 64."""
    tiled = TiledNetwork(lambda x: torch.tensor(values).view(4, 1, 1, 1).expand(4, 1, 64, 64), 64, overlap=0.25)
    blended = tiled(images(1, 1, 112, 112))
    assert blended.max() == 1 and blended.min() == 0
    for axis in (2, 3):
        jumps = blended.diff(dim=axis).abs().movedim(axis, 0)
        assert jumps[[47, 63]].max() < 0.01 and jumps.max() < 0.2


def test_stands_for_the_network() -> None:
    network = ConditionalUNet(2, in_channels=2, out_channels=1, size="tiny")
    for inner in (network, torch.nn.DataParallel(network)):
        tiled = TiledNetwork(inner, 16)
        assert (tiled.spatial_dims, tiled.in_channels, tiled.out_channels, tiled.roi_size) == (2, 2, 1, (16, 16))
        assert next(tiled.parameters()) is next(network.parameters())
    bare = TiledNetwork(Timed(), 16)
    assert not any(hasattr(bare, name) for name in ("spatial_dims", "in_channels", "out_channels"))
    assert TiledNetwork(Timed(), [16, 16, 8]).spatial_dims == 3


def test_the_networks_output_and_the_input_are_left_alone() -> None:
    x = images(1, 1, 20, 20)
    before = x.clone()
    for size in (1, 3):
        torch.testing.assert_close(TiledNetwork(lambda tiles: tiles, 8, tile_batch_size=size)(x), before)
        assert torch.equal(x, before)


def test_gradients_are_those_of_the_untiled_network() -> None:
    tiled, whole = Timed(), Timed()
    x = images(2, 2, 21, 13)
    TiledNetwork(tiled, 8)(x, 1.0).square().mean().backward()
    whole(x, 1.0).square().mean().backward()
    torch.testing.assert_close(tiled.gain.grad, whole.gain.grad)


def test_metadata_stays_with_the_image() -> None:
    x = MetaTensor(images(1, 2, 21, 13), meta={"subject": "p"})
    result = TiledNetwork(Convolutions(), 8)(x)
    assert isinstance(result, MetaTensor) and result.meta["subject"] == "p"
    assert torch.equal(result.as_tensor(), TiledNetwork(Convolutions(), 8)(x.as_tensor()))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"roi_size": (8,)}, r"roi_size=\(8,\) needs 2 or 3 values, or one number"),
        ({"roi_size": 0}, "roi_size=0 must be a whole number, at least 1"),
        ({"roi_size": (8, -1)}, r"roi_size\[1\]=-1 must be a whole number, at least 1"),
        ({"roi_size": (8, 7.5)}, r"roi_size\[1\]=7.5 must be a whole number"),
        ({"roi_size": "8"}, "roi_size='8' must be a whole number"),
        ({"overlap": 1}, "overlap=1 must be at least 0 and less than 1"),
        ({"overlap": -0.1}, "overlap=-0.1 must be a finite number, at least 0"),
        ({"overlap": "half"}, "overlap='half' must be a finite number"),
        ({"tile_batch_size": 0}, "tile_batch_size=0 must be a whole number, at least 1"),
        ({"mode": "gausian"}, "mode='gausian' is not supported; allowed: .*Did you mean 'gaussian'"),
    ],
)
def test_wrong_arguments(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TiledNetwork(Spy(), **{"roi_size": 8, **kwargs})


def test_roi_size_must_fit_the_network() -> None:
    with pytest.raises(ValueError, match=r"roi_size=\(8, 8, 8\) needs 2 values, one per axis"):
        TiledNetwork(Convolutions(), (8, 8, 8))


@pytest.mark.parametrize(
    ("roi_size", "shape", "timesteps", "message"),
    [
        ((8, 8), (1, 2, 9, 9, 9), None, r"x has shape \(1, 2, 9, 9, 9\); roi_size=\(8, 8\) takes \(B, C, H, W\) with"),
        ((8, 8, 8), (1, 2, 9, 9), None, r"takes \(B, C, H, W, D\) with sizes from 1"),
        (8, (1, 2, 9), None, r"roi_size=8 takes \(B, C, H, W\) or \(B, C, H, W, D\) with"),
        (8, (0, 2, 9, 9), None, r"x has shape \(0, 2, 9, 9\)"),
        (8, (1, 2, 9, 0), None, r"x has shape \(1, 2, 9, 0\)"),
        (8, (2, 2, 9, 9), torch.zeros(3), r"timesteps has shape \(3,\); expected \(2,\), \(1,\) or \(\)"),
        (8, (2, 2, 9, 9), torch.zeros(2, 1), r"timesteps has shape \(2, 1\)"),
    ],
)
def test_wrong_calls(roi_size: Any, shape: tuple[int, ...], timesteps: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TiledNetwork(Spy(), roi_size)(torch.zeros(shape), timesteps)


@pytest.mark.parametrize(
    "network", [lambda x: x[..., ::2], lambda x: x[:1], lambda x: x.mean((2, 3))], ids=["size", "number", "axes"]
)
def test_a_network_that_changes_the_size_is_named(network: Callable) -> None:
    with pytest.raises(ValueError, match=r"network returned shape .* for tiles of shape \(4, 1, 8, 8\); it must keep"):
        TiledNetwork(network, 8)(torch.zeros(1, 1, 20, 20))


def test_noise_belongs_to_the_voxel_whatever_the_tiles() -> None:
    restore = RestorationInferer(DDPMScheduler(prediction_type="v_prediction"), 3)
    inputs = images(2, 1, 21, 13)
    whole = restore(inputs, Pointwise())
    for roi_size, overlap in ((8, 0.0), (16, 0.5)):
        tiled = restore(inputs, TiledNetwork(Pointwise(), roi_size, overlap))
        torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)


def real_network(spatial_dims: int = 2) -> ConditionalUNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ConditionalUNet(spatial_dims, in_channels=2, out_channels=1, size="tiny").eval()
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return network


@pytest.mark.parametrize(("spatial_dims", "shape"), [(2, (53, 39)), (2, (29, 23, 3)), (3, (21, 17, 9))])
def test_restores_with_a_real_network(spatial_dims: int, shape: tuple[int, ...]) -> None:
    network, inputs = real_network(spatial_dims), images(2, 1, *shape)
    restore = RestorationInferer(DDIMScheduler(prediction_type="v_prediction"), 2)
    one, three, many = (
        restore(inputs, TiledNetwork(network, 16, tile_batch_size=size), keys=["a", "b"]) for size in (1, 3, 64)
    )
    assert one.shape == inputs.shape and torch.isfinite(one).all()
    torch.testing.assert_close(three, one, rtol=0, atol=1e-5)
    torch.testing.assert_close(many, one, rtol=0, atol=1e-5)
    alone = restore(inputs[1:], TiledNetwork(network, 16), keys=["b"])
    torch.testing.assert_close(alone, one[1:], rtol=0, atol=1e-5)
