"""Intervals and tests over patients: counted by hand, by scipy, and by how often they are right."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from monai_cdiff.metrics import bootstrap_interval, paired_test


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class TestBootstrapInterval:
    def test_of_two_groups_it_is_known(self) -> None:
        """Draws of two patients: both the first (1/4), one of each (1/2), both the second (1/4)."""
        result = bootstrap_interval([1.0, 3.0, 8.0], ["a", "a", "b"], confidence=0.9)
        assert tuple(result) == pytest.approx((4, 2, 8, 3, 2))
        inner = bootstrap_interval([1.0, 3.0, 8.0], ["a", "a", "b"], confidence=0.4)
        assert inner[:3] == pytest.approx((4, 4, 4))

    def test_the_bounds_are_quantiles_of_all_resamples(self) -> None:
        """Of 4 groups of several sizes, all 4^4 draws written out."""
        groups = [[1.0, 2.5], [4.0], [3.0, 3.5, 9.0], [0.25]]
        draws = itertools.product(groups, repeat=4)
        means = [np.mean(list(itertools.chain(*draw))) for draw in draws]
        values = [value for group in groups for value in group]
        labels = [number for number, group in enumerate(groups) for _ in group]
        result = bootstrap_interval(values, labels, confidence=0.8, resamples=20000)
        assert result.mean == pytest.approx(np.mean(values))
        assert result.low == pytest.approx(np.quantile(means, 0.1), abs=0.05)
        assert result.high == pytest.approx(np.quantile(means, 0.9), abs=0.1)

    def test_agrees_with_scipy(self) -> None:
        stats = pytest.importorskip("scipy.stats")
        values = normal(40).exp().numpy()
        scipys = stats.bootstrap(
            (values,), np.mean, method="percentile", n_resamples=20000, rng=np.random.default_rng(0)
        ).confidence_interval
        result = bootstrap_interval(values, resamples=20000)
        assert result[1:3] == pytest.approx((scipys.low, scipys.high), rel=0.02)

    def test_images_of_a_patient_that_are_alike_do_not_count_as_many(self) -> None:
        means = normal(12)
        values, patients = means.repeat_interleave(50), [n for n in range(12) for _ in range(50)]
        by_patient, by_image = bootstrap_interval(values, patients), bootstrap_interval(values)
        one_each = bootstrap_interval(means)
        assert by_patient[:3] == pytest.approx(one_each[:3])
        assert by_patient.high - by_patient.low > 5 * (by_image.high - by_image.low)

    def test_order_and_names_do_not_matter_and_the_seed_does(self) -> None:
        values, patients = normal(30), torch.arange(30) % 7
        turn = torch.randperm(30, generator=torch.Generator().manual_seed(3))
        result = bootstrap_interval(values, patients.tolist())
        names = [f"patient {-n}" for n in patients[turn].tolist()]
        assert bootstrap_interval(values[turn].tolist(), names) == pytest.approx(result, rel=1e-12)
        assert bootstrap_interval(values.numpy(), patients.tolist(), seed=1).low != result.low

    def test_nan_is_left_out(self) -> None:
        values, groups = [1.0, math.nan, 2.0, 4.0, math.nan], ["a", "a", "b", "c", "d"]
        assert bootstrap_interval(values, groups) == bootstrap_interval([1.0, 2.0, 4.0], ["a", "b", "c"])

    @pytest.mark.parametrize(
        "values, groups, mean",
        [
            ([1.0, 3.0], ["a", "a"], 2.0),
            ([1.0, math.nan], ["a", "b"], 1.0),
            ([math.nan], None, math.nan),
            ([], [], math.nan),
        ],
    )
    def test_fewer_than_two_groups(self, values: list[float], groups: Any, mean: float) -> None:
        with pytest.warns(UserWarning, match="no interval or test from fewer than 2"):
            result = bootstrap_interval(values, groups)
        assert result.mean == pytest.approx(mean, nan_ok=True) and math.isnan(result.low) and math.isnan(result.high)

    @pytest.mark.parametrize("groups, low, high", [(5, 0.80, 0.88), (10, 0.87, 0.93), (30, 0.92, 0.97)])
    def test_holds_the_truth_as_often_as_the_docstring_says(self, groups: int, low: float, high: float) -> None:
        """Each value is its patient's plus its own; 95 % intervals of the mean 0."""
        times, hits = 400, 0
        labels = [n for n in range(groups) for _ in range(3)]
        for seed in range(times):
            values = normal(groups, 1, seed=seed) + 0.5 * normal(groups, 3, seed=seed + times)
            result = bootstrap_interval(values.flatten(), labels, resamples=300)
            hits += result.low <= 0 <= result.high
        assert low <= hits / times <= high

    @pytest.mark.parametrize(
        "values, arguments, message",
        [
            ([[1.0]], {}, r"values has shape \(1, 1\); it must be \(N,\)"),
            ([1.0, math.inf], {}, "values holds 1 infinite values of 2"),
            ([1.0, 2.0], {"groups": ["a"]}, "groups has 1 labels for 2 values"),
            ([1.0, 2.0], {"confidence": 0}, "confidence=0 must be a finite number, more than 0 and at most 1"),
            ([1.0, 2.0], {"confidence": 95}, "confidence=95 must be a finite number"),
            ([1.0, 2.0], {"confidence": 1.0}, "confidence=1.0 must be less than 1"),
            ([1.0, 2.0], {"resamples": 0}, "resamples=0 must be a whole number, at least 1"),
            ([1.0, 2.0], {"seed": -1}, "seed=-1 must be a whole number, at least 0"),
        ],
    )
    def test_errors(self, values: Any, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            bootstrap_interval(values, **arguments)


class TestPairedTest:
    def test_counted_by_hand(self) -> None:
        """Differences 1, 2, 3, -1: of 16 sign flips, the sums 5, 5, 7 and their negatives are as far from 0."""
        result = paired_test([2.0, 4, 6, 0], [1.0, 2, 3, 1])
        assert (result.difference, result.p_value, result.exact) == (1.25, 6 / 16, True)
        assert result.low < 1.25 < result.high

    def test_a_patients_images_are_flipped_together(self) -> None:
        """Sums 3 and 1 of two patients: 4, 2, -2, -4."""
        result = paired_test([1.0, 2.0, 1.0], [0.0, 0.0, 0.0], ["a", "a", "b"])
        assert (result.p_value, result.num_values, result.num_groups) == (0.5, 3, 2)

    @pytest.mark.parametrize("number, shift", [(6, 0.0), (8, 0.7), (11, -0.5)])
    def test_equals_scipys_exact_test(self, number: int, shift: float) -> None:
        stats = pytest.importorskip("scipy.stats")
        a, b = normal(number) + shift, normal(number, seed=1)
        pair, options = (a.numpy(), b.numpy()), {"permutation_type": "samples", "n_resamples": np.inf}
        scipys = stats.permutation_test(pair, lambda x, y, axis: (x - y).mean(axis), **options)
        result = paired_test(a, b)
        assert result.exact and result.p_value == pytest.approx(scipys.pvalue, abs=1e-12)
        assert result.difference == pytest.approx(scipys.statistic)

    def test_drawn_flips_come_near_the_exact_test(self) -> None:
        a, b = normal(12) + 0.5, normal(12, seed=1)
        exact, drawn = paired_test(a, b), paired_test(a, b, permutations=4000)
        assert exact.exact and not drawn.exact
        assert drawn.p_value == pytest.approx(exact.p_value, abs=4 * (exact.p_value / 4000) ** 0.5)
        assert drawn.p_value * 4001 == pytest.approx(round(drawn.p_value * 4001)), "(1 + k) / (1 + m)"
        assert drawn == paired_test(a, b, permutations=4000)
        assert drawn.p_value != paired_test(a, b, permutations=4000, seed=1).p_value

    def test_many_patients_that_all_agree_have_the_least_p_value(self) -> None:
        a = normal(40).abs() + 1
        assert paired_test(a, torch.zeros(40), permutations=999).p_value == 1 / 1000
        assert paired_test(a[:10], torch.zeros(10)).p_value == 2 / 2**10

    def test_the_interval_is_that_of_the_differences(self) -> None:
        a, b, patients = normal(20) + 1, normal(20, seed=1), [n % 6 for n in range(20)]
        interval = bootstrap_interval(a - b, patients, confidence=0.8, resamples=500, seed=4)
        result = paired_test(a, b, patients, confidence=0.8, resamples=500, seed=4)
        assert (result.difference, result.low, result.high) == interval[:3]
        turned = paired_test(b, a, patients, confidence=0.8, resamples=500, seed=4)
        assert turned.p_value == result.p_value and turned.difference == pytest.approx(-result.difference)

    def test_equal_methods_have_p_1(self) -> None:
        result = paired_test(normal(9), normal(9))
        assert result[:4] == (0, 0, 0, 1)

    def test_sums_that_differ_by_rounding_are_equal(self) -> None:
        """0.1 + 0.2 - 0.3 is not always 0 in binary: the flip of all three must count as equally far from 0."""
        result = paired_test([0.1, 0.2, -0.3], [0.0, 0.0, 0.0])
        assert result.p_value == 1

    def test_order_names_and_nan(self) -> None:
        a, b, patients = normal(15) + 0.3, normal(15, seed=1), [n % 14 for n in range(15)]
        result = paired_test(a, b, patients, permutations=500)
        turn = torch.randperm(15, generator=torch.Generator().manual_seed(3)).tolist()
        a_more, b_more = a[turn].tolist() + [math.nan, 1.0], b[turn].tolist() + [2.0, math.nan]
        again = paired_test(a_more, b_more, [f"p{patients[n]}" for n in turn] + ["x", "p0"], permutations=500)
        assert again == pytest.approx(result, rel=1e-12)

    def test_one_patient_says_nothing(self) -> None:
        with pytest.warns(UserWarning, match="2 values of 1 groups"):
            result = paired_test([1.0, 2.0], [0.0, 0.0], ["a", "a"])
        assert result.difference == 1.5 and all(map(math.isnan, result[1:4]))

    def test_wrong_in_as_many_cases_as_it_claims(self) -> None:
        """Differences that are symmetric about 0, many a patient: at most 5 % of p-values are below 0.05."""
        patients = [n for n in range(9) for _ in range(4)]
        found = []
        for seed in range(400):
            a = (normal(9, 1, seed=seed) + normal(9, 4, seed=seed + 400)).flatten()
            found.append(paired_test(a, torch.zeros(36), patients, resamples=1).p_value)
        p_values = torch.tensor(found)
        for level in (0.05, 0.2, 0.5):
            assert p_values.le(level).double().mean().item() == pytest.approx(level, abs=0.06)

    def test_errors(self) -> None:
        with pytest.raises(ValueError, match="a has 2 values and b 1; they must be pairs"):
            paired_test([1.0, 2.0], [1.0])
        with pytest.raises(ValueError, match=r"b has shape \(\)"):
            paired_test([1.0, 2.0], 1.0)
        with pytest.raises(ValueError, match="a holds 1 infinite"):
            paired_test([math.inf, 2.0], [1.0, 2.0])
        with pytest.raises(ValueError, match="permutations=0 must be a whole number, at least 1"):
            paired_test([1.0, 2.0], [1.0, 2.0], permutations=0)
