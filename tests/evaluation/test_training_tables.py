"""What trainings took, how far they lie apart, and the word for one that led nowhere."""

from __future__ import annotations

from typing import Any

from contracts.evaluation_results import results, row
from monai_cdiff.evaluation import result_table
from monai_cdiff.evaluation.table import Table
from monai_cdiff.evaluation.training_tables import spread_table, trainings_table


def method(name: str, kind: str = "regression", title: str = "", **values: Any) -> dict[str, Any]:
    known = {"checkpoint_sha256": None, "settings": {}, "iterations": None, "train_seconds": None}
    return {"name": name, "kind": kind, "title": title or name, **known, **values}


def made(rows: list[dict[str, Any]], methods: list[dict[str, Any]]) -> dict[str, Any]:
    metrics = [{"name": "psnr", "title": "PSNR", "unit": "dB", "better": "higher", "note": ""}]
    return results(rows, methods=methods, metrics=metrics, reference=None)


def texts(table: Table | None) -> list[list[str]]:
    assert table is not None
    return [[f"{cell.text} {cell.detail}".strip() for cell in row] for block in table.blocks for row in block.rows]


def test_trainings_that_differ_by_their_seed() -> None:
    methods = [method(f"pix2pix.{n}", title=f"pix2pix, training {n}") for n in range(3)] + [method("alone.0")]
    rows = [row(one["name"], psnr=value) for one, value in zip(methods, (20.0, 21.0, 22.6, 30.0))]
    assert texts(spread_table(made(rows, methods), "denoise")) == [["pix2pix", "3", "21.20 [20.00, 22.60]"]]


def test_each_was_trained_once() -> None:
    methods = [method("a"), method("b.0")]
    assert spread_table(made([row("a", psnr=1.0), row("b.0", psnr=2.0)], methods), "denoise") is None


def test_a_training_without_a_number() -> None:
    methods = [method(f"a.{n}", title=f"a, training {n}") for n in range(2)] + [method("b")]
    rows = [row("a.0", psnr=1.0), row("a.1", psnr=None, psnr_reason="no weights"), row("b", psnr=3.0)]
    assert texts(spread_table(made(rows, methods), "denoise")) == [["a", "2", "n/a"]]


def test_each_training_is_told_once() -> None:
    weights = {"checkpoint_sha256": "ab" * 32, "iterations": 700, "train_seconds": 90.0}
    ours = [method(name, "diffusion", f"ours, {name}", **weights) for name in ("mean", "sample")]
    methods = [*ours, method("old", checkpoint_sha256="cd" * 32), method("noisy", "trivial")]
    assert texts(trainings_table(made([row("mean", psnr=1.0)], methods))) == [["ours", "700", "1.5", "abababab"]]
    assert trainings_table(made([row("old", psnr=1.0)], methods[2:])) is None


def test_a_training_that_led_nowhere_is_told() -> None:
    methods = [method("noisy", "trivial"), method("filter", "classical"), method("bad"), method("good", "diffusion")]
    rows = [row(one["name"], psnr=value) for one, value in zip(methods, (20.0, 19.0, 19.9, 20.1))]
    table = result_table(made(rows, methods), "denoise")
    names = [cells[0] for cells in texts(table)]
    assert names == ["noisy", "filter", "bad (did not converge)", "good"]
    assert any(remark.startswith("did not converge: trained") for remark in table.remarks)
    assert not result_table(made(rows[:2], methods), "denoise").remarks
