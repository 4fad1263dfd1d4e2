"""What is said of results that are not whole, or not what they should be."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from contracts.evaluation_results import example_images, results, write_results
from monai_cdiff.evaluation import read_results


def whole(folder: Path) -> dict[str, Any]:
    return results(examples=[example_images(folder)])


def test_what_is_whole_is_read_as_it_is(tmp_path: Path) -> None:
    content = whole(tmp_path)
    assert read_results(write_results(tmp_path, content)) == content
    content["rows"][0]["psnr"] = float("inf")
    assert read_results(write_results(tmp_path, content)) == content


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="results.json does not exist; out_dir must be the folder"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(ValueError, match="results.json: is no JSON; is the file whole"):
        read_results(tmp_path)


MISSING = [(name,) for name in results()] + [("bundle", "name"), ("bundle", "version")]
MISSING += [("test_set", key) for key in ("split", "n_images", "n_subjects", "sha256", "settings")]
MISSING += [("metrics", key) for key in ("name", "title", "better")]
MISSING += [("methods", key) for key in ("name", "kind", "title", "checkpoint_sha256", "settings", "iterations")]
MISSING += [("rows", key) for key in ("task", "method", "setting", "n", "n_subjects", "psnr_reason", "lpips_reason")]
MISSING += [("examples", key) for key in ("setting", "name", "original", "condition", "restored")]


@pytest.mark.parametrize("place", MISSING, ids=".".join)
def test_a_missing_key_is_named(place: tuple[str, ...], tmp_path: Path) -> None:
    content = whole(tmp_path)
    if len(place) == 1:
        del content[place[0]]
        said = f"the file has no '{place[0]}'"
    else:
        entry, key = content[place[0]], place[1]
        del (entry[0] if isinstance(entry, list) else entry)[key]
        said = rf"{place[0]}(\[0\])? has no '{key}'"
    with pytest.raises(ValueError, match=f"results.json: {said}; is the file whole"):
        read_results(write_results(tmp_path, content))


WRONG: list[tuple[tuple[Any, ...], Any, str]] = [
    (("task",), "denoising", "task='denoising' is not supported"),
    (("rows",), [], "rows is empty; there is nothing to report"),
    (("rows",), {}, "rows is dict; it must be a list"),
    (("metrics",), [], "metrics is empty"),
    (("environment",), [], "environment is list; it must be an object"),
    (("reference",), "median", "reference='median' is not supported; allowed: 'original', 'noisy'"),
    (("rows", 1, "method"), "men", r"rows\[1\].method='men' is not supported.*Did you mean 'mean'"),
    (("rows", 1, "method"), "filter", r"rows\[2\] stands there twice: method='filter'"),
    (("rows", 1, "psnr"), float("nan"), r"rows\[1\].psnr=nan must be a number, or null"),
    (("rows", 1, "psnr"), "16", r"rows\[1\].psnr='16' must be a number, or null"),
    (("rows", 1, "psnr"), True, r"rows\[1\].psnr=True must be a number, or null"),
    (("rows", 1, "psnr_interval"), [1.0], r"rows\[1\].psnr_interval=\[1.0\] must be null, or a lower and an upper"),
    (("rows", 1, "psnr_p"), "small", r"rows\[1\].psnr_p='small' must be a number"),
    (("rows", 1), 3, r"rows\[1\] is int; it must be an object"),
    (("metrics", 1, "name"), "psnr", "metrics: name='psnr' stands there twice"),
    (("methods", 1, "name"), "noisy", "methods: name='noisy' stands there twice"),
    (("metrics", 0, "better"), "more", r"metrics\[0\].better='more' is not supported; allowed: 'higher', 'lower'"),
    (("methods", 0, "settings"), None, r"methods\[0\].settings is NoneType; it must be an object"),
    (("examples", 0, "restored"), {"wiener": "a.npy"}, r"examples\[0\].restored='wiener' is not supported"),
]


@pytest.mark.parametrize("place, value, said", WRONG, ids=range(len(WRONG)))
def test_a_wrong_value_is_named(place: tuple[Any, ...], value: Any, said: str, tmp_path: Path) -> None:
    content = copy.deepcopy(whole(tmp_path))
    *way, last = place
    entry: Any = content
    for step in way:
        entry = entry[step]
    entry[last] = value
    with pytest.raises(ValueError, match=f"results.json: {said}"):
        read_results(write_results(tmp_path, content))


def test_a_list_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(ValueError, match="the file is list; it must be an object"):
        read_results(tmp_path)
