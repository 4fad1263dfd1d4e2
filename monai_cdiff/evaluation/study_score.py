"""What readers made of a study: how often each took a generated image for a real one, and how sure that is."""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..utils import check_integer, check_number, check_option, derive_seed
from .binomial import binomial_interval, binomial_test
from .reader_study import KEY_FORMAT, SIDES

__all__ = ["PooledScore", "ReaderScore", "StudyScore", "score_study"]

_LEVEL = 0.95


@dataclass(frozen=True)
class ReaderScore:
    """The answers of one reader.

    Args:
        reader: the reader's name.
        answered: number of pairs.
        fool_rate: share of them in which the generated image was taken for the real one; 0.5 is chance.
        interval: exact 95 % interval of it (Clopper and Pearson).
        p_value: exact, two-sided, against 0.5.
        left_rate: share in which the left image was chosen. Who always takes the same side has a fool rate of 0.5.
        median_seconds: median time to an answer.
    """

    reader: str
    answered: int
    fool_rate: float
    interval: tuple[float, float]
    p_value: float
    left_rate: float
    median_seconds: float


@dataclass(frozen=True)
class PooledScore:
    """The answers of all readers together.

    Args:
        answered: number of answers.
        fool_rate: share of them that took the generated image for the real one.
        interval: 95 % interval of it over the images, by bootstrap over pairs; the readers are taken as they are. It
            has no width where all pairs were answered alike, which is no certainty.
        median_seconds: median time to an answer.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """

    answered: int
    fool_rate: float
    interval: tuple[float, float]
    median_seconds: float
    resamples: int
    seed: int


@dataclass(frozen=True)
class StudyScore:
    """The scores of a study.

    Args:
        study: what ties page, key and answers.
        title: what the page calls the study.
        pairs: how many the study has.
        readers: one score each, in the order of their files.
        pooled: all readers together.
    """

    study: str
    title: str
    pairs: int
    readers: list[ReaderScore]
    pooled: PooledScore


@dataclass(frozen=True)
class _Answers:
    reader: str
    fooled: dict[int, bool]
    left: int
    seconds: list[float]


def score_study(
    key: str | os.PathLike[str],
    answers: Sequence[str | os.PathLike[str]],
    partial: bool = False,
    seed: int = 0,
    resamples: int = 10000,
) -> StudyScore:
    """Score what readers answered.

    Args:
        key: the key's file, as :py:func:`make_study` wrote it.
        answers: the files of one or more readers, as the page saved them.
        partial: score what there is of readers who did not answer every pair, instead of refusing it.
        seed: of the bootstrap, at least 0.
        resamples: of the bootstrap, at least 1.

    Returns:
        The score of each reader, and of all together.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if a file is no key or no answers, belongs to another study, is not finished, names a pair that
            there is not or twice, or is of a reader that another file is of; the message names the file.

    Example:
        >>> score = score_study("study.key.json", ["anna.json", "ben.json"])  # doctest: +SKIP
    """
    check_integer("seed", seed, 0)
    check_integer("resamples", resamples, 1)
    if not answers:
        raise ValueError("answers is empty; give the file of at least one reader.")
    content, real = _read_key(os.fspath(key))
    found: dict[str, _Answers] = {}
    owners: dict[str, str] = {}
    for file in [os.fspath(answer) for answer in answers]:
        one = _read_answers(file, content["study"], real)
        name = " ".join(one.reader.split()).casefold()
        if name in found:
            raise ValueError(f"{file}: reader={one.reader!r} has answered in {owners[name]}; give each reader once.")
        if len(one.fooled) < len(real) and not partial:
            raise ValueError(
                f"{file}: answers {len(one.fooled)} of {len(real)} pairs; --partial scores what there is, or let the "
                "reader go on."
            )
        found[name], owners[name] = one, file
    readers = list(found.values())
    pooled = _pooled(readers, seed, resamples)
    return StudyScore(content["study"], str(content.get("title", "")), len(real), list(map(_score, readers)), pooled)


