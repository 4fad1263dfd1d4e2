"""Warnings where a restoration leaves what its network was trained on."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor, list_data_collate

from monai_cdiff.handlers import TrainedRangeHandler, log_trained

LOGGER = "monai_cdiff.handlers.trained_range"


def run(trained: dict[str, Any], factor: float | None, *spacings: float, **kwargs: Any) -> None:
    engine = Engine(lambda engine, batch: None)
    TrainedRangeHandler(trained, factor, **kwargs).attach(engine)
    sizes = [torch.diag(torch.tensor([spacing, spacing, 3.0, 1.0])) for spacing in spacings]
    engine.run([list_data_collate([{"image": MetaTensor(torch.zeros(1, 4, 4, 4), affine=a)}]) for a in sizes])


@pytest.mark.parametrize(
    ("trained", "factor", "warning"),
    [
        ({"factor": 4.0}, 4.1, ""),
        ({"factor": 4.0}, 4.3, "factor=4.3, but the network was trained for factor 4."),
        ({"factor": 4.0}, 3.7, "factor=3.7, but the network was trained for factor 4."),
        ({"factors": [8.0, 2.0, 4.0]}, 5.5, ""),
        ({"factors": [8.0, 2.0, 4.0]}, 8.5, "factor=8.5, but the network was trained for factors 2 to 8."),
        ({"factors": [8.0, 2.0], "factor": 4.0}, 1.5, "factor=1.5, but the network was trained for factors 2 to 8."),
        ({"factors": [], "factor": 4.0}, 8, "factor=8, but the network was trained for factor 4."),
        ({"factors": [4.0]}, 8, "factor=8, but the network was trained for factor 4."),
        ({}, None, ""),
        ({"factor": 4.0}, None, ""),
    ],
)
def test_factor(trained: dict, factor: float | None, warning: str, caplog: pytest.LogCaptureFixture) -> None:
    run(trained, factor, 0.5)
    assert [record.message for record in caplog.records] == ([warning] if warning else [])


@pytest.mark.parametrize(
    ("spacings", "warned"),
    [([0.5], []), ([0.48, 0.62], []), ([0.47], ["0.47"]), ([0.64], ["0.64"]), ([0.9, 0.9, 0.3], ["0.9", "0.3"])],
)
def test_voxel_size_once_each(spacings: list[float], warned: list[str], caplog: pytest.LogCaptureFixture) -> None:
    run({"spacing_range": [[0.5, 0.6], [0.5, 0.6], [3.0, 3.0]]}, None, *spacings)
    assert [record.message for record in caplog.records] == [
        f"restored voxel size {size} x {size} x 3 mm, but the network was trained on 0.5-0.6 x 0.5-0.6 x 3-3 mm."
        for size in warned
    ]


def test_a_picture_is_held_to_the_axes_it_has(caplog: pytest.LogCaptureFixture) -> None:
    image = MetaTensor(torch.zeros(1, 4, 4), affine=torch.diag(torch.tensor([0.5, 0.9, 9.0, 1.0])))
    engine = Engine(lambda engine, batch: None)
    TrainedRangeHandler({"spacing_range": [[0.5, 0.6], [0.5, 0.6], [3.0, 3.0]]}).attach(engine)
    engine.run([list_data_collate([{"image": image}])])
    assert caplog.messages == [
        "restored voxel size 0.5 x 0.9 mm, but the network was trained on 0.5-0.6 x 0.5-0.6 mm."
    ]


def test_a_picture_has_no_voxel_size_to_warn_of(caplog: pytest.LogCaptureFixture) -> None:
    image = MetaTensor(torch.zeros(1, 4, 4), meta={"raster_bits": 8})
    engine = Engine(lambda engine, batch: None)
    TrainedRangeHandler({"spacing_range": [[0.5, 0.6], [0.5, 0.6], [3.0, 3.0]]}).attach(engine)
    engine.run([list_data_collate([{"image": image}])])
    run({"spacing_range": []}, None, 0.5)
    assert not caplog.records


def test_no_spacing_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    run({"factor": 4.0}, 4.0, 0.01, 100.0)
    run({"factor": 4.0, "spacing_range": None}, 4.0, 0.01)
    assert not caplog.records


def test_tolerance(caplog: pytest.LogCaptureFixture) -> None:
    run({"factor": 4.0}, 5.9, 0.5, tolerance=0.5)
    assert not caplog.records
    run({"factor": 4.0}, 4.1, 0.5, tolerance=0)
    assert len(caplog.records) == 1


def test_arguments() -> None:
    with pytest.raises(ValueError, match="factor=1 must be a finite number, more than 1"):
        TrainedRangeHandler({}, 1)
    with pytest.raises(ValueError, match="tolerance=-1 must be a finite number, at least 0"):
        TrainedRangeHandler({}, tolerance=-1)


@pytest.mark.parametrize(
    ("settings", "job"),
    [
        ({"task": "sr", "factor": 4.0}, "sr x 4"),
        ({"task": "sr", "factors": [2.0, 2.828427], "factor": 4.0}, "sr x 2, 2.83"),
        ({"task": "inpaint"}, "inpaint"),
        ({"task": "denoise", "factor": None}, "denoise"),
    ],
)
def test_what_is_used(settings: dict, job: str, caplog: pytest.LogCaptureFixture) -> None:
    trained = {"network_size": "small", "normalisation": {"ref_key": "condition"}, "sampler": "str", **settings}
    with caplog.at_level(logging.INFO, LOGGER):
        log_trained("model.pt", trained, "a sampler")
    assert [record.message for record in caplog.records] == [f"weights: model.pt, small network for {job}"]


def test_what_differs_from_the_training(caplog: pytest.LogCaptureFixture) -> None:
    trained = {"task": "sr", "network_size": "base", "normalisation": {"ref_key": "image"}, "image_size": [128, 128]}
    log_trained("model.pt", {**trained, "sampler": "DDIMScheduler"}, 3, guidance_scale=1.5)
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings[0] == "the training sampled by DDIMScheduler, this samples by int."
    assert warnings[1].startswith("guidance_scale=1.5: the training dropped no conditions")
    assert warnings[2].startswith("trained on the range of the original images")
    assert warnings[3] == "trained on images resized to [128, 128]; restored at their own size."
    caplog.clear()
    log_trained("m", {**trained, "normalisation": {"ref_key": "x"}, "image_size": None, "condition_dropout": 0.1}, 3, 2)
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]
