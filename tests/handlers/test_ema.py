"""The moving average of the weights against its recursion."""

from __future__ import annotations

import pytest
import torch

from monai_cdiff.handlers import ExponentialMovingAverage


def test_follows_its_recursion() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    ema = ExponentialMovingAverage(network, decay=0.5)
    expected = None
    for n, value in enumerate([1.0, 3.0, -2.0, 5.0, 0.0, 1.0, 7.0, 2.0, 4.0, 9.0, 3.0]):
        torch.nn.init.constant_(network.weight, value)
        ema.update()
        decay = min(0.5, (1 + n) / (10 + n))
        expected = value if expected is None else decay * expected + (1 - decay) * value
        assert ema.module.weight.item() == pytest.approx(expected, rel=1e-6)


def test_is_apart_from_the_network() -> None:
    network = torch.nn.BatchNorm1d(2)
    ema = ExponentialMovingAverage(network)
    network(torch.randn(8, 2))
    assert not ema.module.training and ema.module.running_mean.abs().sum() == 0
    assert not any(key.startswith("network") for key in ema.state_dict())
    assert not any(p.requires_grad for p in ema.module.parameters())


def test_wrong_decay() -> None:
    with pytest.raises(ValueError, match="decay=1.0 must be a finite number, at least 0 and at most 1"):
        ExponentialMovingAverage(torch.nn.Linear(1, 1), decay=1.0)
