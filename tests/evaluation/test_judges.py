"""Downstream networks as columns: on a classifier whose answer is known, and on the shipped segmenter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage

from contracts.bundle_commands import bundle
from monai_cdiff.evaluation import (
    Classifier,
    Features,
    Segmenter,
    VolumeCase,
    accuracy_metric,
    classifier_features,
    dice_metric,
    flicker_metric,
    score_volumes,
)
from monai_cdiff.evaluation.feature_scores import feature_columns, score_features

LAYERS = "torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(1, 2)"


@pytest.fixture
def by_brightness(tmp_path: Path) -> Classifier:
    """"bright" where the mean of the image is above 0."""
    reading = [{"_target_": name, "keys": "image"} for name in ("LoadImaged", "EnsureChannelFirstd")]
    config = {
        "imports": ["$import torch"],
        "network_def": f"$torch.nn.Sequential({LAYERS})",
        "preprocessing": {"_target_": "Compose", "transforms": reading},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {"_target_": "Activationsd", "keys": "pred", "softmax": True},
    }
    names = {"type": "probabilities", "num_channels": 2, "channel_def": {"0": "dark", "1": "bright"}}
    data = {"inputs": {"image": {"num_channels": 1}}, "outputs": {"pred": names}}
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(1, 2))
    network.load_state_dict({"2.weight": torch.tensor([[0.0], [1.0]]), "2.bias": torch.zeros(2)})
    (tmp_path / "judge" / "configs").mkdir(parents=True)
    (tmp_path / "judge" / "models").mkdir()
    (tmp_path / "judge" / "configs" / "inference.json").write_text(json.dumps(config))
    (tmp_path / "judge" / "configs" / "metadata.json").write_text(json.dumps({"network_data_format": data}))
    torch.save(network.state_dict(), tmp_path / "judge" / "models" / "model.pt")
    return Classifier(tmp_path / "judge")


def case(restored: torch.Tensor, **entry: Any) -> VolumeCase:
    image = MetaTensor(restored, affine=torch.eye(4))
    return VolumeCase(image, image, {"image": "x.png", **entry})


def test_accuracy_counts_the_restored_image(by_brightness: Classifier) -> None:
    metric = accuracy_metric(by_brightness)
    classes = ("bright", "dark", None)
    cases = [case(torch.ones(1, 4, 3), **({} if name is None else {"class": name})) for name in classes]
    assert score_volumes([metric], cases)["accuracy"] == pytest.approx([1.0, 0.0, np.nan], nan_ok=True)
    darkened = VolumeCase(MetaTensor(-torch.ones(1, 4, 3)), cases[0].original, cases[0].entry)
    assert metric.function(darkened) == {"accuracy": 0.0}


def test_a_class_that_the_classifier_does_not_know(by_brightness: Classifier) -> None:
    with pytest.raises(ValueError, match="x.png: class='grey' is none of the classifier's: dark, bright"):
        accuracy_metric(by_brightness).function(case(torch.ones(1, 4, 3), **{"class": "grey"}))


def test_features_are_those_before_the_last_layer(by_brightness: Classifier) -> None:
    images = torch.arange(24.0).reshape(2, 1, 4, 3)
    features = classifier_features(by_brightness)
    assert features.function(images)[:, 0].tolist() == pytest.approx(images.flatten(1).mean(dim=1).tolist())
    assert by_brightness.sha256[:8] in features.name


def test_dice_by_hand(shared_data: Path) -> None:
    folder = shared_data / "msd_hippocampus"
    name = sorted(path.name for path in (folder / "images").glob("*.nii.gz"))[0]
    image = LoadImage(ensure_channel_first=True)(folder / "images" / name)
    worse = MetaTensor(image.as_tensor().roll(2, dims=1), affine=image.affine)
    segmenter, label = Segmenter(bundle("segment")), folder / "labels" / name
    truth = np.asarray(nibabel.load(label).dataobj)
    scores = []
    for restored in (image, worse):
        found = dice_metric(segmenter, "zones").function(VolumeCase(restored, image, {"zones": str(label)}))
        labels = segmenter.segment(restored).numpy()
        for number, structure in enumerate(("anterior", "posterior"), start=1):
            own, wanted = labels == number, truth == number
            by_hand = 2 * (own & wanted).sum() / (own.sum() + wanted.sum())
            assert found[f"dice_{structure}"] == pytest.approx(by_hand, abs=1e-6)
        scores.append(found["dice_anterior"])
    assert scores[0] > scores[1]
    assert dice_metric(segmenter, "zones").function(VolumeCase(image, image, {"label": str(label)})) == {}


def test_labels_that_the_segmenter_does_not_know(tmp_path: Path) -> None:
    file = tmp_path / "zones.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.full((12, 12, 8), 7, dtype=np.uint8), np.eye(4)), file)
    with pytest.raises(ValueError, match=r"label='.*zones.nii.gz' holds 7; the segmenter knows 0 to 2 \(anterior"):
        dice_metric(Segmenter(bundle("segment"))).function(case(torch.ones(1, 12, 12, 8), label=str(file)))


def test_a_volume_that_does_not_change_has_no_flicker() -> None:
    metric = flicker_metric()
    flat = case(torch.ones(1, 4, 4, 3))
    assert np.isnan(score_volumes([metric], [flat])["flicker"]).all()
    assert metric.reason == "of volumes whose slices differ"


def test_too_few_subjects_cannot_be_told_apart() -> None:
    network = Features("two", "two numbers", torch.nn.Identity())
    rows = torch.rand(8, 2, generator=torch.Generator().manual_seed(0))
    apart = feature_columns(network)[-1].name
    values, _ = score_features(network, rows, rows, [str(n // 2) for n in range(8)])
    assert not values[apart].values and values[apart].reason == "needs 5 subjects, here are 4"
    values, _ = score_features(network, rows, rows, [str(n) for n in range(8)])
    assert values[apart].values == [0.5]
