"""The residual block against its formula."""

from __future__ import annotations

import pytest
import torch
from parameterized import parameterized
from torch.nn import functional as F

from monai_cdiff.networks.blocks import ResidualBlock


def perturbed(block: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return block


@parameterized.expand([("2d_same", 2, 8, 8), ("2d_wider", 2, 8, 12), ("3d_wider", 3, 4, 8)])
def test_output_is_the_formula(_name, spatial_dims, in_channels, out_channels):
    torch.manual_seed(0)
    block = perturbed(ResidualBlock(spatial_dims, in_channels, out_channels, embedding_channels=6, norm_num_groups=4))
    x, embedding = torch.randn(2, in_channels, *[5] * spatial_dims), torch.randn(2, 6)
    conv = F.conv2d if spatial_dims == 2 else F.conv3d

    h = F.group_norm(x, 4, block.norm1.weight, block.norm1.bias)
    h = conv(h * h.sigmoid(), block.conv1.weight, block.conv1.bias, padding=1)
    h = F.group_norm(h, 4, block.norm2.weight, block.norm2.bias)
    both = embedding @ block.time_proj.weight.T + block.time_proj.bias
    both = both.reshape(2, 2 * out_channels, *[1] * spatial_dims)
    h = h * (1 + both[:, :out_channels]) + both[:, out_channels:]
    h = conv(h * h.sigmoid(), block.conv2.weight, block.conv2.bias, padding=1)
    shortcut = x if in_channels == out_channels else conv(x, block.shortcut.weight, block.shortcut.bias)
    torch.testing.assert_close(block(x, embedding), shortcut + h, atol=1e-4, rtol=1e-4)


def test_fresh_block_is_its_shortcut():
    x = torch.randn(2, 8, 6, 5)
    assert torch.equal(ResidualBlock(2, 8, 8, 4, norm_num_groups=2)(x, torch.randn(2, 4)), x)


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    block = perturbed(ResidualBlock(2, 4, 4, 4, norm_num_groups=2, dropout=0.5))
    x, embedding = torch.randn(1, 4, 8, 8), torch.randn(1, 4)
    assert not torch.equal(block(x, embedding), block(x, embedding))
    block.eval()
    assert torch.equal(block(x, embedding), block(x, embedding))


def test_groups_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="divisible"):
        ResidualBlock(2, 8, 8, 4, norm_num_groups=3)
