"""Judges out of any MONAI bundle, on bundles whose answer is known, and the Dice coefficient."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage
from PIL import Image

from contracts.bundle_commands import bundle
from monai_cdiff.data import DicomSeriesReader, RasterReader, list_files, read_label
from monai_cdiff.evaluation import Classifier, Segmenter, dice_per_structure
from monai_cdiff.handlers import checkpoint_sha256

TURNED = np.array([[0, -2.0, 0, 10], [1.5, 0, 0, -4], [0, 0, -3, 9], [0, 0, 0, 1]])
READ = [{"_target_": "LoadImaged", "keys": "image"}, {"_target_": "EnsureChannelFirstd", "keys": "image"}]


def tensor(kind: str, form: str, names: list[str]) -> dict[str, Any]:
    channels = {str(n): name for n, name in enumerate(names)}
    return {"type": kind, "format": form, "num_channels": len(names), "channel_def": channels}


def write_bundle(folder: Path, config: dict[str, Any], output: dict[str, Any], network: torch.nn.Module) -> Path:
    """A bundle of somebody else: plain weights, no ids but those that MONAI asks for."""
    (folder / "configs").mkdir(parents=True, exist_ok=True)
    (folder / "models").mkdir(exist_ok=True)
    inputs = {"image": tensor("image", "magnitude", ["image"])}
    metadata = {"network_data_format": {"inputs": inputs, "outputs": {"pred": output}}}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    return folder


def threshold_network() -> torch.nn.Conv3d:
    """Background where the intensity is below 0.3, "low" up to 0.7, "high" above: three lines, the highest wins."""
    network = torch.nn.Conv3d(1, 3, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([0.0, 1, 2]).reshape(3, 1, 1, 1, 1))
        network.bias.copy_(torch.tensor([0.0, -0.3, -1.0]))
    return network


def segmentation(invert: bool = True) -> dict[str, Any]:
    inverse = {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"}
    steps = [{**inverse, "nearest_interp": False, "_disabled_": not invert}]
    save = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir", "print_log": False}
    argmax = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}
    turn: dict[str, Any] = {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None}
    return {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "cuda:9",
        "network_def": "$torch.nn.Conv3d(1, 3, 1)",
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": [*READ, turn]},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [4, 4, 4], "overlap": 0.5},
        "postprocessing": {"_target_": "Compose", "transforms": [*steps, argmax, save]},
    }


THREE = tensor("image", "segmentation", ["background", "low", "high"])


@pytest.fixture
def volume() -> MetaTensor:
    values = torch.rand(1, 7, 5, 6, generator=torch.Generator().manual_seed(0))
    return MetaTensor(values, affine=torch.from_numpy(TURNED))


@pytest.fixture
def segmenter(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle", segmentation(), THREE, threshold_network())


def test_a_foreign_segmentation_answers_on_the_grid_of_the_volume(segmenter: Path, volume: MetaTensor) -> None:
    judge = Segmenter(segmenter)
    wanted = (volume[0] > 0.3).long() + (volume[0] > 0.7).long()
    assert judge.structures == ["low", "high"]
    before = sorted(segmenter.rglob("*"))
    for _ in range(2):
        labels = judge.segment(volume)
        assert type(labels) is torch.Tensor and labels.dtype == torch.int64 and torch.equal(labels, wanted.as_tensor())
    assert sorted(segmenter.rglob("*")) == before  # what SaveImaged wrote went elsewhere
    assert judge.sha256 == checkpoint_sha256(segmenter / "models" / "model.pt") and not judge._bundle.network.training


def test_channels_before_argmax_are_taken_too(tmp_path: Path, volume: MetaTensor) -> None:
    config = segmentation()
    config["postprocessing"]["transforms"] = config["postprocessing"]["transforms"][:1]
    judge = Segmenter(write_bundle(tmp_path, config, THREE, threshold_network()))
    assert torch.equal(judge.segment(volume), ((volume[0] > 0.3).long() + (volume[0] > 0.7).long()).as_tensor())


def test_a_prediction_on_another_grid_is_refused(tmp_path: Path, volume: MetaTensor) -> None:
    judge = Segmenter(write_bundle(tmp_path, segmentation(invert=False), THREE, threshold_network()))
    with pytest.raises(ValueError, match="lies on another grid than the volume"):
        judge.segment(volume)
    plain = MetaTensor(volume.as_tensor(), affine=torch.eye(4))  # of which the same bundle turns nothing
    assert judge.segment(plain).shape == (7, 5, 6)


@pytest.mark.parametrize("entry", ["model", "state_dict", "network"])
def test_weights_in_a_checkpoint(entry: str, segmenter: Path, volume: MetaTensor, tmp_path: Path) -> None:
    wanted = Segmenter(segmenter).segment(volume)
    torch.save({entry: threshold_network().state_dict(), "epoch": 3}, tmp_path / "other.pt")
    (segmenter / "models" / "model.pt").unlink()
    assert torch.equal(Segmenter(segmenter, checkpoint=tmp_path / "other.pt").segment(volume), wanted)


def classification(steps: list[dict[str, Any]]) -> dict[str, Any]:
    layers = "torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(1, 2)"
    return {
        "imports": ["$import torch"],
        "network_def": f"$torch.nn.Sequential({layers})",
        "preprocessing": {"_target_": "Compose", "transforms": READ},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {"_target_": "Compose", "transforms": steps},
    }


def mean_network() -> torch.nn.Module:
    """The logit of "bright" is the mean over the image."""
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(1, 2))
    with torch.no_grad():
        network[2].weight.copy_(torch.tensor([[0.0], [1.0]]))
        network[2].bias.zero_()
    return network


SOFTMAX = [{"_target_": "Activationsd", "keys": "pred", "softmax": True}]
TWO = tensor("probabilities", "classes", ["dark", "bright"])


def test_a_foreign_classifier(tmp_path: Path) -> None:
    judge = Classifier(write_bundle(tmp_path, classification(SOFTMAX), TWO, mean_network()))
    images = torch.arange(24.0).reshape(2, 1, 4, 3) / 10 - 1
    assert judge.classes == ["dark", "bright"]
    for image in images:
        odds = math.exp(image.mean())
        assert judge.predict(image).tolist() == pytest.approx([1 / (1 + odds), odds / (1 + odds)], abs=1e-6)
    assert judge.features(images).flatten().tolist() == pytest.approx(images.flatten(1).mean(dim=1).tolist())
    nibabel.Nifti1Image(images[1, 0].numpy(), np.eye(4)).to_filename(tmp_path / "x.nii.gz")
    assert torch.allclose(judge.predict(tmp_path / "x.nii.gz"), judge.predict(images[1]))


def test_what_are_no_probabilities(tmp_path: Path) -> None:
    for steps in ([], [{"_target_": "AsDiscreted", "keys": "pred", "argmax": True}]):
        judge = Classifier(write_bundle(tmp_path, classification(steps), TWO, mean_network()))
        with pytest.raises(ValueError, match="a probability for each of the classes dark, bright"):
            judge.predict(torch.full((1, 4, 3), 5.0))


IMAGES: list[tuple[torch.Tensor, str]] = [
    (torch.zeros(4, 3), r"image has shape \(4, 3\); allowed"),
    (torch.zeros(3, 4, 3), r"image has shape \(3, 4, 3\)"),
    (torch.zeros(1, 0, 3), r"image has shape \(1, 0, 3\)"),
    (torch.full((1, 4, 3), torch.nan), "not finite"),
]


@pytest.mark.parametrize("image, said", IMAGES, ids=range(len(IMAGES)))
def test_images_that_are_none(image: torch.Tensor, said: str, tmp_path: Path) -> None:
    judge = Classifier(write_bundle(tmp_path, classification(SOFTMAX), TWO, mean_network()))
    with pytest.raises(ValueError, match=said):
        judge.predict(image)
    with pytest.raises(ValueError, match=r"images has shape .*; allowed: \(B, 1, H, W\)|not finite"):
        judge.features(image[None] if image.ndim == 3 and image.shape[0] != 1 else image)


def test_files_that_are_none(tmp_path: Path) -> None:
    judge = Classifier(write_bundle(tmp_path, classification(SOFTMAX), TWO, mean_network()))
    with pytest.raises(FileNotFoundError, match="image=.*gone.png' does not exist"):
        judge.predict(tmp_path / "gone.png")
    (tmp_path / "x.nii.gz").write_bytes(b"no image")
    with pytest.raises(ValueError, match="x.nii.gz: the bundle .* cannot prepare it"):
        judge.predict(tmp_path / "x.nii.gz")
    nibabel.Nifti1Image(np.zeros((4, 3, 1, 1, 2)), np.eye(4)).to_filename(tmp_path / "two.nii.gz")
    with pytest.raises(ValueError, match="two.nii.gz"):
        judge.predict(tmp_path / "two.nii.gz")


def test_volumes_that_are_none(segmenter: Path, volume: MetaTensor) -> None:
    for wrong in (volume.as_tensor(), volume[..., 0]):
        with pytest.raises(ValueError, match=r"allowed: MetaTensor \(1, H, W, D\)"):
            Segmenter(segmenter).segment(wrong)


def change(config: str, **values: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        file = folder / "configs" / f"{config}.json"
        content = {**json.loads(file.read_text()), **values}
        file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return apply


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def other_weights(folder: Path) -> None:
    torch.save(torch.nn.Conv3d(1, 2, 1).state_dict(), folder / "models" / "model.pt")


def of_two_channels(folder: Path) -> None:
    file = folder / "configs" / "metadata.json"
    content = json.loads(file.read_text())
    content["network_data_format"]["inputs"]["image"]["num_channels"] = 2
    file.write_text(json.dumps(content))


def of_a_restoration(folder: Path) -> None:
    file = folder / "configs" / "metadata.json"
    content = json.loads(file.read_text())
    content["network_data_format"]["outputs"]["pred"]["format"] = "magnitude"
    file.write_text(json.dumps(content))


FAULTS: list[tuple[Callable[[Path], None], str]] = [
    (remove("configs/inference.json"), "is no bundle: .*inference.json does not exist"),
    (remove("configs/metadata.json"), "is no bundle: .*metadata.json does not exist"),
    (remove("models/model.pt"), "has no weights: .* python -m monai.bundle run training --config_file"),
    (change("inference", inferer=None, preprocessing=None), "inference.json lacks 'preprocessing', 'inferer'"),
    (change("inference", inferer={"_target_": "NoInferer"}), "inferer: .*NoInferer"),
    (change("metadata", network_data_format={"inputs": {}}), "network_data_format of its metadata needs one input"),
    (lambda folder: (folder / "configs" / "metadata.json").write_text("{"), "metadata.json cannot be read"),
    (lambda folder: (folder / "models" / "model.pt").write_bytes(b"no weights"), "cannot be read as weights"),
    (other_weights, "does not fit the network of"),
    (of_two_channels, "takes 2 channels; images here have one"),
    (of_a_restoration, "is none that segments"),
]


@pytest.mark.parametrize("break_it, said", FAULTS, ids=range(len(FAULTS)))
def test_bundles_that_are_none(break_it: Callable[[Path], None], said: str, segmenter: Path) -> None:
    break_it(segmenter)
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        Segmenter(segmenter)


def test_a_bundle_in_yaml(segmenter: Path, volume: MetaTensor) -> None:
    yaml = pytest.importorskip("yaml")
    wanted = Segmenter(segmenter).segment(volume)
    for file in (segmenter / "configs").glob("*.json"):
        file.with_suffix(".yaml").write_text(yaml.safe_dump(json.loads(file.read_text())))
        file.unlink()
    assert torch.equal(Segmenter(segmenter).segment(volume), wanted)


def test_a_checkpoint_that_is_not_there(segmenter: Path) -> None:
    with pytest.raises(FileNotFoundError, match="checkpoint='gone.pt' does not exist"):
        Segmenter(segmenter, checkpoint="gone.pt")


def test_a_restoration_is_no_judge() -> None:
    with pytest.raises(ValueError, match="takes 2 channels"):
        Segmenter(bundle("sr"))
    with pytest.raises(ValueError, match="is none that classifies"):
        Classifier(bundle("segment"))
    with pytest.raises(ValueError, match="was trained for 'segment'; this bundle takes those for 'classify'"):
        Classifier(bundle("classify"), checkpoint=bundle("segment") / "models" / "model.pt")


def test_the_shipped_judges(tmp_path: Path, volume: MetaTensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """From any folder, a picture as a file and as a tensor, in any unit."""
    monkeypatch.chdir(tmp_path)
    grey = (np.random.default_rng(0).random((90, 70)).cumsum(0).cumsum(1) / 25).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "x.png")
    classifier, segmenter = Classifier(bundle("classify")), Segmenter(bundle("segment"))
    assert classifier.classes == ["normal", "bacterial", "viral"] and segmenter.structures == ["anterior", "posterior"]
    image = LoadImage(reader=RasterReader(), ensure_channel_first=True)(tmp_path / "x.png")
    found = classifier.predict("x.png")
    assert found.shape == (3,) and torch.allclose(found, classifier.predict(image), atol=1e-4)
    assert torch.allclose(found, classifier.predict(image * 3 - 50), atol=1e-3)
    assert classifier.features(torch.stack([image, image.flip(1)])).shape == (2, 512)
    assert segmenter.segment(volume).shape == (7, 5, 6)
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


LABELS = torch.tensor([[[0, 1, 1], [2, 2, 0]]])


def test_dice_by_hand() -> None:
    prediction = torch.tensor([[[0, 1, 0], [2, 2, 2]]])
    dice = dice_per_structure(prediction, LABELS, 3)
    assert dice[:2].tolist() == pytest.approx([2 / 3, 4 / 5]) and dice[2].isnan() and dice.dtype == torch.float32
    assert dice_per_structure(LABELS.float(), LABELS.int(), 2).tolist() == [1, 1]
    assert dice_per_structure(LABELS[None], LABELS[None], 2).tolist() == [1, 1]


def test_a_structure_that_only_one_shows() -> None:
    nothing = torch.zeros_like(LABELS)
    assert dice_per_structure(nothing, LABELS, 2).tolist() == dice_per_structure(LABELS, nothing, 2).tolist() == [0, 0]
    assert dice_per_structure(nothing, nothing, 2).isnan().all()


def test_what_has_no_dice() -> None:
    here, there = (MetaTensor(LABELS.float(), affine=torch.eye(4)) for _ in range(2))
    there.affine[0, 3] = 0.5
    with pytest.raises(ValueError, match="lie on different grids"):
        dice_per_structure(here, there, 2)
    assert dice_per_structure(here, LABELS, 2).tolist() == [1, 1]
    with pytest.raises(ValueError, match=r"prediction \(1, 2, 2\) and label \(1, 2, 3\) lie on different grids"):
        dice_per_structure(LABELS[..., :2], LABELS, 2)
    for wrong in (LABELS + 1, LABELS - 1, LABELS + 0.5, torch.full_like(here, torch.nan)):
        with pytest.raises(ValueError, match="prediction holds .*; allowed are the whole numbers 0 to 2"):
            dice_per_structure(wrong, LABELS, 2)
    with pytest.raises(ValueError, match="num_structures=0"):
        dice_per_structure(LABELS, LABELS, 0)


def test_zones_of_the_prostate(shared_data: Path) -> None:
    folder = shared_data / "prostatex0004_zones"
    t2w = LoadImage(reader=DicomSeriesReader(), ensure_channel_first=True)(list_files(folder / "dicom"))
    zones = read_label(folder / "labels.nrrd", t2w)
    assert dice_per_structure(zones, zones, 4).tolist() == [1] * 4
    shifted = dice_per_structure(zones.roll(3, dims=0), zones, 4)
    assert ((shifted > 0.3) & (shifted < 1)).all()
