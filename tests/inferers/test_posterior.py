"""Mean and standard deviation as one output."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from monai_cdiff.inferers import PosteriorInferer, RestorationInferer
from monai_cdiff.networks.nets import ConditionalUNet
from monai_cdiff.networks.schedulers import DDIMScheduler


def test_channels_are_mean_and_standard_deviation() -> None:
    torch.manual_seed(0)
    network = ConditionalUNet(2, in_channels=2, out_channels=1, size="tiny").eval()
    restore = RestorationInferer(DDIMScheduler(), num_inference_steps=2)
    image = MetaTensor(torch.randn(2, 1, 16, 16), meta={"subject": ["a", "b"]})
    both = PosteriorInferer(restore, num_samples=3)(image, network)
    mean, std = restore.posterior(image, network, num_samples=3)
    torch.testing.assert_close(both.as_tensor(), torch.cat([mean, std], 1).as_tensor())
    assert both.shape == (2, 2, 16, 16) and both.meta["subject"] == ["a", "b"] and float(std.min()) >= 0


def test_what_draws_no_spread_is_refused() -> None:
    with pytest.raises(ValueError, match="num_samples=1 must be"):
        PosteriorInferer(RestorationInferer(DDIMScheduler(), num_inference_steps=2), num_samples=1)
    one = RestorationInferer(DDIMScheduler(prediction_type="sample"), num_inference_steps=2, output="mean")
    with pytest.raises(ValueError, match="output='mean' draws no samples"):
        PosteriorInferer(one)
