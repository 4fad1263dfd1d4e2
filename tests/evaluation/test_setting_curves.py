"""Curves over settings: which are drawn, and of what."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from contracts.evaluation_results import results, row
from monai_cdiff.evaluation import draw_curves
from monai_cdiff.evaluation.figure_file import new_figure
from monai_cdiff.evaluation.setting_curves import _kinds, _line

METRICS = [
    {"name": name, "title": name, "unit": "", "better": "higher"}
    for name in ("psnr", "ssim", "dice_anterior", "accuracy")
]


def content(settings: list[str], **values: Any) -> dict[str, Any]:
    usual = {"psnr": 30.0, "ssim": 0.9, "dice_anterior": None, "dice_anterior_reason": "-", "accuracy": None}
    usual |= {"accuracy_reason": "-", **values}
    rows = [row(method, setting, **usual) for setting in settings for method in ("original", "noisy", "mean")]
    return results(rows, metrics=METRICS)


@pytest.mark.parametrize(
    "settings, kinds",
    [
        ([""], {}),
        (["factor 4"], {}),
        (["small", "large"], {}),
        (["factor 4", "factor 2", "factor 2.8284"], {"factor": [2, 2.8284, 4]}),
        (["noise=0.1", "noise=0.05"], {"noise": [0.05, 0.1]}),
        (["SNR -5", "SNR 10"], {"SNR": [-5, 10]}),
        (["std 1e-3", "std 0.01"], {"std": [0.001, 0.01]}),
        (["2", "4"], {"": [2, 4]}),
        (["factor 4", "noise 1"], {}),
        (["factor 4", "factor 2", "noise 1", "noise 2", "other"], {"factor": [2, 4], "noise": [1, 2]}),
    ],
)
def test_settings_that_end_in_a_number(settings: list[str], kinds: dict[str, list[float]]) -> None:
    found = _kinds({setting: [] for setting in settings})
    assert {kind: list(numbers) for kind, numbers in found.items()} == kinds
    figures = draw_curves(content(settings))
    assert [figure.title for figure in figures] == [f"Denoising: by {kind or 'setting'}" for kind in kinds]
    assert [figure.name for figure in figures] == [f"curve_{n:02d}" for n in range(1, len(kinds) + 1)]


def test_only_some_metrics_are_drawn() -> None:
    settings = ["factor 2", "factor 4"]
    widths = []
    for values in ({}, {"dice_anterior": 0.8}, {"dice_anterior": 0.8, "accuracy": 70.0}):
        [figure] = draw_curves(content(settings, **values))
        widths.append(_pixels(figure.png).shape[1])
    assert widths == [675, 990, 1485], "one, two and three panels"
    assert draw_curves(content(settings, psnr=None, psnr_reason="-")) == [], "the SSIM is no curve"


def _pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def test_the_original_is_a_dashed_line() -> None:
    made = content(["factor 2", "factor 4"])
    for entry in made["rows"]:
        entry["psnr"] = 40.0 if entry["method"] == "original" else 20.0
    top = _pixels(draw_curves(made)[0].png)[:150]
    grey = np.abs(top - np.array([115, 115, 115])).max(axis=-1) < 3  # 0.45 of white
    line = grey[grey.sum(axis=1).argmax()]
    runs = np.flatnonzero(np.diff(line.astype(int)) == 1)
    assert "dashed grey line" in draw_curves(made)[0].caption
    assert line.sum() > 150 and len(runs) > 10


def test_bars_reach_from_bound_to_bound() -> None:
    axes = new_figure(3, 3).add_subplot()
    points = [(4.0, 20.0, (15.0, 21.0)), (2.0, 30.0, (29.0, 35.0)), (8.0, 5.0, None)]
    line, _, [bars] = _line(axes, points, ["mean"], "mean", [2.0, 4.0, 8.0])
    assert line.get_xydata().tolist() == [[2, 30], [4, 20], [8, 5]], "in order, one method is not set aside"
    assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [[29, 35], [15, 21], [5, 5]]
    _, _, [first] = _line(axes, points, ["mean", "other"], "mean", [2.0, 4.0, 8.0])
    _, _, [second] = _line(axes, points, ["mean", "other"], "other", [2.0, 4.0, 8.0])
    for left, x, right in zip(first.get_segments(), (2, 4, 8), second.get_segments(), strict=True):
        assert 0.97 * x < left[0, 0] < x < right[0, 0] < 1.03 * x


def test_gaps_and_extremes_are_drawn() -> None:
    made = content(["factor 2", "factor 4", "factor 1000"])
    for entry, value, pair in zip(
        made["rows"],
        (float("inf"), 1e9, -3.0, 1.0, None, 2.0, 3.0, 4.0, 5.0),
        (None, [0.0, 2e9], [5.0, 6.0], [float("-inf"), 2.0], None, [1.0, 3.0], None, None, [5.0, 5.0]),
    ):
        entry |= {"psnr": value, "psnr_interval": pair, "psnr_reason": "-"}
    made["methods"][0]["title"] = "$\\frac{ <b>\n" * 30
    made["metrics"][0]["title"] = "$\\frac{"
    [figure] = draw_curves(made)
    assert figure == draw_curves(made)[0], "the same bytes again"
    many = [{**made["methods"][0], "name": f"m{n}", "title": f"method {n}"} for n in range(20)]
    rows = [row(f"m{n}", f"noise {x}", psnr=n + x, ssim=0.1) for n in range(20) for x in (0, 1)]
    [figure] = draw_curves(results(rows, metrics=METRICS[:2], methods=many, reference=None))
    assert "dashed grey line" not in figure.caption
