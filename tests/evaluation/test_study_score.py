"""Scores against what can be counted by hand, and answers that are refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_cdiff.evaluation import binomial_interval, binomial_test, score_study

SWAP = {"left": "right", "right": "left"}


def write_key(folder: Path, pairs: int, study: str = "abc") -> tuple[Path, list[str]]:
    sides = [("left", "right")[number % 2] for number in range(pairs)]
    entries = [{"pair": number, "real": side, "name": f"n{number}"} for number, side in enumerate(sides, start=1)]
    key = {"format": "monai_cdiff reader study key 1", "study": study, "title": "T", "seed": 0, "pairs": entries}
    file = folder / "study.key.json"
    file.write_text(json.dumps(key))
    return file, sides


def write_answers(
    file: Path, chosen: Sequence[str], reader: str | None = None, ms: Sequence[float] | None = None, **changes: Any
) -> Path:
    times = ms or [1000] * len(chosen)
    answers = [
        {"pair": number, "chosen": side, "ms": time} for number, (side, time) in enumerate(zip(chosen, times), start=1)
    ]
    content = {"study": "abc", "reader": file.stem if reader is None else reader, "answers": answers, **changes}
    file.write_text(json.dumps(content))
    return file


def fooled_in(sides: Sequence[str], count: int) -> list[str]:
    """Answers that take the generated image for the real one in the first pairs, and the real one in the others."""
    return [SWAP[side] if place < count else side for place, side in enumerate(sides)]


def test_each_reader_by_hand(tmp_path: Path) -> None:
    key, sides = write_key(tmp_path, 10)
    files = [
        write_answers(tmp_path / "never.json", sides, ms=[500, *[2000] * 8, 90000]),
        write_answers(tmp_path / "always.json", fooled_in(sides, 10)),
        write_answers(tmp_path / "thrice.json", fooled_in(sides, 3), ms=[1000] * 5 + [3000] * 5),
        write_answers(tmp_path / "lefty.json", ["left"] * 10),
    ]
    score = score_study(key, files)
    assert (score.study, score.title, score.pairs) == ("abc", "T", 10)
    never, always, thrice, lefty = score.readers
    assert [one.reader for one in score.readers] == ["never", "always", "thrice", "lefty"]
    assert (never.fool_rate, never.p_value, never.interval[0]) == (0.0, 2 / 2**10, 0.0)
    assert (always.fool_rate, always.interval[1]) == (1.0, 1.0)
    assert (thrice.fool_rate, thrice.p_value) == (0.3, pytest.approx(2 * (1 + 10 + 45 + 120) / 2**10))
    assert thrice.interval == binomial_interval(3, 10) and thrice.p_value == binomial_test(3, 10)
    assert (never.median_seconds, thrice.median_seconds) == (2.0, 2.0)
    # who looks at nothing scores chance, which only the side gives away
    assert (lefty.fool_rate, lefty.left_rate, never.left_rate) == (0.5, 1.0, 0.5)
    assert (score.pooled.answered, score.pooled.fool_rate) == (40, (0 + 10 + 3 + 5) / 40)
    assert score.pooled.median_seconds == 1.0


def test_one_readers_bootstrap_is_a_binomial_distribution(tmp_path: Path) -> None:
    stats = pytest.importorskip("scipy.stats")
    key, sides = write_key(tmp_path, 50)
    pooled = score_study(key, [write_answers(tmp_path / "a.json", fooled_in(sides, 20))], resamples=20000).pooled
    truth = stats.binom(50, 0.4).ppf([0.025, 0.975]) / 50
    assert np.abs(np.array(pooled.interval) - truth).max() <= 0.02 + 1e-9


def test_the_bootstrap_draws_pairs_and_not_answers(tmp_path: Path) -> None:
    key, sides = write_key(tmp_path, 40)
    once = write_answers(tmp_path / "0.json", fooled_in(sides, 20))
    alike = [write_answers(tmp_path / f"{i}.json", fooled_in(sides, 20)) for i in range(1, 9)]
    mirrored = [SWAP[side] for side in fooled_in(sides, 20)]
    one, many = score_study(key, [once]).pooled, score_study(key, [once, *alike]).pooled
    # readers who answer alike say nothing new; two who answer opposite cancel in every pair
    assert one.interval == many.interval and many.answered == 9 * 40
    opposite = score_study(key, [once, write_answers(tmp_path / "x.json", mirrored)]).pooled
    assert opposite.interval == (0.5, 0.5)


def test_the_bootstrap_is_seeded(tmp_path: Path) -> None:
    key, sides = write_key(tmp_path, 37)
    file = write_answers(tmp_path / "a.json", fooled_in(sides, 11))
    runs = [score_study(key, [file], seed=seed, resamples=50).pooled.interval for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_a_bootstrap_interval_holds_the_truth_as_often_as_it_says(tmp_path: Path) -> None:
    key, sides = write_key(tmp_path, 60)
    generator, held = np.random.default_rng(0), 0
    for _ in range(200):
        hard = generator.beta(2, 2, 60)  # how likely each image fools, the same for three readers; 0.5 on average
        files = []
        for reader in "abc":
            fooled = generator.random(60) < hard
            chosen = [SWAP[side] if wrong else side for side, wrong in zip(sides, fooled)]
            files.append(write_answers(tmp_path / f"{reader}.json", chosen))
        low, high = score_study(key, files, resamples=400).pooled.interval
        held += low <= 0.5 <= high
    assert 0.90 <= held / 200 <= 0.99


def test_unfinished_answers(tmp_path: Path) -> None:
    key, sides = write_key(tmp_path, 6)
    some = write_answers(tmp_path / "some.json", fooled_in(sides, 1)[:2])
    with pytest.raises(ValueError, match="some.json: answers 2 of 6 pairs; --partial scores what there is"):
        score_study(key, [some])
    score = score_study(key, [some, write_answers(tmp_path / "all.json", sides)], partial=True)
    assert (score.readers[0].answered, score.readers[0].fool_rate) == (2, 0.5)
    assert (score.pooled.answered, score.pooled.fool_rate) == (8, 1 / 8)
    # a share of the answers that were drawn, however many those are
    always = write_answers(tmp_path / "always.json", fooled_in(sides, 6))
    fooled = write_answers(tmp_path / "fooled.json", fooled_in(sides, 2)[:2])
    assert score_study(key, [always, fooled], partial=True).pooled.interval == (1.0, 1.0)
    with pytest.raises(ValueError, match="none.json: answers no pair"):
        score_study(key, [write_answers(tmp_path / "none.json", [])], partial=True)


def test_wrong_answers(tmp_path: Path) -> None:
    key, sides = write_key(tmp_path, 2)
    good = write_answers(tmp_path / "good.json", sides, reader="Anna B")
    entry = {"pair": 1, "chosen": "left", "ms": 1}
    (tmp_path / "cut.json").write_text(good.read_text()[:-9])
    (tmp_path / "list.json").write_text("[]")
    changed: dict[str, dict[str, Any]] = {
        "other.json: study='xyz'; the key is that of 'abc'": {"study": "xyz"},
        "nobody.json: reader=' ' must be a name": {"reader": " "},
        "twin.json: reader='anna  b' has answered in .*good.json; give each reader once": {"reader": " anna  b"},
        "far.json: pair=3 is not in the study; its pairs are 1 to 2": {"answers": [{**entry, "pair": 3}]},
        "true.json: pair=True is not in the study": {"answers": [{**entry, "pair": True}]},
        "twice.json: pair=1 is answered twice": {"answers": [entry, entry]},
        "up.json: pair=1: chosen='up' is not supported; allowed: 'left', 'right'": {
            "answers": [{**entry, "chosen": "up"}],
        },
        "back.json: pair=1: ms=-1 must be a finite number, at least 0": {"answers": [{**entry, "ms": -1}]},
        "text.json: answers must be a list of objects": {"answers": "left"},
    }
    cases = [
        (tmp_path / "cut.json", "cut.json: is no JSON; is the file whole"),
        (tmp_path / "list.json", "list.json: holds a list"),
    ]
    for sentence, words in changed.items():
        cases.append((write_answers(tmp_path / sentence.split(":")[0], sides, **words), sentence))
    for file, sentence in cases:
        with pytest.raises(ValueError, match=sentence):
            score_study(key, [good, file])
    with pytest.raises(FileNotFoundError, match="gone.json does not exist"):
        score_study(key, [tmp_path / "gone.json"])
    with pytest.raises(ValueError, match="answers is empty"):
        score_study(key, [])


def test_wrong_keys(tmp_path: Path) -> None:
    key, sides = write_key(tmp_path, 2)
    file = write_answers(tmp_path / "a.json", sides)
    with pytest.raises(ValueError, match="a.json: format=None; a key has 'monai_cdiff reader study key 1'"):
        score_study(file, [file])
    content = json.loads(key.read_text())
    for change, sentence in (
        ({"pairs": []}, "names no study or no pairs"),
        ({"pairs": content["pairs"][:1] * 2}, "pair=1 stands there twice"),
        ({"pairs": [{"pair": 1, "real": "both"}]}, "real='both' is not supported"),
    ):
        key.write_text(json.dumps({**content, **change}))
        with pytest.raises(ValueError, match=sentence):
            score_study(key, [file])
