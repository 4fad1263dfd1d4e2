"""The command ``study``: what it writes and prints, and what it says of wrong words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contracts.study_images import write_folders
from monai_cdiff.cli import main

COUNT = 4


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    real, generated = write_folders(tmp_path, COUNT)
    return ["study", "make", str(real), str(generated), str(tmp_path / "study.html")]


def answer(folder: Path, reader: str, wrong: int, answered: int = COUNT) -> str:
    """Answers that are wrong in the first pairs."""
    key = json.loads((folder / "study.key.json").read_text())
    swap = {"left": "right", "right": "left"}
    answers = [
        {
            "pair": entry["pair"],
            "chosen": swap[entry["real"]] if entry["pair"] <= wrong else entry["real"],
            "ms": 1000 * entry["pair"],
        }
        for entry in key["pairs"][:answered]
    ]
    file = folder / f"{reader}.json"
    file.write_text(json.dumps({"study": key["study"], "reader": reader, "answers": answers}))
    return str(file)


def test_make_and_score(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--seed", "1", "--title", "Knees"]) == 0
    study = json.loads((tmp_path / "study.key.json").read_text())["study"]
    assert capsys.readouterr().out.splitlines() == [
        f"study {study}: 4 pairs",
        f"{tmp_path / 'study.html'}: give it to readers",
        f"{tmp_path / 'study.key.json'}: says which images are real; keep it from them",
    ]
    files = [answer(tmp_path, "anna", 1), answer(tmp_path, "ben", 4)]
    out = tmp_path / "scores.json"
    assert main(["study", "score", str(tmp_path / "study.key.json"), *files, "--json", str(out)]) == 0
    head, names, *rows = capsys.readouterr().out.splitlines()
    assert head == f"Knees, study {study}: 4 pairs, 2 readers" and names.startswith("reader  n  fool rate")
    assert rows[0].split() == ["anna", "4", "0.250", "0.006", "to", "0.806", "0.62", *rows[0].split()[7:8], "2.5", "s"]
    assert rows[1].split()[:7] == ["ben", "4", "1.000", "0.398", "to", "1.000", "0.12"]
    assert rows[2].split()[:3] == ["pooled", "8", "0.625"] and rows[2].endswith("2.5 s")
    assert "0.5 is chance" in rows[3] and "10000 bootstrap resamples of the pairs, seed 0" in rows[4]
    scores = json.loads(out.read_text())
    assert [one["fool_rate"] for one in scores["readers"]] == [0.25, 1.0] and scores["pooled"]["fool_rate"] == 0.625
    before = out.read_bytes()
    again = ["study", "score", str(tmp_path / "study.key.json"), files[0], "--json", str(out)]
    assert main(again) == 2 and "exists; remove it, or give --overwrite" in capsys.readouterr().err
    assert out.read_bytes() == before
    assert main([*again, "--overwrite"]) == 0 and len(json.loads(out.read_text())["readers"]) == 1


def test_existing_files_are_kept(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    before = (tmp_path / "study.html").read_bytes()
    assert main(words) == 2
    assert f"error: OUT={words[-1]!r}: {tmp_path / 'study.html'} exists; remove it" in capsys.readouterr().err
    assert (tmp_path / "study.html").read_bytes() == before
    assert main([*words, "--overwrite"]) == 0 and (tmp_path / "study.html").read_bytes() != before


def test_errors_name_the_words_of_the_command(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for wrong, sentence in (
        ([*words, "--pairs", "9"], "--pairs=9 must be a whole number, from 1 to 4."),
        ([*words, "--seed", "-3"], "--seed=-3 must be a whole number, at least 0."),
        ([*words, "--title", ""], "--title='' is empty"),
        ([*words[:2], str(tmp_path / "empty"), *words[3:]], "REAL='"),
        ([*words[:3], str(tmp_path / "empty"), words[4]], "GENERATED='"),
        ([*words[:4], "page.txt"], "OUT='page.txt': what is written is a page"),
        (["study", "score", str(tmp_path / "no.json"), "a.json"], "no.json does not exist."),
    ):
        assert main(wrong) == 2, wrong
        shown = capsys.readouterr().err
        assert sentence in shown and shown.startswith("error: ") and shown.count("\n") == 1, shown
    assert not (tmp_path / "study.html").exists()


def test_an_unfinished_reader(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    score = ["study", "score", str(tmp_path / "study.key.json"), answer(tmp_path, "carl", 0, answered=3)]
    assert main(score) == 2 and "answers 3 of 4 pairs; --partial" in capsys.readouterr().err
    assert main([*score, "--partial"]) == 0
    shown = capsys.readouterr().out
    assert "carl    3  0.000" in shown and "It has no width, since all pairs were answered alike" in shown
