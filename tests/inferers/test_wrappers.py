"""The inferer inside MONAI's wrappers, around tiles and with MONAI's network; the same bits wherever noise is keyed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import SliceInferer, SlidingWindowInferer
from monai.networks.nets import DiffusionModelUNet
from monai.networks.schedulers import DDIMScheduler as MonaiDDIMScheduler

from contracts.inferer_contract import Pointwise, images
from monai_cdiff.inferers import KeepMeasured, MatchLowResolution, RestorationInferer, SliceSettings, TiledNetwork
from monai_cdiff.networks import Parameterization
from monai_cdiff.networks.schedulers import (
    DDIMScheduler,
    DDPMScheduler,
    DiffusersSchedulerAdapter,
    UniPCMultistepScheduler,
)

THRESHOLDING = DiffusersSchedulerAdapter(diffusers.DPMSolverMultistepScheduler(1000, thresholding=True))


@settings(max_examples=25, deadline=None)
@given(
    roi_size=st.tuples(st.integers(2, 12), st.integers(2, 12)),
    overlap=st.sampled_from([0.0, 0.25, 0.5]),
    tile_batch_size=st.integers(1, 5),
    batch_size=st.integers(1, 3),
    seed=st.integers(0, 2),
)
def test_tiles_do_not_change_a_bit(
    roi_size: tuple[int, int], overlap: float, tile_batch_size: int, batch_size: int, seed: int
) -> None:
    """The noise of a voxel is its own, so a network without context cannot tell that there are tiles."""
    inputs, keys = images(3, 1, 11, 9), ["a", "b", "c"]
    restore = RestorationInferer(DDPMScheduler(), 3, seed=seed, batch_size=batch_size)
    tiled = TiledNetwork(Pointwise(), roi_size, overlap, tile_batch_size)
    assert torch.equal(restore(inputs, tiled, keys=keys), restore(inputs, Pointwise(), keys=keys))


def test_tiles_of_a_volume_for_a_network_of_volumes() -> None:
    volume, restore = images(1, 1, 9, 7, 10), RestorationInferer(UniPCMultistepScheduler(), 4)
    tiled = TiledNetwork(Pointwise(spatial_dims=3), (4, 5, 6))
    assert torch.equal(restore(volume, tiled), restore(volume, Pointwise(spatial_dims=3)))


def test_slices_of_a_volume_through_tiles() -> None:
    volume, restore = images(1, 1, 9, 7, 4), RestorationInferer(DDIMScheduler(), 3)
    assert torch.equal(restore(volume, TiledNetwork(Pointwise(), (4, 5))), restore(volume, Pointwise()))


def test_nests_in_slice_inferer() -> None:
    volume, restore = images(1, 1, 16, 12, 3), RestorationInferer(DDIMScheduler(prediction_type="v_prediction"), 2)
    slices = SliceInferer(roi_size=(16, 12), spatial_dim=2)
    found = slices(volume, lambda windows: restore(windows, Pointwise()))
    alone = torch.stack([restore(volume[..., z], Pointwise()) for z in range(3)], dim=-1)
    torch.testing.assert_close(found, alone)


def test_nests_in_sliding_window_inferer_with_more_channels() -> None:
    restore = RestorationInferer(DDIMScheduler(prediction_type="v_prediction"), 2)
    window = SlidingWindowInferer(roi_size=(8, 8), overlap=0.25)
    assert window(images(1, 3, 20, 13), lambda patch: restore(patch, Pointwise())).shape == (1, 1, 20, 13)


@pytest.mark.parametrize("channels", [1, 3])
def test_monais_network(channels: int) -> None:
    torch.manual_seed(0)
    network = DiffusionModelUNet(
        spatial_dims=2,
        in_channels=1 + channels,
        out_channels=1,
        channels=(8, 8),
        attention_levels=(False, False),
        num_res_blocks=1,
        norm_num_groups=8,
    ).eval()
    restore = RestorationInferer(DDIMScheduler(prediction_type="v_prediction"), 2)
    assert restore(images(2, channels, 16, 12), network).shape == (2, 1, 16, 12)
    with pytest.raises(ValueError, match=f"the network takes in_channels={1 + channels}"):
        restore(images(2, channels + 1, 16, 12), network)


def test_inpainting_keeps_every_measured_voxel() -> None:
    image = images(2, 1, 10, 9)
    mask = (images(2, 1, 10, 9, seed=1) > 0.3).float()
    inputs = torch.cat([torch.where(mask > 0, 0.0, image), mask], dim=1)
    parameterization = Parameterization("v_prediction", "residual", residual_scale=3.0)
    scheduler = UniPCMultistepScheduler(prediction_type="v_prediction")
    for output in ("sample", "average", "antithetic", "mean"):
        kwargs: dict[str, Any] = {"output": output, "consistency": KeepMeasured()}
        restored = RestorationInferer(scheduler, 4, parameterization, **kwargs)(inputs, Pointwise())
        assert torch.equal(restored[mask == 0], image[mask == 0]), output
        if output in ("sample", "average"):
            assert not torch.allclose(restored[mask > 0], torch.zeros(())), output


@pytest.mark.slow
def test_processes_do_not_change_a_bit(tmp_path: Path) -> None:
    """Two processes take every other item, each in batches of its own size."""
    script = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from contracts.inferer_contract import Pointwise, images
from monai_cdiff.inferers import RestorationInferer
from monai_cdiff.networks.schedulers import DDPMScheduler
rank = int(sys.argv[2])
restore = RestorationInferer(DDPMScheduler(), 3, batch_size=1 + rank)
torch.save(restore(images(5, 1, 6, 5)[rank::2], Pointwise(), keys=list("abcde")[rank::2]), sys.argv[3])
"""
    tests = str(Path(__file__).parents[1])
    restored = RestorationInferer(DDPMScheduler(), 3)(images(5, 1, 6, 5), Pointwise(), keys=list("abcde"))
    for rank in (0, 1):
        file = tmp_path / f"{rank}.pt"
        subprocess.run([sys.executable, "-c", script, tests, str(rank), str(file)], check=True)
        assert torch.equal(torch.load(file), restored[rank::2])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("kwargs", [{"output": "average", "num_samples": 7}, {"slices": SliceSettings(axis=(0, 1, 2))}])
