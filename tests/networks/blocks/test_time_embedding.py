"""The timestep: its accepted forms and its embedding."""

from __future__ import annotations

import math

import pytest
import torch
from parameterized import parameterized

from monai_cdiff.networks.blocks import TimestepEmbedding, expand_timesteps


@parameterized.expand(
    [
        ("none", None, [0.0, 0.0]),
        ("int", 7, [7.0, 7.0]),
        ("float", 7.25, [7.25, 7.25]),
        ("zero_dim", torch.tensor(7), [7.0, 7.0]),
        ("one_item", torch.tensor([7.5]), [7.5, 7.5]),
        ("per_item", torch.tensor([3, 999]), [3.0, 999.0]),
        ("float64", torch.tensor([0.125, 1999.0], dtype=torch.float64), [0.125, 1999.0]),
    ]
)
def test_all_forms_become_one_number_per_item(_name, timesteps, expected):
    result = expand_timesteps(timesteps, batch_size=2)
    assert result.dtype == torch.float32
    assert result.tolist() == expected


@parameterized.expand(
    [
        ("three_for_two", torch.zeros(3), r"shape \(3,\); allowed: \(2,\) for this batch, \(1,\) or \(\)"),
        ("column", torch.zeros(2, 1), r"timesteps has shape \(2, 1\)"),
        ("boolean", torch.tensor([True, False]), "timesteps has dtype torch.bool"),
        ("complex", torch.zeros(2, dtype=torch.complex64), "timesteps has dtype torch.complex64"),
        ("infinite", math.inf, "timesteps=inf must be a finite number"),
        ("text", "late", "timesteps='late' must be a finite number"),
    ]
)
def test_other_forms_are_refused(_name, timesteps, message):
    with pytest.raises(ValueError, match=message):
        expand_timesteps(timesteps, batch_size=2)


def test_embedding_is_the_perceptron_of_the_sinusoids():
    torch.manual_seed(0)
    module = TimestepEmbedding(frequency_channels=6, embedding_channels=10).double()
    time = 12.5
    angles = [time * 10000 ** (-i / 3) for i in range(3)]
    waves = torch.tensor([[math.cos(a) for a in angles] + [math.sin(a) for a in angles]], dtype=torch.float64)
    hidden = waves @ module.first.weight.T + module.first.bias
    hidden = hidden * torch.sigmoid(hidden)
    expected = hidden @ module.second.weight.T + module.second.bias
    expected = expected * torch.sigmoid(expected)
    torch.testing.assert_close(module(torch.tensor([time])), expected, atol=1e-5, rtol=1e-5)


def test_half_precision_still_tells_neighbouring_timesteps_apart():
    torch.manual_seed(0)
    module = TimestepEmbedding(32, 64).to(torch.bfloat16)
    late = module(torch.tensor([1998.0, 1999.0]))
    assert late.dtype == torch.bfloat16
    assert (late[0] - late[1]).abs().max() > 0.01
