"""The likelihood of a generalised Gaussian beside scipy's."""

from __future__ import annotations

import math

import pytest
import torch

from monai_cdiff.losses import GeneralizedGaussianLoss


def test_it_is_the_negative_logarithm_of_scipys_density() -> None:
    stats = pytest.importorskip("scipy.stats")
    generator = torch.Generator().manual_seed(0)
    target, mean = torch.randn(2, 2, 1, 5, 6, generator=generator, dtype=torch.float64)
    scale, shape = 0.1 + 2 * torch.rand(2, 2, 1, 5, 6, generator=generator, dtype=torch.float64)
    expected = -stats.gennorm.logpdf(target.numpy(), shape.numpy(), loc=mean.numpy(), scale=scale.numpy()).mean()
    loss = GeneralizedGaussianLoss(eps=1e-15)([(mean, scale, shape)], target)
    assert loss.item() == pytest.approx(expected, rel=1e-10)


def test_gauss_and_laplace_are_among_them() -> None:
    target, one = torch.randn(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    loss = GeneralizedGaussianLoss()
    gauss = torch.distributions.Normal(0, 0.3).log_prob(target).mean()
    laplace = torch.distributions.Laplace(0, 0.3).log_prob(target).mean()
    zero = torch.zeros_like(one)
    torch.testing.assert_close(loss([(zero, 0.3 * math.sqrt(2) * one, 2 * one)], target), -gauss, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(loss([(zero, 0.3 * one, one)], target), -laplace, atol=1e-4, rtol=1e-4)


def test_stages_are_averaged() -> None:
    target, one = torch.randn(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    loss, first, second = GeneralizedGaussianLoss(), (one, one, one), (0 * one, 2 * one, one)
    both = loss([first, second], target)
    torch.testing.assert_close(both, (loss([first], target) + loss([second], target)) / 2)


@pytest.mark.parametrize("shape", [0.25, 1.0, 4.0])
def test_the_gradient_is_finite_where_the_residual_is_zero(shape: float) -> None:
    values = [torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), shape)]
    for value in values:
        value.requires_grad_()
    GeneralizedGaussianLoss()([values], torch.zeros(1, 1, 2, 2)).backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in values)


def test_what_is_refused() -> None:
    loss, one = GeneralizedGaussianLoss(), torch.ones(1, 1, 4, 4)
    with pytest.raises(ValueError, match="at least one stage"):
        loss([], one)
    with pytest.raises(ValueError, match=r"scale has shape \(1, 1, 4, 3\); expected \(1, 1, 4, 4\)"):
        loss([(one, one[..., :3], one)], one)
    with pytest.raises(ValueError, match="eps=0"):
        GeneralizedGaussianLoss(eps=0)
