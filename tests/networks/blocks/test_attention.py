"""The self-attention block against its formula."""

from __future__ import annotations

import pytest
import torch
from parameterized import parameterized
from torch.nn import functional as F

from monai_cdiff.networks.blocks import SelfAttentionBlock


def random_block() -> SelfAttentionBlock:
    torch.manual_seed(0)
    block = SelfAttentionBlock(channels=8, num_head_channels=4, norm_num_groups=2)
    torch.nn.init.normal_(block.out_proj.weight)
    torch.nn.init.normal_(block.out_proj.bias)
    return block


@parameterized.expand([("2d", (3, 5)), ("3d", (2, 3, 2)), ("one_position", (1, 1))])
def test_output_is_softmax_attention_per_head(_name, size):
    block = random_block()
    x = torch.randn(2, 8, *size)
    tokens = F.group_norm(x, 2, block.norm.weight, block.norm.bias).flatten(2).transpose(1, 2)
    query, key, value = (tokens @ block.qkv.weight.T + block.qkv.bias).split(8, dim=-1)
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        weights = (query[..., head] @ key[..., head].transpose(1, 2) / 4**0.5).softmax(dim=-1)
        heads.append(weights @ value[..., head])
    mixed = torch.cat(heads, dim=-1) @ block.out_proj.weight.T + block.out_proj.bias
    torch.testing.assert_close(block(x), x + mixed.transpose(1, 2).reshape(x.shape), atol=1e-5, rtol=1e-5)


def test_moving_the_positions_moves_the_output():
    block, x = random_block(), torch.randn(1, 8, 4, 4)
    torch.testing.assert_close(block(x.flip(2)), block(x).flip(2), atol=1e-5, rtol=1e-5)


def test_memory_format_does_not_change_the_output():
    block, x = random_block(), torch.randn(2, 8, 4, 6)
    torch.testing.assert_close(block(x.to(memory_format=torch.channels_last)), block(x), atol=1e-5, rtol=1e-5)


def test_fresh_block_returns_its_input():
    x = torch.randn(2, 8, 4, 3)
    assert torch.equal(SelfAttentionBlock(8, 8, norm_num_groups=2)(x), x)


def test_head_width_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="num_head_channels=3 must divide the number of channels, 8"):
        SelfAttentionBlock(8, 3, norm_num_groups=2)
