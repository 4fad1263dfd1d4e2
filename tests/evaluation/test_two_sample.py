"""The classifier two-sample test against what can be said without it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from monai_cdiff.evaluation import STANDS_IN, two_sample_test


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_of_the_same_distribution_the_p_values_are_uniform() -> None:
    p_values = []
    for seed in range(80):
        real, generated = normal(2, 40, 3, seed=seed)
        result = two_sample_test(real, generated, subjects=range(40), permutations=39, seed=seed)
        assert 0 < result.p_value <= 1
        p_values.append(result.p_value)
    ordered = torch.tensor(sorted(p_values))
    distance = (ordered - torch.arange(1, 81) / 80).abs().max().item()
    assert distance < 1.36 / math.sqrt(80) + 1 / 40  # Kolmogorov's bound for 5 %, and the steps of the p-value


@pytest.mark.parametrize("d", [0.5, 1.0, 2.0])
def test_two_normals_are_told_apart_as_often_as_can_be(d: float) -> None:
    """No classifier is right more often than Phi(d / 2) about means d standard deviations apart."""
    real, generated = normal(2, 4000, 3, seed=1)
    generated[:, 1] += d
    result = two_sample_test(real, generated, subjects=range(4000), permutations=19)
    best = torch.special.ndtr(torch.tensor(d / 2)).item()
    assert result.accuracy == pytest.approx(best, abs=0.015) and result.p_value == 1 / 20
    assert result.low < best < result.high + 0.01 and result.high - result.low < 0.03


def test_what_is_far_apart_is_always_told() -> None:
    real, generated = normal(2, 60, 4)
    result = two_sample_test(real, generated + 20, subjects=[n // 3 for n in range(60)], permutations=99)
    assert result.accuracy == result.low == result.high == 1 and result.p_value == 0.01
    assert (result.num_pairs, result.num_subjects, result.num_folds) == (60, 20, 5) and result.label == STANDS_IN


def test_equal_images_cannot_be_told() -> None:
    """Both of a pair lie in the same fold, so that nothing is learnt of one that helps with the other."""
    features = normal(50, 6)
    result = two_sample_test(features, features.clone(), subjects=range(50), permutations=99)
    assert result.accuracy == 0.5 and result.p_value == 1.0


def test_a_subject_is_never_in_two_folds() -> None:
    """A side that hangs on the subject alone, different in every one, cannot be learnt from other subjects."""
    centre = 10 * normal(30, 8).repeat_interleave(10, dim=0)
    shift = torch.where(torch.arange(30) % 2 == 0, 1.0, -1.0).repeat_interleave(10)[:, None] * normal(1, 8, seed=3)
    real, generated = centre + 0.1 * normal(300, 8, seed=1), centre + shift + 0.1 * normal(300, 8, seed=2)
    subjects = [f"p{n // 10}" for n in range(300)]
    kept = two_sample_test(real, generated, subjects, permutations=99)
    assert kept.p_value > 0.05 and kept.high - kept.low > 0.05


def test_images_of_a_subject_do_not_count_as_many() -> None:
    real, generated = normal(2, 12, 3, seed=5)
    once = two_sample_test(real, generated + 0.8, range(12), permutations=199, num_folds=4)
    often = [torch.cat([x] * 10) for x in (real, generated + 0.8)]
    result = two_sample_test(*often, list(range(12)) * 10, permutations=199, num_folds=4)
    assert result.p_value > once.p_value / 2 and result.high - result.low > (once.high - once.low) / 2


def test_the_seed_decides() -> None:
    real, generated = normal(2, 40, 3)
    results = [two_sample_test(real, generated, range(40), permutations=19, seed=seed) for seed in (0, 0, 1)]
    assert results[0] == results[1] != results[2]


def test_the_scale_of_a_feature_does_not_matter() -> None:
    real, generated = normal(2, 60, 3, seed=2)
    generated += 0.5
    scale, shift = torch.tensor([1.0, 1e4, 1e-4]), torch.tensor([0.0, 1e3, -7.0])
    pair = (real.double(), generated.double())
    one = two_sample_test(*pair, range(60), permutations=9)
    other = two_sample_test(*(x * scale + shift for x in pair), range(60), permutations=9)
    assert one == other


def test_a_feature_that_is_always_the_same_says_nothing() -> None:
    real, generated = normal(2, 40, 3, seed=2)
    constant = torch.full((40, 1), 0.1)
    one = two_sample_test(real, generated, range(40), permutations=9, penalty=3)
    two = [torch.cat([x, constant], dim=1) for x in (real, generated)]
    assert two_sample_test(*two, range(40), permutations=9, penalty=3).accuracy == one.accuracy


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"real": torch.zeros(4)}, r"real has shape \(4,\); it must be \(N, F\)"),
    ({"generated": torch.zeros(5, 2)}, r"real has shape \(6, 2\) and generated \(5, 2\)"),
    ({"generated": torch.full((6, 2), torch.nan)}, "generated holds features that are not finite"),
    ({"subjects": range(5)}, "subjects has 5 labels for 6 pairs"),
    ({"subjects": [0, 0, 0, 1, 1, 1]}, "num_folds=5 must be a whole number, from 2 to 2"),
    ({"num_folds": 1}, "num_folds=1"),
    ({"permutations": 0}, "permutations=0"),
    ({"penalty": 0}, "penalty=0"),
    ({"seed": -1}, "seed=-1"),
]


@pytest.mark.parametrize("fault, message", FAULTS, ids=range(len(FAULTS)))
def test_what_is_refused(fault: dict[str, Any], message: str) -> None:
    right = {"real": torch.zeros(6, 2), "generated": torch.ones(6, 2), "subjects": range(6)}
    with pytest.raises(ValueError, match=message):
        two_sample_test(**{**right, **fault})