def test_measured_voxels_survive_means_and_types(kwargs: dict[str, Any], dtype: torch.dtype) -> None:
    image = images(1, 1, 10, 9, 8).to(dtype) / 3
    mask = (images(1, 1, 10, 9, 8, seed=1) > 0.5).to(dtype)
    scheduler = DDPMScheduler(prediction_type="v_prediction")
    restore = RestorationInferer(scheduler, 3, consistency=KeepMeasured(), **kwargs)
    restored = restore(torch.cat([image, mask], dim=1), Pointwise())
    assert restored.dtype == dtype and torch.equal(restored[mask == 0], image[mask == 0])
    assert not torch.equal(restored[mask == 1], image[mask == 1])


def test_hooks_see_the_slice_and_not_its_neighbours() -> None:
    image, mask = images(1, 1, 8, 8, 4), torch.zeros(1, 1, 8, 8, 4)
    mask[..., 2] = 1
    restore = RestorationInferer(DDPMScheduler(), 3, consistency=KeepMeasured(), slices=SliceSettings(neighbours=1))
    changed = (restore(torch.cat([image, mask], dim=1), Pointwise()) != image).sum(dim=(0, 1, 2, 3))
    assert changed.tolist() == [0, 0, 64, 0]


@pytest.mark.parametrize(
    ("hook", "channel", "message"),
    [
        (KeepMeasured(), 0.5, "mask_channel=-1 of inputs holds 1 values of 480 that are neither 0 nor 1"),
        (KeepMeasured(mask_channel=2), 0.0, "mask_channel=2 must be a channel of inputs"),
        (MatchLowResolution(2), 0.0, "is no interpolation"),
        (lambda image, inputs: image[:, :, :1, :1], 0.0, r"returned \(\d, 1, 1, 1\) for an image of"),
        (lambda image, inputs: None, 0.0, "returned NoneType for an image"),
    ],
)
def test_what_a_hook_refuses_is_found_before_any_call(hook: Any, channel: float, message: str) -> None:
    inputs = torch.cat([images(1, 1, 12, 10, 40), torch.zeros(1, 1, 12, 10, 40)], dim=1)
    inputs[0, 1, 3, 3, 39] = channel
    network = Pointwise()
    with pytest.raises(ValueError, match=message):
        RestorationInferer(DDIMScheduler(), 2, consistency=hook, batch_size=4)(inputs, network)
    assert network.calls == 0


def test_arguments_of_a_call_follow_their_items() -> None:
    class Labelled(Pointwise):
        def forward(self, x: torch.Tensor, timesteps: torch.Tensor, labels: Any = None, scale: float = 1.0) -> Any:
            return scale * labels.view(-1, 1, 1, 1).expand_as(x[:, :1])

    labels = torch.tensor([0.1, 0.2, 0.3])
    for guidance in (1.0, 2.0):
        kwargs: dict[str, Any] = {"batch_size": 2, "guidance_scale": guidance}
        restore = RestorationInferer(DDIMScheduler(prediction_type="sample"), 2, **kwargs)
        flat = restore(images(3, 1, 4, 5), Labelled(), labels=labels, scale=2.0)
        torch.testing.assert_close(flat[:, 0, 0, 0], 2 * labels)
        volumes = restore(images(3, 1, 4, 5, 2), Labelled(), labels)
        torch.testing.assert_close(volumes[:, 0, 0, 0], labels[:, None].expand(3, 2))


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (lambda x: x[:, :1, :1, :1], r"shape \(2, 1, 1, 1\)"),
        (lambda x: x[:, 0], r"shape \(2, 6, 5\)"),
        (lambda x: x, r"shape \(2, 2, 6, 5\)"),
        (lambda x: (x[:, :1],), "tuple"),
    ],
)
@pytest.mark.parametrize("scheduler", [DDIMScheduler(10), MonaiDDIMScheduler(10)])
def test_a_network_that_returns_something_else(scheduler: Any, output: Any, found: str) -> None:
    with pytest.raises(ValueError, match=rf"network returned {found} for \(2, 2, 6, 5\); expected \(2, 1, 6, 5\)"):
        RestorationInferer(scheduler, 10)(images(2, 1, 6, 5), lambda x, timesteps: output(x))


