"""Kernel distance: the sum over pairs written out, and its expectation."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from monai.engines import SupervisedEvaluator
from monai.handlers import IgniteMetricHandler, from_engine

from monai_cdiff.metrics import KIDMetric

pytestmark = pytest.mark.filterwarnings("ignore:.*images, fewer than")


def kid(**arguments: Any) -> Any:
    return KIDMetric(torch.nn.Identity(), "rows", **arguments)


def rows(number: int, width: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(number, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive(first: torch.Tensor, second: torch.Tensor, degree: int) -> float:
    """The unbiased estimate, pair by pair."""

    def kernel(x: torch.Tensor, y: torch.Tensor) -> float:
        return (sum(a * b for a, b in zip(x.tolist(), y.tolist(), strict=True)) / len(x) + 1) ** degree

    m, n, total = len(first), len(second), 0.0
    for i in range(m):
        for j in range(m):
            total += kernel(first[i], first[j]) / (m * (m - 1)) if i != j else 0
    for i in range(n):
        for j in range(n):
            total += kernel(second[i], second[j]) / (n * (n - 1)) if i != j else 0
    for i in range(m):
        for j in range(n):
            total -= 2 * kernel(first[i], second[j]) / (m * n)
    return total


@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("width", [1, 4])
def test_equals_the_double_loop(degree: int, width: int) -> None:
    first, second = rows(12, width), rows(12, width, seed=1) * 2 + 1
    metric = kid(subsets=3, subset_size=12, degree=degree, get_std=True)
    metric(first, second)
    mean, std = metric.aggregate()
    assert mean.item() == pytest.approx(naive(first, second, degree), rel=1e-10)
    assert std.item() < 1e-9 * abs(mean.item()), "every subset is the whole set"


def test_equals_torch_fidelity() -> None:
    theirs = pytest.importorskip("torch_fidelity.metric_kid")
    first, second = rows(30), rows(30, seed=1) + 0.5
    metric = kid(subsets=1, subset_size=30)
    metric(first, second)
    wanted = theirs.kid_features_to_metric(first, second, kid_subsets=1, kid_subset_size=30, verbose=False)
    assert metric.aggregate().item() == pytest.approx(wanted["kernel_inception_distance_mean"], rel=1e-10)


def test_subsets_are_right_on_average_for_sets_of_several_sizes() -> None:
    """The mean over all pairs of subsets is the estimate of the whole sets; a draw of them comes near it."""
    first, second = rows(9) + 0.5, rows(6, seed=1)
    metric = kid(subsets=4000, subset_size=2, get_std=True)
    metric(first, second)
    mean, std = metric.aggregate()
    assert std > 1 and abs(mean.item() - naive(first, second, 3)) < 4 * std / 4000**0.5


def test_a_shift_of_the_mean() -> None:
    """With degree 1 the expectation is |shift|^2 / F."""
    metric = kid(subsets=20, subset_size=2000, degree=1)
    metric(rows(4000, 2) + torch.tensor([3.0, 4.0]), rows(4000, 2, seed=1))
    assert metric.aggregate().item() == pytest.approx(25 / 2, abs=0.3)


def test_equal_distributions_have_0_expected() -> None:
    """Over independent sets, the mean is within 4 standard errors of 0, and single values are on both sides."""
    values = []
    for seed in range(60):
        metric = kid(subsets=1, subset_size=25)
        metric(rows(25, seed=2 * seed), rows(25, seed=2 * seed + 1))
        values.append(metric.aggregate())
    found = torch.stack(values)
    assert found.mean().abs() < 4 * found.std() / 60**0.5
    assert found.min() < 0 < found.max()


@pytest.mark.parametrize("size", [2, 10])
def test_subsets_have_their_size_and_no_row_twice(size: int) -> None:
    """Orthogonal rows: a pair of different ones has k = 1, so only a row drawn twice would add to the value."""
    metric = kid(subsets=50, subset_size=size, get_std=True)
    metric(torch.eye(12), -torch.eye(12))
    mean, std = metric.aggregate()
    shared = 1 - (1 - 1 / 12) ** 3  # per row that both subsets hold: 1 - k of it with its negative
    counts = mean / shared * size**2 / 2
    assert counts.item() == pytest.approx(size**2 / 12, rel=0.3)
    assert std > 0


def test_the_seed_decides_and_batches_and_order_do_not() -> None:
    first, second = rows(30), rows(40, seed=1) + 1
    results = []
    for seed, size, turn in [(0, 40, False), (0, 7, True), (1, 40, False)]:
        metric = kid(subsets=4, subset_size=10, seed=seed, get_std=True)
        for batch in (second.flip(0) if turn else second).split(size):
            metric(y=batch)
        for batch in (first.roll(11, 0) if turn else first).split(size):
            metric(y_pred=list(batch))
        results.append(torch.stack(metric.aggregate()))
        torch.testing.assert_close(torch.stack(metric.aggregate()), results[-1], rtol=0, atol=0)
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=1e-12)
    assert (results[2] - results[0]).abs().min() > 1e-6


def test_the_global_random_state_is_left_alone() -> None:
    state = torch.get_rng_state()
    metric = kid(subsets=4, subset_size=10)
    metric(rows(30), rows(30, seed=1))
    metric.aggregate()
    assert torch.equal(torch.get_rng_state(), state)


def test_in_an_evaluator(caplog: pytest.LogCaptureFixture) -> None:
    images = torch.rand(12, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    metric: Any = KIDMetric(torch.nn.Flatten(), "pixels", subsets=1, subset_size=12)
    handler = IgniteMetricHandler(metric_fn=metric, output_transform=from_engine(["pred", "label"]))
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=[{"image": part, "label": part + 1} for part in images.split(6)],
        network=torch.nn.Identity(),
        key_val_metric={"kid": handler},
    )
    with caplog.at_level(logging.INFO, logger="monai_cdiff.metrics.feature_sets"):
        evaluator.run()
    wanted = naive(images.flatten(1), images.flatten(1) + 1, 3)
    assert evaluator.state.metrics["kid"] == pytest.approx(wanted, rel=1e-6)
    assert f"KIDMetric(features=pixels): {wanted:.6g} +- 0, 12 generated and 12 real images" in caplog.text


def test_few_images_are_warned_of() -> None:
    metric = kid(subsets=2, subset_size=50)
    metric(rows(20), rows(40))
    with pytest.warns(UserWarning) as found:
        metric.aggregate()
    texts = [str(warning.message) for warning in found]
    assert "features=rows): 20 generated and 40 real images, fewer than 2048" in texts[0]
    assert "subset_size=50 is more than there are images; subsets of 20" in texts[1]


@pytest.mark.parametrize(
    ("argument", "value", "allowed"),
    [("subsets", 0, 1), ("subset_size", 1, 2), ("degree", 0, 1), ("degree", 1.5, 1), ("seed", -1, 0)],
)
def test_errors(argument: str, value: Any, allowed: int) -> None:
    with pytest.raises(ValueError, match=f"{argument}={value} must be a whole number, at least {allowed}"):
        kid(**{argument: value})


def test_too_few() -> None:
    metric = kid()
    metric(rows(3), rows(1))
    with pytest.raises(ValueError, match="3 generated and 1 real images; it needs at least 2"):
        metric.aggregate()
