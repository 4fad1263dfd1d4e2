"""The report: means over images and patients, beside the baseline."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor, list_data_collate
from PIL import Image

from monai_cdiff.handlers import (
    PreviewHandler,
    ProgressHandler,
    ReportHandler,
    TrainedRangeHandler,
    checkpoint_sha256,
    write_checkpoint,
)


def evaluated(tmp_path: Path) -> tuple[ReportHandler, SimpleNamespace]:
    checkpoint = tmp_path / "model.pt"
    write_checkpoint({"network": {}, "settings": {}, "iteration": 7, "train_seconds": 1.26}, checkpoint)
    handler = ReportHandler(tmp_path / "out" / "metrics.json", {"task": "sr"}, checkpoint, closing={"numbers": "here"})
    labels = [MetaTensor(torch.zeros(1, 2, 2), meta={"subject": name}) for name in ("b", "a", "a")]
    details = {"psnr": [[30.0], [20.0], [22.0]], "baseline_psnr": [[25.0], [19.0], [19.0]]}
    state = SimpleNamespace(
        output=[{"label": label} for label in labels],
        metrics=dict.fromkeys(details, 0.0),
        metric_details={name: torch.tensor(values) for name, values in details.items()},
        rank=0,
    )
    return handler, SimpleNamespace(state=state)


def test_numbers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    handler, engine = evaluated(tmp_path)
    handler.collect(engine)
    with caplog.at_level(logging.INFO):
        handler.write(engine)
    report = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert report["psnr"] == 24.0 and report["baseline"] == {"name": "bilinear", "psnr": 21.0}
    assert report["n_images"] == 3 and report["iterations"] == 7 and report["train_seconds"] == 1.3
    assert report["checkpoint_sha256"] == checkpoint_sha256(tmp_path / "model.pt")
    assert report["patients"]["a"] == {"n_images": 2, "psnr": 21.0, "baseline": {"name": "bilinear", "psnr": 19.0}}
    assert "psnr restored" in caplog.text and "numbers: here" in caplog.text


def test_equal_images_are_left_out_and_counted(tmp_path: Path) -> None:
    handler, engine = evaluated(tmp_path)
    engine.state.metric_details["psnr"][1] = torch.inf
    engine.state.metric_details["baseline_psnr"][2] = torch.inf
    handler.collect(engine)
    handler.write(engine)
    report = json.loads((tmp_path / "out" / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert report["psnr"] == 30.0 and report["baseline"]["psnr"] == 25.0
    assert report["n_not_finite"] == {"psnr": 2, "baseline_psnr": 2}
    assert report["patients"]["a"]["psnr"] is None and report["patients"]["a"]["baseline"]["psnr"] is None


def test_metrics_without_details(tmp_path: Path) -> None:
    handler, engine = evaluated(tmp_path)
    del engine.state.metric_details["psnr"]
    with pytest.raises(ValueError, match=r"metrics \['psnr'\] keep no details"):
        handler.write(engine)


def test_picture_shows_the_patient_upright(tmp_path: Path) -> None:
    """One bright voxel at the patient's right front must be in the upper left corner of each panel."""
    image = torch.zeros(1, 30, 20)
    image[0, -1, -1] = 1.0  # RAS: the last index is furthest right and furthest to the front
    item = {key: MetaTensor(image, affine=torch.eye(4)) for key in ("image", "pred", "label")}
    handler = PreviewHandler(tmp_path / "step_{step}.png", step=lambda: 12)
    handler.collect(SimpleNamespace(state=SimpleNamespace(output=[item])))
    handler.save(SimpleNamespace(state=SimpleNamespace()))
    picture = np.asarray(Image.open(tmp_path / "step_000012.png"))
    assert picture.shape == (16 + 20, 4 * 30 + 3 * 4)
    assert [picture[16, 34 * column] for column in range(4)] == [255, 255, 255, 0]


def test_progress_stops_at_nan() -> None:
    engine: Any = Engine(lambda engine, batch: {"loss": torch.tensor(float("nan") if batch == 3 else 1.0)})
    ProgressHandler(5, interval=1, show=False).attach(engine)
    with pytest.raises(FloatingPointError, match="the loss is nan at iteration 4"):
        engine.run(range(5))


@pytest.mark.parametrize(
    ("factor", "spacing", "message"),
    [
        (8, 0.5, "factor=8, but the network was trained for factor 4"),
        (
            4,
            0.9,
            "restored voxel size 0.9 x 0.9 x 3 mm, but the network was trained on 0.5-0.625 x 0.5-0.625 x 3-3.6 mm",
        ),
        (4, 0.5, ""),
    ],
)
def test_warns_outside_the_trained_range(
    factor: float, spacing: float, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    trained = {"factor": 4.0, "spacing_range": [[0.5, 0.625], [0.5, 0.625], [3.0, 3.6]]}
    image = MetaTensor(torch.zeros(1, 4, 4, 4), affine=torch.diag(torch.tensor([spacing, spacing, 3.0, 1.0])))
    engine = Engine(lambda engine, batch: None)
    TrainedRangeHandler(trained, factor).attach(engine)
    engine.run([list_data_collate([{"image": image}])])
    assert message in caplog.text and (message or not caplog.records)


def test_picture_spreads_its_rows_over_the_images(tmp_path: Path) -> None:
    handler = PreviewHandler(tmp_path / "p.png", max_rows=3, stride=4)
    handler.start(SimpleNamespace())
    for batch in (range(0, 5), range(5, 7), range(7, 20)):
        images = [torch.full((1, 2, 2), n / 20) for n in batch]
        handler.collect(
            SimpleNamespace(
                state=SimpleNamespace(output=[dict.fromkeys(("image", "pred", "label"), i) for i in images])
            )
        )
    assert [round(float(row[0][0, 0]) * 20) for row in handler.rows] == [2, 6, 10]