def _score(one: _Answers) -> ReaderScore:
    fooled, answered = sum(one.fooled.values()), len(one.fooled)
    return ReaderScore(
        one.reader,
        answered,
        fooled / answered,
        binomial_interval(fooled, answered, _LEVEL),
        binomial_test(fooled, answered),
        one.left / answered,
        statistics.median(one.seconds),
    )


def _pooled(readers: Sequence[_Answers], seed: int, resamples: int) -> PooledScore:
    pairs = sorted(set().union(*(one.fooled for one in readers)))
    fooled = np.array([sum(one.fooled.get(pair, False) for one in readers) for pair in pairs])
    answered = np.array([sum(pair in one.fooled for one in readers) for pair in pairs])
    # a pair is drawn with all its answers: readers who see the same image do not err independently
    generator = np.random.default_rng(derive_seed(seed, "bootstrap"))
    weights = generator.multinomial(len(pairs), np.full(len(pairs), 1 / len(pairs)), size=resamples)
    low, high = np.quantile((weights @ fooled) / (weights @ answered), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return PooledScore(
        int(answered.sum()),
        float(fooled.sum() / answered.sum()),
        (float(low), float(high)),
        statistics.median(seconds for one in readers for seconds in one.seconds),
        resamples,
        seed,
    )


def _read_key(file: str) -> tuple[dict[str, Any], dict[int, str]]:
    """The key, and the real side of each pair."""
    content = _read_json(file)
    if content.get("format") != KEY_FORMAT:
        raise ValueError(f"{file}: format={content.get('format')!r}; a key has {KEY_FORMAT!r}: give OUT.key.json.")
    real: dict[int, str] = {}
    for entry in _entries(file, content, "pairs"):
        number = check_integer(f"{file}: pair", entry.get("pair"), 1)
        if number in real:
            raise ValueError(f"{file}: pair={number} stands there twice; is the key whole?")
        real[number] = check_option(f"{file}: pair={number}: real", entry.get("real"), SIDES)
    if not real or not isinstance(content.get("study"), str):
        raise ValueError(f"{file}: names no study or no pairs; is the key whole?")
    return content, real


def _read_answers(file: str, study: str, real: dict[int, str]) -> _Answers:
    content = _read_json(file)
    if content.get("study") != study:
        raise ValueError(f"{file}: study={content.get('study')!r}; the key is that of {study!r}: give answers to it.")
    reader = content.get("reader")
    if not isinstance(reader, str) or not reader.strip():
        raise ValueError(f"{file}: reader={reader!r} must be a name.")
    fooled: dict[int, bool] = {}
    left, seconds = 0, []
    for entry in _entries(file, content, "answers"):
        number = entry.get("pair")
        if isinstance(number, bool) or not isinstance(number, int) or number not in real:
            raise ValueError(f"{file}: pair={number!r} is not in the study; its pairs are {min(real)} to {max(real)}.")
        if number in fooled:
            raise ValueError(f"{file}: pair={number} is answered twice; allowed is one answer to a pair.")
        chosen = check_option(f"{file}: pair={number}: chosen", entry.get("chosen"), SIDES)
        fooled[number] = chosen != real[number]
        left += chosen == "left"
        seconds.append(check_number(f"{file}: pair={number}: ms", entry.get("ms"), 0.0, math.inf) / 1000)
    if not fooled:
        raise ValueError(f"{file}: answers no pair; there is nothing to score.")
    return _Answers(reader.strip(), fooled, left, seconds)


def _read_json(file: str) -> dict[str, Any]:
    if not os.path.isfile(file):
        raise FileNotFoundError(f"{file} does not exist.")
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: is no JSON; is the file whole? {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file}: holds a {type(content).__name__}; a key or answers are an object.")
    return content


def _entries(file: str, content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    entries = content.get(name)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{file}: {name} must be a list of objects; is the file whole?")
    return entries
