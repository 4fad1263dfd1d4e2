"""The evidence lower bound, and the weight that finds itself under a constraint."""

from __future__ import annotations

import io

import pytest
import torch

from monai_cdiff.losses import EvidenceLowerBoundLoss, GECOLoss


def test_the_two_terms() -> None:
    target, kl = torch.zeros(2, 1, 4, 4), torch.tensor([[1.0, 3.0], [2.0, 10.0]])
    image = torch.full_like(target, 3.0)
    assert EvidenceLowerBoundLoss("l1", beta=2.0)((image, kl), target).item() == pytest.approx(3 + 2 * 8 / 16)
    assert EvidenceLowerBoundLoss("l2", beta=0.0)((image, kl), target).item() == pytest.approx(9)


def test_with_beta_one_half_it_is_a_bound_of_the_evidence() -> None:
    # y = z + noise of variance 1/2, z standard normal: the exact posterior N(2y/3, 1/3) makes the bound tight
    y, n = torch.tensor(0.7, dtype=torch.float64), 200_000
    mean, variance = 2 * y / 3, torch.tensor(1 / 3, dtype=torch.float64)
    z = mean + variance.sqrt() * torch.randn(n, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kl = (0.5 * (variance + mean**2 - 1 - variance.log())).expand(n, 1)
    loss = EvidenceLowerBoundLoss("l2", beta=1.0)((z, kl), y.expand(n, 1))  # |y - z|^2 = -log p(y | z) + constant
    evidence = -torch.distributions.Normal(0, 1.5**0.5).log_prob(y.float()).item()
    constant = 0.5 * torch.log(torch.tensor(torch.pi)).item()  # of a normal density of variance 1/2
    assert loss.item() + constant == pytest.approx(evidence, abs=5e-3)


def test_the_weight_grows_until_the_constraint_is_met() -> None:
    loss, kl, target = GECOLoss(kappa=0.1, rate=0.1, decay=0.5), torch.zeros(1, 1), torch.zeros(1, 1, 4, 4)
    weights = []
    for error in [0.5] * 5 + [0.0] * 20:
        value = loss((target + error, kl), target)
        weights.append(loss.multiplier.item())
    assert weights[:5] == sorted(weights[:5]) and weights[0] == pytest.approx(2.718281828 ** (0.1 * 0.4))
    assert weights[-1] < weights[5] and value.item() == pytest.approx(-0.1 * weights[-2])


def test_the_average_moves_by_the_decay() -> None:
    loss, kl, target = GECOLoss(kappa=1.0, decay=0.9), torch.zeros(1, 1), torch.zeros(1, 1, 4, 4)
    for error in (2.0, 4.0):
        loss((target + error, kl), target)
    assert loss.average.item() == pytest.approx(0.9 * 1 + 0.1 * 3)


def test_its_minimum_is_the_constraint() -> None:
    # a divergence that falls as the distance grows: without the constraint, all distance and no divergence
    loss, distance = GECOLoss(kappa=0.25, rate=0.05, decay=0.5), torch.tensor(2.0, requires_grad=True)
    optimizer = torch.optim.SGD([distance], lr=0.02)
    for _ in range(1500):
        optimizer.zero_grad()
        size = distance.abs()
        loss((size.view(1, 1, 1), (1 / (0.1 + size)).view(1, 1)), torch.zeros(1, 1, 1)).backward()
        optimizer.step()
    assert abs(distance.item()) == pytest.approx(0.25, abs=0.05)


def test_evaluation_leaves_the_weight_and_a_checkpoint_keeps_it() -> None:
    loss, kl, target = GECOLoss(), torch.zeros(1, 1), torch.zeros(1, 1, 4, 4)
    loss((target + 1, kl), target)
    before = loss.multiplier.item()
    assert before > 1
    loss.eval()((target + 1, kl), target)
    assert loss.multiplier.item() == before
    file = io.BytesIO()
    torch.save(loss.state_dict(), file)
    file.seek(0)
    other = GECOLoss()
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.multiplier.item() == before and other.average.item() == loss.average.item()


def test_what_is_refused() -> None:
    target = torch.zeros(2, 1, 4, 4)
    with pytest.raises(ValueError, match=r"divergences have shape \(1, 2\); expected \(2, scales\)"):
        EvidenceLowerBoundLoss()((target, torch.zeros(1, 2)), target)
    with pytest.raises(ValueError, match=r"reconstruction has shape \(2, 1, 4\)"):
        GECOLoss()((target[..., 0], torch.zeros(2, 2)), target)
    with pytest.raises(ValueError, match="reconstruction='l3'"):
        EvidenceLowerBoundLoss("l3")
    with pytest.raises(ValueError, match="kappa=0"):
        GECOLoss(kappa=0)
