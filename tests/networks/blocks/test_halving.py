from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_cdiff.networks.blocks import halve


@pytest.mark.parametrize("last", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dims", [2, 3])
def test_one_voxel_that_remains_is_computed(dims, last):
    torch.manual_seed(last)
    conv = (nn.Conv2d, nn.Conv3d)[dims - 2](16, 32, kernel_size=3, stride=2, padding=1)
    x = torch.randn(1, 16, *[12, 10][: dims - 1], last)
    exact = conv.double()(x.double()).float()
    conv.float()
    for _ in range(5):
        torch.full((exact.numel(),), 1e4, dtype=torch.bfloat16)  # what unwritten memory may hold
        assert torch.allclose(halve(conv, x), exact, atol=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            assert (halve(conv, x) - exact).norm() < 0.02 * exact.norm()