def test_posterior_does_not_depend_on_the_output_that_calls_give() -> None:
    inputs = images(2, 1, 6, 5)
    found = [
        RestorationInferer(DDPMScheduler(), 3, output=output).posterior(inputs, Pointwise(), num_samples=3)
        for output in ("sample", "antithetic", "average")
    ]
    for mean, std in found[1:]:
        assert torch.equal(mean, found[0][0]) and torch.equal(std, found[0][1])


def test_autocast_of_an_evaluator_stays_in_force() -> None:
    seen = []
    network = torch.nn.Conv2d(2, 1, 1)
    network.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    restore = RestorationInferer(DDIMScheduler(), 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        restore(images(1, 1, 6, 5), lambda x, timesteps: network(x))
    assert seen == [torch.bfloat16]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_network_of_another_type(dtype: torch.dtype) -> None:
    network = torch.nn.Conv2d(2, 1, 1).to(dtype)

    class Wrapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
            return self.inner(x)

    restored = RestorationInferer(DDIMScheduler(), 2)(images(1, 1, 6, 5, 3).to(dtype), Wrapped())
    assert restored.dtype == dtype and restored.shape == (1, 1, 6, 5, 3)  # slice by slice, as its convolution says


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"consistency": [None]}, r"consistency=\[None\] must be a function"),
        ({"consistency": 5}, "consistency=5 must be a function"),
        ({"slices": {"axis": 0}}, r"slices=\{'axis': 0\} must be SliceSettings"),
        ({"guidance_scale": -3}, "guidance_scale=-3 must be a finite number, at least 0"),
        ({"consistency": MatchLowResolution(2), "slices": SliceSettings(axis=0)}, "slices.axis=0: MatchLowResolution"),
        ({"scheduler": MonaiDDIMScheduler(2), "consistency": KeepMeasured()}, "needs a scheduler of this package"),
        ({"scheduler": DDIMScheduler(dynamic_threshold=0.9), "consistency": KeepMeasured()}, "cannot both bound"),
        ({"scheduler": THRESHOLDING, "consistency": KeepMeasured()}, "cannot both bound"),
        ({"consistency": [KeepMeasured(), MatchLowResolution(2)], "slices": SliceSettings(axis=0)}, "MatchLowResol"),
    ],
)
def test_wrong_settings(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RestorationInferer(**{"scheduler": DDIMScheduler(), "num_inference_steps": 2, **kwargs})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros((1, 1, 8, 8)), r"inputs is \(1, 1, 8, 8\) float64; it must be a real tensor"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.complex64), "complex64; it must be a real tensor"),
        (None, "inputs is NoneType; it must be a real tensor"),
        (torch.zeros(2, 3), r"inputs is \(2, 3\) torch.float32; it must be a real tensor \(B, C, H, W"),
        (torch.zeros(1, 1, 8, 8, 0), r"inputs is \(1, 1, 8, 8, 0\).*an empty batch cannot be restored"),
    ],
)
def test_inputs_that_are_no_images(inputs: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RestorationInferer(DDIMScheduler(), 2)(inputs, Pointwise())


def test_hooks_see_the_item_and_not_the_neighbours_it_carries() -> None:
    """Items of an ``ItemDataset`` with neighbours hold their neighbours' masks behind their own."""
    own, other = images(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    items = torch.cat([own, 0 * other, own, other, own, other], dim=1)
    restore = RestorationInferer(DDPMScheduler(), 3, consistency=KeepMeasured(), slices=SliceSettings(neighbours=1))
    assert torch.equal(restore(items, Pointwise()), own)
    with pytest.raises(ValueError, match="inputs has 5 channels; images with slices.neighbours=1 have a multiple of 3"):
        restore(items[:, :5], Pointwise())


def test_hooks_are_applied_one_after_another_to_the_result_too() -> None:
    inputs = torch.cat([images(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)], dim=1)
    hooks = [KeepMeasured(), lambda image, given: image.clamp(-0.5, 0.5)]
    restored = RestorationInferer(DDPMScheduler(), 3, consistency=hooks)(inputs, Pointwise())
    assert torch.equal(restored, inputs[:, :1].clamp(-0.5, 0.5))


def test_a_network_with_weights_of_several_types_is_left_to_itself() -> None:
    class Mixed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Linear(1, 4).bfloat16()
            self.convolution = torch.nn.Conv2d(2, 1, 1)

        def forward(self, x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
            return self.convolution(x)

    assert RestorationInferer(DDIMScheduler(), 2)(images(1, 1, 6, 5), Mixed()).shape == (1, 1, 6, 5)


def test_more_channels_out_than_in() -> None:
    network = torch.nn.Conv2d(3, 2, 1)
    with pytest.raises(ValueError, match="inputs has 1 channels; the network restores out_channels=2"):
        RestorationInferer(DDIMScheduler(), 2)(images(1, 1, 6, 5), network)
