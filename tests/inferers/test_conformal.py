"""Conformal intervals: known errors give known scales, and fresh data are covered as promised."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor

from monai_cdiff.inferers.conformal import ConformalIntervals
from monai_cdiff.metrics import CoverageMetric
from monai_cdiff.utils import derive_seed, write_json

SHAPE = (2, 1, 100, 100)
FLOOR = 1e-6


def gaussian(
    std: torch.Tensor | float, seed: int, shape: tuple[int, ...] = SHAPE
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean, true std and truth of errors of that std."""
    generator = torch.Generator().manual_seed(seed)
    mean = torch.rand(shape, generator=generator)
    width = torch.as_tensor(std).expand(shape)
    return mean, width, mean + width * torch.randn(shape, generator=generator)


def covered(intervals: ConformalIntervals, mean: torch.Tensor, std: torch.Tensor, truth: torch.Tensor) -> float:
    metric: Any = CoverageMetric()
    return float(metric(intervals.interval(mean, std), truth).mean())


def fitted(floor: float = FLOOR, **kwargs: Any) -> ConformalIntervals:
    intervals = ConformalIntervals(floor=floor)
    intervals.update(*gaussian(0.3, seed=0))
    return intervals.fit(**kwargs)


@pytest.mark.parametrize("coverage, scale", [(0.5, 0.6745), (0.9, 1.6449), (0.95, 1.96)])
def test_normal_errors_of_known_std(coverage: float, scale: float) -> None:
    intervals = fitted(coverage=coverage)
    assert intervals.scale == pytest.approx(scale, rel=0.02)
    assert covered(intervals, *gaussian(0.3, seed=1)) == pytest.approx(coverage, abs=0.02)


@pytest.mark.parametrize("factor", [0.1, 0.5, 4.0])
def test_a_std_wrong_by_a_factor_is_repaired(factor: float) -> None:
    intervals = ConformalIntervals(floor=FLOOR)
    mean, std, truth = gaussian(0.3, seed=0)
    intervals.update(mean, factor * std, truth)
    assert intervals.fit().scale == pytest.approx(1.6449 / factor, rel=0.02)
    mean, std, truth = gaussian(0.3, seed=1)
    assert 0.88 < covered(intervals, mean, factor * std, truth) < 0.92


def test_heteroscedastic_errors_are_covered_where_they_are_small_and_large() -> None:
    std = torch.cat((torch.full((50, 100), 0.01), torch.full((50, 100), 1.0)))
    intervals = ConformalIntervals(floor=FLOOR)
    intervals.update(*gaussian(std, seed=0))
    intervals.fit()
    mean, std, truth = gaussian(std, seed=1)
    for part in (slice(0, 50), slice(50, 100)):
        assert 0.88 < covered(intervals, mean[..., part, :], std[..., part, :], truth[..., part, :]) < 0.92


def test_heavy_tails_are_covered_as_well() -> None:
    def cauchy(seed: int) -> torch.Tensor:
        return torch.empty(SHAPE).cauchy_(generator=torch.Generator().manual_seed(seed))

    intervals = ConformalIntervals(floor=FLOOR)
    intervals.update(torch.zeros(SHAPE), torch.ones(SHAPE), cauchy(0))
    assert intervals.fit().scale == pytest.approx(math.tan(math.pi * 0.45), rel=0.05)
    assert 0.88 < covered(intervals, torch.zeros(SHAPE), torch.ones(SHAPE), cauchy(1)) < 0.92


def test_the_scale_is_the_quantile_of_the_corrected_rank() -> None:
    """19 scores 1 to 19: rank ceil(20 * 0.9) = 18; within 0.1 %, and never below."""
    intervals = ConformalIntervals(floor=1.0)
    intervals.update(torch.zeros(19), torch.zeros(19), -torch.arange(1.0, 20.0))
    for coverage, rank in ((0.9, 18), (0.5, 10), (0.05, 1), (0.95, 19), (0.55, 11)):
        assert rank <= intervals.fit(coverage).scale <= rank * 1.001


