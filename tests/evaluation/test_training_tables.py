"""What trainings took, how far they lie apart, and the word for one that led nowhere."""

from __future__ import annotations

from typing import Any

from contracts.evaluation_results import results, row
from monai_cdiff.evaluation import result_table
from monai_cdiff.evaluation.table import Table
from monai_cdiff.evaluation.training_tables import spread_table, trainings_table


def method(name: str, kind: str = "regression", **values: Any) -> dict[str, Any]:
    """A method as ``results.json`` describes it; of several trainings each has other weights."""
    family, dot, number = name.partition(".")
    described = {"family": family, "weights_of": family, "training": int(number) if dot else None}
    known = {"checkpoint_sha256": name * 32, "settings": {}, "iterations": None, "train_seconds": None, **described}
    return {"name": name, "kind": kind, "title": name, **known, **values}


def made(rows: list[dict[str, Any]], methods: list[dict[str, Any]]) -> dict[str, Any]:
    metrics = [{"name": "psnr", "title": "PSNR", "unit": "dB", "better": "higher", "note": ""}]
    return results(rows, methods=methods, metrics=metrics, reference=None)


def scored(methods: list[dict[str, Any]], *values: float | None, setting: str = "") -> list[dict[str, Any]]:
    return [
        row(one["name"], setting, psnr=value, **({"psnr_reason": "no weights"} if value is None else {}))
        for one, value in zip(methods, values, strict=True)
    ]


def texts(table: Table | None) -> list[list[str]]:
    assert table is not None
    return [[f"{cell.text} {cell.detail}".strip() for cell in row] for block in table.blocks for row in block.rows]


def test_trainings_that_differ_by_their_seed() -> None:
    methods = [method(name) for name in ("pix2pix.0", "pix2pix.1", "pix2pix.2", "alone.0", "other")]
    rows = scored(methods, 20.0, 21.0, 22.6, 30.0, 31.0)
    assert texts(spread_table(made(rows, methods), "denoise")) == [["pix2pix", "3", "21.20 [20.00, 22.60]"]]


def test_what_are_no_trainings_of_one_method() -> None:
    pairs = [
        [method("a.0"), method("b.0")],
        [method("a.0"), method("a.1", settings={"guidance_scale": 2.0})],
        [method("a.0"), method("a.1", checkpoint_sha256="a.0" * 32)],
        [method("v1.0", training=None), method("v1.1", training=None)],
    ]
    for methods in pairs:
        assert spread_table(made(scored(methods, 1.0, 2.0), methods), "denoise") is None
    old = [{name: one[name] for name in one if name not in ("family", "training", "weights_of")} for one in pairs[3]]
    assert spread_table(made(scored(old, 1.0, 2.0), old), "denoise") is None


def test_a_training_without_a_number() -> None:
    methods = [method("a.0", "missing", checkpoint_sha256=None), method("a.1"), method("a.2")]
    table = spread_table(made(scored(methods, None, 1.0, 3.0), methods), "denoise")
    assert texts(table) == [["a", "3", "2.000 [1.000, 3.000], 2 of 3"]]


def test_each_training_is_told_once() -> None:
    weights = {"checkpoint_sha256": "ab" * 32, "iterations": 700, "train_seconds": 90.0, "weights_of": "ours"}
    ours = [method(name, "diffusion", **weights) for name in ("mean.1", "sample.1")]
    large = method("ours_large", checkpoint_sha256="ef" * 32, iterations=9, train_seconds=600.0)
    methods = [*ours, large, method("old"), method("noisy", "trivial", checkpoint_sha256=None)]
    assert texts(trainings_table(made([row("old", psnr=1.0)], methods))) == [
        ["ours, training 1", "700", "1.5", "abababab"],
        ["ours_large", "9", "10.0", "efefefef"],
    ]
    assert trainings_table(made([row("old", psnr=1.0)], methods[3:])) is None


def test_a_training_that_led_nowhere_is_told() -> None:
    drawn = method("drawn", "diffusion", settings={"output": "sample"})
    methods = [method("noisy", "trivial"), method("filter", "classical"), method("bad"), method("good"), drawn]
    rows = scored(methods, 20.0, 19.0, 19.9, 20.1, 18.0)
    table = result_table(made(rows, methods), "denoise")
    names = [cells[0] for cells in texts(table)]
    assert names == ["noisy", "filter", "bad (did not converge)", "good", "drawn"]
    assert any(remark.startswith("did not converge: trained") for remark in table.remarks)
    assert not result_table(made(rows[:2], methods), "denoise").remarks
    for one, ssim in zip(rows, (0.5, 0.4, 0.6, 0.6, 0.6)):
        one["ssim"] = ssim
    assert not result_table(made(rows, methods), "denoise").remarks  # its texture costs PSNR, not SSIM
    rows[2]["ssim"] = 0.4
    assert result_table(made(rows, methods), "denoise").remarks
    elsewhere = scored(methods, 20.0, 19.0, 25.0, 20.1, 18.0, setting="factor 2")
    assert not result_table(made(rows + elsewhere, methods), "denoise").remarks  # it did, in one setting
