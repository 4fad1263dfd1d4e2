"""Fréchet distance: normal distributions of known distance, and other ways to the same number."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.engines import SupervisedEvaluator
from monai.handlers import IgniteMetricHandler, from_engine
from monai.metrics.fid import FIDMetric as MonaiFIDMetric

from monai_cdiff.metrics import FIDMetric

pytestmark = pytest.mark.filterwarnings("ignore:.*images, fewer than")


def rows(number: int, width: int, seed: int = 0) -> torch.Tensor:
    """Correlated features with a mean."""
    noise = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=noise, dtype=torch.float64)
    return torch.randn(number, width, generator=noise, dtype=torch.float64) @ mixing + 3


def fid(generated: torch.Tensor, real: torch.Tensor) -> float:
    metric = FIDMetric(torch.nn.Identity(), "rows")
    metric(generated, real)
    return metric.aggregate().item()


def with_moments(mean: torch.Tensor, covariance: torch.Tensor, number: int = 50) -> torch.Tensor:
    """Rows of exactly this sample mean and covariance."""
    noise = torch.randn(number, len(mean), generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    white = torch.linalg.qr(noise - noise.mean(0))[0] * (number - 1) ** 0.5
    return white @ torch.linalg.cholesky(covariance).T + mean


def test_of_normal_distributions_with_covariances_that_commute() -> None:
    """|m1 - m2|^2 + sum (s1 - s2)^2, with axes turned alike."""
    turn = torch.linalg.qr(rows(3, 3))[0]
    means = torch.tensor([[1.0, 2, 3], [0, 2, 5]], dtype=torch.float64)
    stds = torch.tensor([[1.0, 2, 0.5], [3, 1, 0.5]], dtype=torch.float64)
    sets = [with_moments(mean, turn @ std.square().diag() @ turn.T) for mean, std in zip(means, stds, strict=True)]
    assert fid(*sets) == pytest.approx(1 + 4 + 4 + 1, rel=1e-9)


def test_of_two_dimensions_by_the_closed_form_of_the_trace() -> None:
    """Tr (AB)^(1/2) = (Tr AB + 2 sqrt det AB)^(1/2) for 2 x 2 matrices, which need not commute."""
    a = torch.tensor([[2.0, 0.5], [0.5, 1]], dtype=torch.float64)
    b = torch.tensor([[1.0, -0.7], [-0.7, 3]], dtype=torch.float64)
    mean = torch.tensor([1.0, -1], dtype=torch.float64)
    root = ((a @ b).trace() + 2 * torch.linalg.det(a @ b).sqrt()).sqrt()
    wanted = 4 + a.trace() + b.trace() - 2 * root
    sets = with_moments(mean, a), with_moments(mean * torch.tensor([-1.0, 1]), b)
    assert fid(*sets) == pytest.approx(wanted.item(), rel=1e-9)


def test_samples_come_near_the_distance_of_their_distributions() -> None:
    noise = torch.randn(2, 40000, 3, generator=torch.Generator().manual_seed(0))
    assert fid(noise[0] * torch.tensor([1.0, 2, 3]) + 1, noise[1]) == pytest.approx(3 + 0 + 1 + 4, rel=0.02)


@pytest.mark.parametrize("width", [1, 4, 33])
def test_equals_scipys_root_of_the_product(width: int) -> None:
    linalg = pytest.importorskip("scipy.linalg")
    first, second = rows(200, width), rows(150, width, seed=1) * 0.5
    covariances = [np.atleast_2d(np.cov(part.numpy(), rowvar=False)) for part in (first, second)]
    root = np.trace(linalg.sqrtm(covariances[0] @ covariances[1])).real
    wanted = ((first.mean(0) - second.mean(0)) ** 2).sum().item() + sum(map(np.trace, covariances)) - 2 * root
    assert fid(first, second) == pytest.approx(wanted, rel=1e-8)


@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")
def test_equals_monais_metric() -> None:
    first, second = rows(200, 16), rows(150, 16, seed=1) * 0.5
    try:
        wanted = MonaiFIDMetric()(first, second).item()
    except TypeError:
        pytest.skip("MONAI calls scipy.linalg.sqrtm with an argument that scipy 1.18 takes away")
    assert fid(first, second) == pytest.approx(wanted, rel=1e-8)


def test_equals_torch_fidelity() -> None:
    theirs = pytest.importorskip("torch_fidelity.metric_fid")
    sets = rows(200, 16), rows(150, 16, seed=1) * 0.5
    moments = ({"mu": part.numpy().mean(0), "sigma": np.cov(part.numpy(), rowvar=False)} for part in sets)
    wanted = theirs.fid_statistics_to_metric(*moments, verbose=False)["frechet_inception_distance"]
    assert fid(*sets) == pytest.approx(wanted, rel=1e-8)


def test_singular_covariances_are_exact() -> None:
    """Fewer images than features; the truth from the images themselves: the nuclear norm of A^T B, centred."""
    first, second = rows(10, 40), rows(12, 40, seed=1)
    a, b = ((part - part.mean(0)) / (len(part) - 1) ** 0.5 for part in (first, second))
    wanted = (first.mean(0) - second.mean(0)).square().sum() + a.square().sum() + b.square().sum()
    wanted -= 2 * torch.linalg.matrix_norm(a @ b.T, "nuc")
    assert fid(first, second) == pytest.approx(wanted.item(), rel=1e-11)


def test_equal_sets_have_no_distance() -> None:
    first = rows(60, 40)
    assert 0 <= fid(first, first.flip(0)) < 1e-9
    assert 0 <= fid(first[:20], first[:20]) < 1e-9


def test_batches_order_and_lists_do_not_matter() -> None:
    first, second = rows(60, 7), rows(90, 7, seed=1)
    metric: Any = FIDMetric(torch.nn.Identity(), "rows")
    for batch in second.flip(0).split(13):
        metric(y=batch)
    for batch in first.split(1):
        metric(y_pred=list(batch))
    assert metric.aggregate().item() == pytest.approx(fid(first, second), rel=1e-11)
    assert metric.get_buffer().tolist() == [[60, 90]]


def test_a_large_mean_costs_no_digits() -> None:
    first, second = rows(60, 4), rows(60, 4, seed=1)
    metric: Any = FIDMetric(torch.nn.Identity(), "rows")
    for a, b in zip(first.split(7), second.split(7), strict=True):
        metric(a + 2.0**20, b + 2.0**20)
    assert metric.aggregate().item() == pytest.approx(fid(first, second), rel=1e-7)


def test_aggregate_may_be_asked_again_and_reset_forgets() -> None:
    metric: Any = FIDMetric(torch.nn.Identity(), "rows")
    metric(rows(20, 3), rows(20, 3, seed=1))
    assert metric.aggregate() == metric.aggregate()
    metric(rows(20, 3, seed=2))
    assert metric.get_buffer().tolist() == [[40, 20]]
    metric.reset()
    metric(rows(9, 5), rows(9, 5, seed=1))  # another number of features is allowed again
    assert metric.aggregate().item() == fid(rows(9, 5), rows(9, 5, seed=1))


def test_features_are_made_from_images_in_evaluation_mode() -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(16), torch.nn.Dropout(0.5))
    images = torch.rand(30, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    metric: Any = FIDMetric(network, "pixels")
    metric(MetaTensor(images[:10]), MetaTensor(images[10:]))
    wanted = fid(images[:10].flatten(1), images[10:].flatten(1)) / (1 + 1e-5)  # eps of the normalisation
    assert metric.aggregate().item() == pytest.approx(wanted)


def test_a_list_of_images_of_several_sizes() -> None:
    images = [torch.rand(1, 4 + n % 3, 5, generator=torch.Generator().manual_seed(n)) for n in range(12)]
    metric: Any = FIDMetric(lambda x: torch.stack((x.mean((1, 2, 3)), x.amax((1, 2, 3))), 1), "mean and maximum")
    metric(images, images[::-1])
    assert metric.aggregate() < 1e-12


def test_in_an_evaluator(caplog: pytest.LogCaptureFixture) -> None:
    images = torch.rand(12, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    handler = IgniteMetricHandler(
        metric_fn=FIDMetric(torch.nn.Flatten(), "pixels"),  # type: ignore[arg-type]
        output_transform=from_engine(["pred", "label"]),
    )
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=[{"image": part, "label": part.flip(0) + 0.5} for part in images.split(6)],
        network=torch.nn.Identity(),
        key_val_metric={"fid": handler},
    )
    with caplog.at_level(logging.INFO, logger="monai_cdiff.metrics.feature_sets"):
        evaluator.run()
    assert evaluator.state.metrics["fid"] == pytest.approx(16 * 0.25, rel=1e-6)
    assert evaluator.state.metric_details["fid"].tolist() == [[12, 12]]
    assert "FIDMetric(features=pixels): 4, 12 generated and 12 real images" in caplog.text


SCRIPT = """
import sys
import torch
import torch.distributed as dist
from monai_cdiff.metrics import FIDMetric, KIDMetric
folder, rank = sys.argv[1], int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
generated, real = torch.load(f"{folder}/rows.pt")
fid = FIDMetric(torch.nn.Identity(), "rows")
kid = KIDMetric(torch.nn.Identity(), "rows", subsets=5, subset_size=10)
for metric in (fid, kid):
    metric(y_pred=generated[rank::2])
    if rank:  # the other process has seen no real images
        metric(y=real)