@pytest.mark.parametrize("size", [1e-9, 1e-3, 1.0, 1e3, 1e9])
def test_the_scale_covers_every_score_up_to_its_rank(size: float) -> None:
    scores = size * torch.rand(999, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    intervals = ConformalIntervals(floor=1.0)
    intervals.update(torch.zeros(999), torch.zeros(999), scores)
    scale = intervals.fit(0.9).scale
    exact = float(scores.sort().values[899])
    assert exact <= scale <= float(scores.max())
    assert scale <= 1.001 * exact or not 1e-4 < exact < 1e4


def test_the_interval_is_what_it_says() -> None:
    intervals = ConformalIntervals(floor=0.5)
    intervals.update(torch.zeros(9), torch.zeros(9), torch.full((9,), 2.0))
    low, high = intervals.fit().interval(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.5]))
    assert intervals.scale == 4  # |2 - 0| / (0 + 0.5); all scores are equal, and the largest score is exact
    assert (low.tolist(), high.tolist()) == ([-1, -6], [3, 10])


def test_the_floor_gives_width_where_samples_agree() -> None:
    low, high = fitted(floor=0.01).interval(torch.zeros(3), torch.zeros(3))
    assert (high - low).min() > 0.02


def test_batches_and_order_do_not_matter() -> None:
    mean, std, truth = gaussian(0.3, seed=0)
    parts = ConformalIntervals(floor=FLOOR)
    for i in (1, 0):
        for rows in (slice(40, None), slice(0, 40)):
            parts.update(mean[i, :, rows], std[i, :, rows], truth[i, :, rows])
    assert parts.fit().state_dict() == fitted().state_dict()


def test_the_largest_score_is_that_of_all_calls() -> None:
    intervals = ConformalIntervals(floor=1.0)
    for size, subject in ((1e9, "a"), (1e6, "a"), (1e5, "b")):
        intervals.update(torch.zeros(9), torch.zeros(9), torch.full((9,), size), subject=subject)
    assert intervals.fit(0.9).scale == 1e9
    assert intervals.fit(0.9, confidence=0.6).scale == 1e9


def test_memory_is_bounded() -> None:
    intervals = ConformalIntervals()
    kept = []
    for seed in range(3):
        intervals.update(*gaussian(0.3, seed=seed), subject="a")
        kept.append(sum(part.counts.nbytes for part in intervals._histograms.values()))
    assert kept == [18432 * 8] * 3
    assert intervals.fit().n_calibration == {"voxels": 60_000, "subjects": 1}


def test_fit_again_for_another_coverage_and_after_more_updates() -> None:
    intervals = fitted()
    first = intervals.scale
    intervals.update(*gaussian(0.9, seed=2)[:2], gaussian(3.0, seed=2)[2])
    assert intervals.scale == first, "frozen until fit"
    assert intervals.fit().scale > first
    assert intervals.fit(0.5).coverage == 0.5


