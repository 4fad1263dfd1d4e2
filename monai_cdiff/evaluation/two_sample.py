"""Can a classifier tell real images from generated ones? It stands in for readers where there are none."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import torch

from ..metrics import bootstrap_interval
from ..utils import check_integer, check_number, derive_seed

__all__ = ["STANDS_IN", "TwoSampleResult", "two_sample_test"]

STANDS_IN = "stands in for readers: a classifier of features, no human being, told the images apart"

_STEPS = 200
_ENOUGH = 1e-6  # largest change of a logit per step at which the weights count as found


class TwoSampleResult(NamedTuple):
    """How well a classifier told real from generated.

    Args:
        accuracy: share of the images that were told rightly, 0.5 by guessing.
        low: lower bound of its 95 % interval, over subjects; NaN for fewer than 2 subjects.
        high: upper bound.
        p_value: probability of such an accuracy or a higher one if both were alike.
        num_pairs: pairs of a real and a generated image.
        num_subjects: subjects that these belong to.
        num_folds: parts of the cross-validation.
        label: what the number is and what it is not.
    """

    accuracy: float
    low: float
    high: float
    p_value: float
    num_pairs: int
    num_subjects: int
    num_folds: int
    label: str = STANDS_IN


def two_sample_test(
    real: Any,
    generated: Any,
    subjects: Sequence[Hashable],
    num_folds: int = 5,
    permutations: int = 500,
    penalty: float | None = None,
    seed: int = 0,
) -> TwoSampleResult:
    """Classifier two-sample test (Lopez-Paz & Oquab, ICLR 2017, arXiv:1610.06545), with patients kept together.

    A logistic regression learns to tell the features of real images from those of generated ones on all subjects but
    those of a fold, and is asked about the fold; the accuracy over all folds is the result. Both images of a pair, and
    all pairs of a subject, are in the same fold. The features are standardised by the training folds.

    The p-value is that of a permutation test: if real and generated images are alike, the two sides of all pairs of a
    subject may as well be exchanged, so the regressions are trained anew with sides exchanged by subject at random. It
    is ``(1 + k) / (1 + permutations)``, k the permutations that are told at least as well.

    An accuracy of 0.5 means that this regression of these features found no difference, not that there is none.

    Args:
        real: features (N, F) of real images.
        generated: features (N, F), row by row of what was generated in place of the real image.
        subjects: whose image each pair is, N labels.
        num_folds: parts that the subjects are dealt into, at least 2.
        permutations: number of exchanges that are drawn.
        penalty: weight of half the squared norm of the weights of the regression; None takes the number of features,
            which expects logits of about 1.
        seed: of the folds and of the exchanges.

    Returns:
        accuracy, its interval, p-value, and what they are made of.

    Raises:
        ValueError: for an argument outside what is allowed, features that are not finite or do not match, or fewer
            subjects than folds.

    Example:
        >>> real = torch.arange(20.0)[:, None] % 2
        >>> result = two_sample_test(real, real + 9, subjects=range(20), permutations=50)
        >>> result.accuracy, round(result.p_value, 3)
        (1.0, 0.02)
    """
    pair = [_features("real", real), _features("generated", generated)]
    if pair[0].shape != pair[1].shape:
        raise ValueError(f"real has shape {tuple(pair[0].shape)} and generated {tuple(pair[1].shape)}; they are pairs.")
    count, size = pair[0].shape
    check_integer("permutations", permutations, 1)
    ridge = float(size) if penalty is None else check_number("penalty", penalty, 0, open_low=True)
    names = list(subjects)
    if len(names) != count:
        raise ValueError(f"subjects has {len(names)} labels for {count} pairs; it must have one for each.")
    known = {name: n for n, name in enumerate(dict.fromkeys(names))}
    check_integer("num_folds", num_folds, 2, len(known))
    subject = torch.tensor([known[name] for name in names])
    draws = torch.Generator().manual_seed(derive_seed(check_integer("seed", seed, 0), "two-sample"))
    fold = (torch.randperm(len(known), generator=draws) % num_folds)[subject]
    exchanged = torch.randint(2, (len(known), permutations + 1), generator=draws)
    exchanged[:, 0] = 0  # the first is what was found
    side = torch.cat([1.0 - 2 * exchanged, 2.0 * exchanged - 1])  # 1 for real, -1 for generated, by subject
    sides = torch.cat([side[: len(known)][subject], side[len(known) :][subject]]).double()
    right = _told_rightly(torch.cat(pair), sides, torch.cat([fold, fold]), num_folds, ridge)
    accuracy = right.mean(dim=0)
    by_pair = (right[:count, 0] + right[count:, 0]) / 2
    interval = bootstrap_interval(by_pair, groups=names, seed=seed)
    hits = int((accuracy[1:] >= accuracy[0] - 1e-12).sum())
    p_value = (1 + hits) / (1 + permutations)
    return TwoSampleResult(accuracy[0].item(), interval.low, interval.high, p_value, count, len(known), num_folds)


def _features(name: str, values: Any) -> torch.Tensor:
    features = torch.as_tensor(values, dtype=torch.float64, device="cpu").detach()
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(f"{name} has shape {tuple(features.shape)}; it must be (N, F), a row of features an image.")
    if not features.isfinite().all():
        raise ValueError(f"{name} holds features that are not finite.")
    return features


def _told_rightly(
    features: torch.Tensor, sides: torch.Tensor, fold: torch.Tensor, num_folds: int, ridge: float
) -> torch.Tensor:
    """For each image and each column of ``sides``: 1 if it was told rightly, 0.5 if it lies on the border, else 0."""
    right = torch.empty_like(sides)
    for n in range(num_folds):
        held, learnt = fold == n, fold != n
        mean, spread = features[learnt].mean(dim=0), features[learnt].std(dim=0)
        scaled = (features - mean) / torch.where(spread > 1e-12 * (1 + mean.abs()), spread, torch.inf)
        design = torch.cat([scaled, torch.ones(len(scaled), 1, dtype=torch.float64)], dim=1)
        weights = _fit(design[learnt], sides[learnt], ridge)
        right[held] = (torch.sign(design[held] @ weights * sides[held]) + 1) / 2
    return right


def _fit(design: torch.Tensor, sides: torch.Tensor, ridge: float) -> torch.Tensor:
    """Weights of logistic regressions on the same rows, one for each column of sides 1 and -1.

    By Newton's steps with the bound X'X / 4 of the Hessian in its place (Boehning & Lindsay, Ann. Inst. Statist. Math.
    40, 1988): one factorisation serves all columns and all steps, and no step increases the loss.
    """
    penalties = torch.full((design.shape[1],), ridge, dtype=torch.float64)
    penalties[-1] = 1e-8 * len(design)  # the intercept stays free
    factor = torch.linalg.cholesky(design.T @ design / 4 + torch.diag(penalties))
    weights = torch.zeros(design.shape[1], sides.shape[1], dtype=torch.float64)
    for _ in range(_STEPS):
        slope = design.T @ (sides * torch.sigmoid(-sides * (design @ weights))) - penalties[:, None] * weights
        step = torch.cholesky_solve(slope, factor)
        weights += step
        if (design @ step).abs().max() < _ENOUGH:
            break
    return weights
