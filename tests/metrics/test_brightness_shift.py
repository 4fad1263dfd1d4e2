"""Brightness shift: the mean error, per image, with its sign."""

from __future__ import annotations

import torch

from monai_cdiff.metrics import BrightnessShiftMetric


def test_is_the_signed_mean_error_per_image() -> None:
    metric = BrightnessShiftMetric()
    original = torch.rand(2, 1, 5, 4, generator=torch.Generator().manual_seed(0))
    shift = torch.tensor([0.25, -0.5]).view(2, 1, 1, 1)
    torch.testing.assert_close(metric(original + shift, original), torch.tensor([[0.25], [-0.5]]))
    torch.testing.assert_close(metric.aggregate(), torch.tensor([-0.125]))