torch.save([fid.aggregate(), kid.aggregate(), fid.get_buffer()], f"{folder}/{rank}.pt")
dist.barrier()
dist.destroy_process_group()  # its threads would end the process by an abort, now and then
"""


@pytest.mark.slow
def test_processes_give_what_one_gives(tmp_path: Path) -> None:
    from monai_cdiff.metrics import KIDMetric

    sets = rows(41, 4), rows(30, 4, seed=1)
    torch.save(sets, tmp_path / "rows.pt")
    words = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    processes = [subprocess.Popen([*words, str(rank)], env=dict(os.environ)) for rank in range(2)]
    assert [process.wait(240) for process in processes] == [0, 0]
    kid: Any = KIDMetric(torch.nn.Identity(), "rows", subsets=5, subset_size=10)
    kid(*sets)
    for rank in range(2):
        values = torch.load(tmp_path / f"{rank}.pt")
        assert values[0].item() == pytest.approx(fid(*sets), rel=1e-11)
        assert values[1].item() == pytest.approx(kid.aggregate().item(), rel=1e-11)
        assert values[2].tolist() == [[41, 30]]


def test_few_images_are_warned_of() -> None:
    metric: Any = FIDMetric(torch.nn.Identity(), "rows")
    metric(rows(20, 30), rows(40, 30))
    with pytest.warns(UserWarning, match=r"features=rows\): 20 generated and 40 real images, fewer than 2048.*30 feat"):
        metric.aggregate()
    metric(rows(20, 30), None)
    with pytest.warns(UserWarning, match="the value is too high.$"):
        metric.aggregate()


@pytest.mark.filterwarnings("error")
def test_enough_images_are_not() -> None:
    metric: Any = FIDMetric(torch.nn.Identity(), "rows")
    metric(rows(2048, 2), rows(2048, 2))
    metric.aggregate()


def test_as_many_images_as_features_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monai_cdiff.metrics.fid.RECOMMENDED_IMAGES", 10)
    metric: Any = FIDMetric(torch.nn.Identity(), "rows")
    metric(rows(29, 30), rows(30, 30))
    with pytest.warns(UserWarning, match="fewer than 30: .* the covariances of 30 features are singular"):
        metric.aggregate()


def test_errors() -> None:
    with pytest.raises(TypeError, match="features=3 cannot be called"):
        FIDMetric(3, "x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="name=' ' must say which features"):
        FIDMetric(torch.nn.Identity(), " ")
    metric: Any = FIDMetric(torch.nn.Identity(), "rows")
    with pytest.raises(ValueError, match="0 generated and 0 real images; it needs at least 2"):
        metric.aggregate()
    with pytest.raises(ValueError, match="y_pred=None and y=None"):
        metric()
    with pytest.raises(ValueError, match=r"y has shape \(3,\); it must be \(B, C, ...\)"):
        metric(y=torch.zeros(3))
    with pytest.raises(ValueError, match=r"y_pred has shape \(0,\)"):
        metric([])
    with pytest.raises(ValueError, match=r"features of y_pred of shape \(2, 1, 4\) have shape \(2, 1, 4\).*\(2, F\)"):
        metric(torch.zeros(2, 1, 4))
    with pytest.raises(ValueError, match="features of y holds 3 NaN"):
        metric(rows(5, 3), rows(1, 3) * torch.nan)
    assert metric.get_buffer().tolist() == [[0, 0]], "half a call is not added"
    metric(rows(1, 3))
    with pytest.raises(ValueError, match=r"have shape \(2, 4\); they must be \(2, 3\)"):
        metric(y=rows(2, 4))
    with pytest.raises(ValueError, match="1 generated and 0 real"):
        metric.aggregate()