def patients(count: int, seed: int) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Patients whose errors are wrong by a factor each, between 0.5 and 2, on 400 voxels."""
    factors = 2 ** (2 * torch.rand(count, generator=torch.Generator().manual_seed(seed)) - 1)
    std = torch.full((1, 1, 20, 20), 0.1)
    found = []
    for i, factor in enumerate(factors):
        mean, width, truth = gaussian(0.1 * factor, derive_seed(seed, i), (1, 1, 20, 20))
        found.append((mean, std, truth))
    return found


def test_by_patient_holds_for_the_promised_share_of_patients() -> None:
    """Over many calibrations, 0.8 of new patients have 0.9 of their voxels covered; over voxels, only half have."""
    shares: dict[str, list[float]] = {"voxels": [], "subjects": []}
    for seed in range(40):
        intervals = ConformalIntervals(floor=FLOOR)
        for i, voxels in enumerate(patients(9, seed)):
            intervals.update(*voxels, subject=f"patient {i}")
        new = patients(10, seed + 1000)
        for name, confidence in (("voxels", None), ("subjects", 0.8)):
            intervals.fit(0.9, confidence=confidence)
            shares[name] += [covered(intervals, *voxels) for voxels in new]
    held = {name: sum(share >= 0.9 for share in values) / len(values) for name, values in shares.items()}
    assert 0.76 < held["subjects"] < 0.88
    assert 0.5 < held["voxels"] < 0.76
    assert sum(shares["voxels"]) / len(shares["voxels"]) == pytest.approx(0.9, abs=0.02)


def test_by_patient_is_the_quantile_of_the_patients_quantiles() -> None:
    """Patient k has the scores 0.1 k to k in ten steps, so 0.9 of his voxels need 0.9 k; rank ceil(10 * 0.7) = 7."""
    intervals = ConformalIntervals(floor=1.0)
    for k in (5, 2, 9, 1, 7, 3, 8, 4, 6):
        for half in (torch.arange(1.0, 6), torch.arange(6.0, 11)):  # calls of the same name add up
            intervals.update(torch.zeros(5), torch.zeros(5), half * k / 10, subject=str(k))
    assert 0.9 * 7 - 1e-6 <= intervals.fit(0.9, confidence=0.7).scale <= 0.9 * 7 * 1.0011
    assert intervals.n_calibration == {"voxels": 90, "subjects": 9}
    assert intervals.confidence == 0.7
    assert 0.9 * 9 - 1e-6 <= intervals.fit(0.9, confidence=0.9).scale <= 9


def test_save_and_load_are_bit_equal(tmp_path: Path) -> None:
    intervals = fitted(floor=1 / 3, coverage=1 - 1 / 7)
    intervals.save(tmp_path / "models" / "intervals.json")
    loaded = ConformalIntervals.load(tmp_path / "models" / "intervals.json")
    assert loaded.state_dict() == intervals.state_dict()
    mean, std, _ = gaussian(0.3, seed=1)
    for old, new in zip(intervals.interval(mean, std), loaded.interval(mean, std)):
        assert torch.equal(old, new)
    assert set(json.loads((tmp_path / "models" / "intervals.json").read_text())) == set(intervals.state_dict())


def test_state_dict_in_a_checkpoint(tmp_path: Path) -> None:
    intervals = ConformalIntervals()
    for i, voxels in enumerate(patients(9, 0)):
        intervals.update(*voxels, subject=str(i))
    intervals.fit(0.8, confidence=0.9)
    torch.save({"intervals": intervals.state_dict()}, tmp_path / "model.pt")
    other = fitted(floor=0.5)
    other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True)["intervals"])
    assert other.state_dict() == intervals.state_dict()
    assert (other.coverage, other.confidence, other.floor) == (0.8, 0.9, 1e-3)
    with pytest.raises(ValueError, match="nothing to fit on"):  # its counts belonged to another floor
        other.fit()


def test_fields_cannot_be_changed() -> None:
    intervals: Any = fitted()
    for name in ("coverage", "confidence", "scale", "floor", "n_calibration"):
        with pytest.raises(AttributeError):
            setattr(intervals, name, 2.0)
    intervals.n_calibration["voxels"] = 0
    intervals.state_dict()["n_calibration"]["voxels"] = 0
    assert intervals.n_calibration["voxels"] == 20_000


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_types_and_metadata(dtype: torch.dtype) -> None:
    intervals = ConformalIntervals()
    mean, std, truth = (MetaTensor(part.to(dtype), meta={"subject": "a"}) for part in gaussian(0.3, seed=0))
    intervals.update(mean, std, truth)
    low, high = intervals.fit().interval(mean, std)
    assert low.dtype == high.dtype == torch.promote_types(dtype, torch.float32)
    assert isinstance(low, MetaTensor) and low.meta["subject"] == "a"
    assert intervals.scale == pytest.approx(1.645, rel=0.03)


@pytest.mark.parametrize("value", [0, 1, -0.1, 1.1, math.nan, "high", True])
@pytest.mark.parametrize("name", ["coverage", "confidence"])
def test_shares_outside_0_to_1(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name}={value!r} must be"):
        fitted(**{name: value})


@pytest.mark.parametrize("floor", [0, -1.0, math.inf, math.nan, "none"])
def test_floor(floor: Any) -> None:
    with pytest.raises(ValueError, match=f"floor={floor!r} must be a finite number, more than 0"):
        ConformalIntervals(floor=floor)


def test_too_little_to_fit_on() -> None:
    intervals = ConformalIntervals()
    with pytest.raises(ValueError, match="nothing to fit on: call update"):
        intervals.fit()
    intervals.update(*gaussian(0.3, seed=0, shape=(8,)), subject="a")
    with pytest.raises(ValueError, match="coverage=0.9 needs at least 9 voxels of the calibration set; there are 8"):
        intervals.fit(0.9)
    with pytest.raises(ValueError, match="confidence=0.8 needs at least 4 subjects of the calibration set"):
        intervals.fit(0.9, confidence=0.8)
    intervals.update(*gaussian(0.3, seed=1, shape=(8,)))
    with pytest.raises(ValueError, match="confidence=0.5 needs the subject of every update; some had none"):
        intervals.fit(0.9, confidence=0.5)
    with pytest.raises(RuntimeError, match="not fitted"):
        intervals.scale  # noqa: B018


def test_9_voxels_are_enough_for_90_percent() -> None:
    intervals = ConformalIntervals()
    intervals.update(*gaussian(0.3, seed=0, shape=(9,)))
    assert intervals.fit(0.9).n_calibration == {"voxels": 9, "subjects": 0}


@pytest.mark.parametrize("name", ["mean", "std", "truth"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite(name: str, value: float) -> None:
    voxels = dict(zip(("mean", "std", "truth"), (part.clone() for part in gaussian(0.3, seed=0))))
    voxels[name][0, 0, 3, 4] = value
    intervals = fitted()
    with pytest.raises(ValueError, match=f"{name} holds 1 NaN or infinite values of 20000"):
        intervals.update(voxels["mean"], voxels["std"], voxels["truth"])
    if name != "truth":
        with pytest.raises(ValueError, match=f"{name} holds 1 NaN"):
            intervals.interval(voxels["mean"], voxels["std"])
    assert intervals.fit().n_calibration["voxels"] == 20_000, "a refused call counts nothing"


def test_shapes_and_negative_std() -> None:
    mean, std, truth = gaussian(0.3, seed=0)
    intervals = fitted()
    with pytest.raises(ValueError, match=r"std has shape \(1, 1, 100, 100\), mean \(2, 1, 100, 100\)"):
        intervals.update(mean, std[:1], truth)
    with pytest.raises(ValueError, match=r"truth has shape \(1, 1, 100, 100\), mean \(2, 1, 100, 100\)"):
        intervals.update(mean, std, truth[:1])
    with pytest.raises(ValueError, match=r"truth has shape \(0, 1, 100, 100\)"):
        intervals.update(mean[:0], std[:0], truth[:0])
    with pytest.raises(ValueError, match="std holds 20000 negative values of 20000; it must be 0 or more"):
        intervals.update(mean, -std, truth)
    with pytest.raises(ValueError, match="std has shape"):
        intervals.interval(mean, std[:1])
    with pytest.raises(ValueError, match="std holds 20000 negative"):
        intervals.interval(mean, -std)


@pytest.mark.parametrize("name", ["coverage", "confidence", "scale", "n_calibration"])
def test_fields_before_fit(name: str) -> None:
    with pytest.raises(RuntimeError, match=r"not fitted: call update\(mean, std, truth\) and fit\(\)"):
        getattr(ConformalIntervals(), name)


def test_used_before_fit(tmp_path: Path) -> None:
    intervals = ConformalIntervals()
    assert intervals.floor == 1e-3
    for use in (lambda: intervals.interval(torch.zeros(2), torch.ones(2)), intervals.state_dict):
        with pytest.raises(RuntimeError, match="not fitted"):
            use()
    with pytest.raises(RuntimeError, match="not fitted"):
        intervals.save(tmp_path / "intervals.json")
    assert not list(tmp_path.iterdir())


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"coverage": 1.0}, "coverage=1.0 must be less than 1"),
    ({"confidence": 0}, "confidence=0 must be"),
    ({"scale": math.nan}, "scale=nan must be a finite number, at least 0"),
    ({"scale": -1}, "scale=-1 must be"),
    ({"floor": 0}, "floor=0 must be"),
    ({"n_calibration": {"voxels": 0, "subjects": 0}}, r"n_calibration\['voxels'\]=0 must be"),
    ({"n_calibration": {"voxels": 1, "subjects": -1}}, r"n_calibration\['subjects'\]=-1 must be"),
    ({"n_calibration": 5}, "must hold confidence, coverage, floor, n_calibration, scale"),
    ({"n_calibration": {"voxels": 5}}, "the numbers of voxels and subjects"),
    ({"samples": 8}, "must hold confidence, coverage, floor, n_calibration, scale"),
]


@pytest.mark.parametrize("change, message", FAULTS, ids=range(len(FAULTS)))
def test_a_wrong_state_changes_nothing(change: dict[str, Any], message: str) -> None:
    intervals = fitted()
    before = copy.deepcopy(intervals.state_dict())
    with pytest.raises(ValueError, match=message):
        intervals.load_state_dict({**before, **change})
    assert intervals.state_dict() == before


def test_files_that_hold_something_else(tmp_path: Path) -> None:
    write_json([1, 2], tmp_path / "list.json")
    with pytest.raises(ValueError, match="list.json' holds no fields of ConformalIntervals"):
        ConformalIntervals.load(tmp_path / "list.json")
    write_json({"coverage": 0.9}, tmp_path / "part.json")
    with pytest.raises(ValueError, match="must hold confidence, coverage"):
        ConformalIntervals.load(tmp_path / "part.json")
