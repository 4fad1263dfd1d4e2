"""What the judges' trainings hang on: the best weights, the Dice of each structure, the report of a classifier."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.engines import SupervisedEvaluator

from monai_cdiff.handlers import (
    BestWeightsHandler,
    CheckpointHandler,
    ClassificationReportHandler,
    ExponentialMovingAverage,
    ReportHandler,
    dice_metrics,
    export_weights,
    load_network,
    read_checkpoint,
    trained_settings,
    write_checkpoint,
)


def judged(folder: Path) -> tuple[torch.nn.Linear, CheckpointHandler, BestWeightsHandler]:
    torch.manual_seed(0)
    network = torch.nn.Linear(2, 2)
    objects = {"network": network, "ema": ExponentialMovingAverage(network, decay=0.5)}
    checkpoints = CheckpointHandler(folder, objects, {"task": "classify", "classes": ["a", "b"]})
    return network, checkpoints, BestWeightsHandler(checkpoints)


def scored(score: float, rank: int = 0) -> Any:
    state = SimpleNamespace(metrics={"accuracy": score, "auc": 0.1}, key_metric_name="accuracy", rank=rank)
    return SimpleNamespace(state=state)


def test_the_best_stays_and_an_equal_one_does_not_replace_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    network, checkpoints, handler = judged(tmp_path)
    weights = {}
    with caplog.at_level(logging.INFO):
        for score in (0.5, 0.8, 0.6, 0.8):
            with torch.no_grad():
                network.weight += 1
            checkpoints.objects["ema"].update()
            weights[score] = weights.get(score, checkpoints.objects["ema"].module.weight.clone())
            handler.compare(scored(score))
    saved = read_checkpoint(tmp_path / "checkpoints" / "best.pt")
    assert saved["score"] == 0.8 and saved["iteration"] == 2 and torch.equal(saved["network"]["weight"], weights[0.8])
    assert "accuracy 0.6000, best 0.8000" in caplog.text and caplog.text.count("the best so far") == 2
    assert saved["train_seconds"] >= 0 and trained_settings(handler.path) == checkpoints.settings


def test_a_resumed_training_knows_the_best_it_had(tmp_path: Path) -> None:
    _, _, handler = judged(tmp_path)
    handler.compare(scored(0.8))
    before = handler.path.read_bytes()
    _, _, again = judged(tmp_path)
    again.compare(scored(0.7))
    assert again.path.read_bytes() == before
    again.compare(scored(0.9, rank=1))
    assert again.path.read_bytes() == before
    again.compare(scored(0.9))
    assert read_checkpoint(again.path)["score"] == 0.9


def test_it_follows_an_evaluator_of_monai(tmp_path: Path) -> None:
    from ignite.metrics import Accuracy

    network, _, handler = judged(tmp_path)
    with torch.no_grad():
        network.weight.copy_(torch.eye(2))
        network.bias.zero_()
    batches = [{"image": torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]]), "label": torch.tensor([0, 1, 1, 1])}]
    metric = Accuracy(lambda o: [torch.stack([i["pred"] for i in o]), torch.tensor([i["label"] for i in o])])
    evaluator = SupervisedEvaluator(
        torch.device("cpu"), batches, network, key_val_metric={"accuracy": metric}, val_handlers=[handler]
    )
    evaluator.run()
    assert read_checkpoint(handler.path)["score"] == 0.75


def test_weights_of_no_diffusion_are_shipped_and_loaded(tmp_path: Path) -> None:
    network, _, handler = judged(tmp_path)
    handler.compare(scored(0.8))
    export_weights(handler.path, tmp_path / "model.pt")
    content = read_checkpoint(tmp_path / "model.pt")
    assert set(content) == {"settings", "iteration", "train_seconds", "network"}
    other = torch.nn.Linear(2, 2)
    load_network(other, tmp_path / "model.pt")
    assert torch.equal(other.weight, network.weight.half().float())
    assert trained_settings(tmp_path / "model.pt", "classify") == {"task": "classify", "classes": ["a", "b"]}


def one_hot(*labels: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor([[labels]]), 3).permute(3, 0, 1, 2).float()


def test_dice_of_each_structure_is_that_of_its_channel() -> None:
    metrics = dice_metrics(["front", "back"])
    engine = Engine(lambda engine, batch: batch)
    for name, metric in metrics.items():
        metric.attach(engine, name)
    pairs = [((0, 1, 1, 2), (0, 1, 2, 2)), ((1, 1, 0, 0), (0, 1, 1, 0)), ((0, 2, 0, 0), (0, 2, 0, 0))]
    engine.run([[{"pred": one_hot(*pred), "label": one_hot(*label)}] for pred, label in pairs])
    front = [2 * 1 / 3, 2 * 1 / 4]  # the third image shows no front
    assert engine.state.metrics["dice_front"] == pytest.approx(sum(front) / 2)
    assert engine.state.metrics["dice_back"] == pytest.approx((2 / 3 + 1) / 2)
    assert engine.state.metric_details["dice_front"].shape == (3, 1)


@pytest.mark.parametrize("structures", [[], "front", ["a", "a"]])
def test_structures_without_names(structures: Any) -> None:
    with pytest.raises(ValueError, match="structures=.* must be a list of different names"):
        dice_metrics(structures)


def reported(tmp_path: Path, **metrics: Any) -> tuple[ClassificationReportHandler, Any]:
    write_checkpoint({"network": {}, "settings": {}, "iteration": 7, "train_seconds": 1.26}, tmp_path / "model.pt")
    handler = ClassificationReportHandler(
        tmp_path / "metrics.json", ["a", "bb"], tmp_path / "model.pt", {"task": "x"}, {"numbers": "here"}
    )
    return handler, SimpleNamespace(state=SimpleNamespace(metrics=metrics, rank=0))


def test_report_of_a_classifier(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    handler, engine = reported(tmp_path, accuracy=0.75, auc=float("nan"), confusion=torch.tensor([[2.0, 1], [0, 1]]))
    with caplog.at_level(logging.INFO):
        handler.write(engine)
    report = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert list(report)[:2] == ["task", "n_images"] and report["n_images"] == 4 and report["accuracy"] == 0.75
    assert report["auc"] is None and report["confusion"] == [[2, 1], [0, 1]] and report["classes"] == ["a", "bb"]
    assert report["iterations"] == 7 and report["train_seconds"] == 1.3 and len(report["checkpoint_sha256"]) == 64
    assert "accuracy 0.7500, auc nan" in caplog.text and "numbers: here" in caplog.text


def test_report_of_other_classes(tmp_path: Path) -> None:
    for metrics in ({"accuracy": 1.0}, {"confusion": torch.zeros(3, 3)}):
        handler, engine = reported(tmp_path, **metrics)
        with pytest.raises(ValueError, match="the metric confusion has shape"):
            handler.write(engine)


def test_report_without_a_baseline(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_checkpoint({"network": {}, "settings": {}, "iteration": 7, "train_seconds": 1.26}, tmp_path / "model.pt")
    handler = ReportHandler(tmp_path / "metrics.json", {"task": "segment"}, tmp_path / "model.pt", baseline=None)
    labels = [MetaTensor(torch.zeros(1, 2, 2), meta={"subject": name}) for name in ("b", "a")]
    state = SimpleNamespace(
        output=[{"label": label} for label in labels],
        metrics={"dice": 0.0},
        metric_details={"dice": torch.tensor([[0.5, 0.7], [0.9, 0.7]])},
        rank=0,
    )
    handler.collect(SimpleNamespace(state=state))
    with caplog.at_level(logging.INFO):
        handler.write(SimpleNamespace(state=state))
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert report["dice"] == 0.7 and "baseline" not in report
    assert report["patients"] == {"a": {"n_images": 1, "dice": 0.8}, "b": {"n_images": 1, "dice": 0.6}}
    assert "dice" in caplog.text and "0.8000" in caplog.text
