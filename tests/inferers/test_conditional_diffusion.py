"""The training forward pass: MONAI's numbers in MONAI's mode, concatenation by default."""

from __future__ import annotations

import pytest
import torch
from monai.inferers import DiffusionInferer
from monai.networks.nets import DiffusionModelUNet
from monai.networks.schedulers import DDPMScheduler as MonaiDDPMScheduler

from contracts.inferer_contract import images
from monai_cdiff.inferers import ConditionalDiffusionInferer
from monai_cdiff.networks import Parameterization
from monai_cdiff.networks.schedulers import DDPMScheduler

IMAGE, NOISE, CONDITION = images(2, 1, 16, 16), images(2, 1, 16, 16, seed=1), images(2, 1, 16, 16, seed=2)
TIMESTEPS = torch.tensor([3, 700])


def monai_network(cross_attention: bool) -> DiffusionModelUNet:
    torch.manual_seed(0)
    return DiffusionModelUNet(
        spatial_dims=2,
        in_channels=1 if cross_attention else 2,
        out_channels=1,
        channels=(8, 8),
        attention_levels=(False, True),
        num_res_blocks=1,
        num_head_channels=8,
        norm_num_groups=8,
        with_conditioning=cross_attention,
        cross_attention_dim=16 if cross_attention else None,
    ).eval()


@pytest.mark.parametrize("mode", ["crossattn", "concat"])
def test_gives_monais_numbers(mode: str) -> None:
    network = monai_network(mode == "crossattn")
    condition = images(2, 5, 16) if mode == "crossattn" else CONDITION
    scheduler = MonaiDDPMScheduler(num_train_timesteps=1000)
    ours = ConditionalDiffusionInferer(scheduler, conditioning_mode=mode)
    monais = DiffusionInferer(scheduler)
    theirs = monais(IMAGE, network, NOISE, TIMESTEPS, condition, mode=mode)
    assert torch.equal(ours(IMAGE, network, NOISE, TIMESTEPS, condition), theirs)
    scheduler.set_timesteps(3)
    torch.manual_seed(0)
    theirs = monais.sample(NOISE, network, scheduler, conditioning=condition, mode=mode, verbose=False)
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="MONAI's DDPMScheduler with 3 steps of 1000: it goes from t to t - 1"):
        assert torch.equal(ours.sample(NOISE, network, scheduler, conditioning=condition, verbose=False), theirs)


def test_the_network_sees_the_noised_residual_beside_the_condition() -> None:
    seen = {}

    def network(x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor:
        seen.update(x=x, timesteps=timesteps, context=context)
        return x[:, :1]

    parameterization = Parameterization("v_prediction", "residual", residual_scale=3.0)
    scheduler = DDPMScheduler(prediction_type="v_prediction")
    ConditionalDiffusionInferer(scheduler, parameterization=parameterization)(
        IMAGE, network, NOISE, TIMESTEPS, CONDITION
    )
    expected = scheduler.add_noise(3 * (IMAGE - CONDITION), NOISE, TIMESTEPS)
    torch.testing.assert_close(seen["x"], torch.cat([expected, CONDITION], dim=1))
    assert seen["context"] is None and torch.equal(seen["timesteps"], TIMESTEPS)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="conditioning_mode='cross' is not supported"):
        ConditionalDiffusionInferer(DDPMScheduler(), conditioning_mode="cross")
    with pytest.raises(ValueError, match="scheduler.prediction_type='epsilon' differs"):
        ConditionalDiffusionInferer(DDPMScheduler(), parameterization=Parameterization("sample"))
