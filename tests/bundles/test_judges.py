"""The bundles that judge restorations, classify and segment: their commands from end to end, and what is shipped."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, create_workflow, verify_net_in_out
from monai.transforms import LoadImage

from contracts.bundle_commands import CLASSES, JUDGES, ROOT, bundle, config, read_metrics, small
from monai_cdiff.cli import main
from monai_cdiff.data import NiftiReader, make_datalist, read_label
from monai_cdiff.evaluation import Classifier, Segmenter, dice_per_structure
from monai_cdiff.handlers import checkpoint_sha256, read_checkpoint, trained_settings

KEY = {"classify": "balanced_accuracy", "segment": "dice"}


@pytest.fixture(scope="module", params=JUDGES)
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def data(task: str, small_bundle: Callable[[str], tuple[Path, Path]]) -> Path:
    return small_bundle(task)[0]


@pytest.fixture(scope="module")
def output(task: str, small_bundle: Callable[[str], tuple[Path, Path]]) -> Path:
    return small_bundle(task)[1]


def best(output: Path) -> str:
    return str(output / "checkpoints" / "best.pt")


def the_error(caught: pytest.ExceptionInfo[BaseException]) -> str:
    error = caught.value
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)


def test_training_leaves_what_it_promises(task: str, output: Path) -> None:
    metrics = read_metrics(output)
    assert metrics["task"] == task and metrics["split"] == "test" and 0 <= metrics[KEY[task]] <= 1
    assert metrics["checkpoint_sha256"] == checkpoint_sha256(best(output)) and metrics["train_seconds"] > 0
    names = {path.name for path in (output / "checkpoints").iterdir()}
    assert names == {"best.pt", "checkpoint.pt", "model.pt"} and list((output / "tensorboard").iterdir())
    if task == "classify":
        assert metrics["classes"] == list(CLASSES) and np.sum(metrics["confusion"]) == metrics["n_images"] == 2
    else:
        assert list(metrics["patients"]) == ["patient2"] and metrics["n_images"] == 1 and "baseline" not in metrics
        means = [metrics[f"dice_{name}"] for name in metrics["structures"]]
        assert metrics["dice"] == pytest.approx(np.mean(means), abs=2e-5)


def test_training_goes_on_where_it_stood(
    task: str, data: Path, output: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    shutil.copytree(output / "checkpoints", tmp_path / "checkpoints")
    overrides = {**small(task), "dataset_dir": str(data), "output_dir": str(tmp_path), "max_iterations": 3}
    run("training", f"{task}/train", resume=True, **overrides)
    first, after = read_checkpoint(best(output)), read_checkpoint(tmp_path / "checkpoints" / "model.pt")
    assert (read_checkpoint(output / "checkpoints" / "model.pt")["iteration"], after["iteration"]) == (2, 3)
    assert after["settings"] == first["settings"] and read_checkpoint(best(tmp_path))["score"] >= first["score"]


def test_an_interrupted_training_ends_with_the_same_bits(
    task: str, data: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    overrides = {**small(task), "dataset_dir": str(data), "max_iterations": 4, "val_interval": 1}
    run("training", f"{task}/train", output_dir=str(tmp_path / "whole"), **overrides)
    schedule = config(task, "train")["train"]["lr_scheduler"]["lr_lambda"].replace("@max_iterations", "4")
    parts = {"output_dir": str(tmp_path / "parts"), "train__lr_scheduler__lr_lambda": schedule}
    run("training", f"{task}/train", **{**overrides, **parts, "max_iterations": 2})
    run("training", f"{task}/train", **{**overrides, **parts, "resume": True})
    for name in ("model.pt", "best.pt"):
        whole, resumed = (read_checkpoint(tmp_path / part / "checkpoints" / name) for part in ("whole", "parts"))
        assert whole["iteration"] == resumed["iteration"]
        assert all(torch.equal(value, resumed["network"][key]) for key, value in whole["network"].items())


def test_evaluation_repeats_the_numbers_of_the_training(
    task: str, data: Path, output: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    run("run", f"{task}/evaluate", checkpoint=best(output), dataset_dir=str(data), output_dir=str(tmp_path))
    assert read_metrics(tmp_path) == read_metrics(output)


def test_who_was_trained_on_is_not_scored(
    task: str, data: Path, output: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    lists = json.loads(data.read_text())
    lists["training"], lists["test"] = lists["test"], lists["training"]
    swapped = data.with_name("swapped.json")
    swapped.write_text(json.dumps(lists))
    overrides = {"checkpoint": best(output), "dataset_dir": str(swapped), "output_dir": str(tmp_path)}
    with pytest.raises(RuntimeError) as caught:
        run("run", f"{task}/evaluate", **overrides)
    assert "1 subjects to score were in the training: patient0" in the_error(caught)


@pytest.mark.parametrize(
    "overrides, said",
    [
        ({"split": "tset"}, "split='tset' is not supported"),
        ({"checkpoint": str(bundle("denoise") / "models" / "model.pt")}, "was trained for 'denoise'"),
        ({"dataset_dir": "gone.json"}, "does not exist"),
        ({"dataset_dir": None}, "dataset_dir=None must be a path"),
    ],
    ids=["split", "checkpoint", "list", "none"],
)
def test_what_an_evaluation_refuses(
    overrides: dict[str, Any], said: str, task: str, data: Path, output: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    right = {"checkpoint": best(output), "dataset_dir": str(data), "output_dir": str(tmp_path / "out")}
    with pytest.raises(RuntimeError) as caught:
        run("run", f"{task}/evaluate", **{**right, **overrides})
    assert said in the_error(caught) and not (tmp_path / "out").exists()


def test_what_there_is_to_learn_must_be_there(task: str, data: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    lists = json.loads(data.read_text())
    for item in (item for items in lists.values() for item in items):
        item.pop("class", None)
        if "label" in item:
            item["label"] = item["label"].replace("labels", "gone")
    broken = data.with_name("broken.json")
    broken.write_text(json.dumps(lists))
    with pytest.raises(RuntimeError) as caught:
        run("training", f"{task}/train", dataset_dir=str(broken), output_dir=str(tmp_path / "out"), **small(task))
    said = {"classify": "has no 'class'", "segment": f"label {data.parent}/gone/patient0/t2.nii.gz does not exist"}
    assert said[task] in the_error(caught) and not (tmp_path / "out").exists()


def test_inference(task: str, data: Path, output: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    folder = data.parent / "images"
    overrides = {"checkpoint": best(output), "input_dir": str(folder), "output_dir": str(tmp_path), "device": "cpu"}
    run("run", f"{task}/inference", **overrides)
    images = sorted(path for path in folder.rglob("*") if path.is_file())
    if task == "classify":
        judge = Classifier(bundle(task), checkpoint=best(output))
        rows = {row[0]: [float(x) for x in row[1:]] for row in csv.reader((tmp_path / "predictions.csv").open())}
        assert sorted(rows) == [str(image) for image in images]
        for image in images:
            assert judge.predict(image).tolist() == pytest.approx(rows[str(image)], abs=1e-5)
        return
    segmenter = Segmenter(bundle(task), checkpoint=best(output))
    load = LoadImage(reader=NiftiReader(), ensure_channel_first=True)
    for image in images:
        written: Any = nibabel.load(tmp_path / image.parent.name / "t2_segment.nii.gz")
        source: Any = nibabel.load(image)
        assert written.shape == source.shape and np.allclose(written.affine, source.affine, atol=1e-5)
        assert written.get_data_dtype() == np.uint8
        assert np.array_equal(np.asarray(written.dataobj), segmenter.segment(load(image)).numpy())


def test_it_restores_nothing(
    task: str, data: Path, output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["restore", str(data.parent / "images"), str(tmp_path / "out"), "--bundle", task]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"--bundle {task}: this bundle restores nothing" in said and f"{task}/configs/inference.json" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "kind"), [("train", "train"), ("inference", "infer"), ("evaluate", "infer")])
def test_workflow_has_every_property(
    name: str, kind: str, task: str, data: Path, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    overrides: dict[str, Any] = {"dataset_dir": str(data), "output_dir": str(tmp_path)}
    overrides |= small(task) if name == "train" else {"checkpoint": best(output)}
    overrides |= {"input_dir": str(data.parent / "images")} if name == "inference" else {}
    workflow = create_workflow(config_file=f"bundles/{task}/configs/{name}.json", workflow_type=kind, **overrides)
    assert workflow.check_properties() == []


def test_metadata_keeps_monais_specification(task: str) -> None:
    metadata, other = config(task, "metadata"), config("denoise", "metadata")
    assert set(other) - {"parameterization"} <= set(metadata) and metadata["version"] in metadata["changelog"]
    for name in ("monai_version", "pytorch_version", "numpy_version", "required_packages_version"):
        assert metadata[name] == other[name]
    tensor = {"type", "format", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data", "channel_def"}
    for tensors in metadata["network_data_format"].values():
        for entry in tensors.values():
            assert tensor <= set(entry) and len(entry["channel_def"]) == entry["num_channels"]
    train = config(task, "train")
    named = list(metadata["network_data_format"]["outputs"]["pred"]["channel_def"].values())
    assert named == (train["classes"] if task == "classify" else ["background", *train["structures"]])
    folder = bundle(task) / "configs"
    verify_net_in_out("network_def", meta_file=str(folder / "metadata.json"), config_file=str(folder / "train.json"))


def test_weights_are_those_of_the_metadata(task: str) -> None:
    weights, metadata = bundle(task) / "models" / "model.pt", config(task, "metadata")
    assert checkpoint_sha256(weights) == metadata["model_sha256"] and weights.stat().st_size < 20 * 2**20
    trained = trained_settings(weights, task)
    named = "classes" if task == "classify" else "structures"
    assert trained[named] == config(task, "train")[named] and trained["training_subjects"]
    page = (bundle(task) / "docs" / "README.md").read_text()
    assert metadata["model_sha256"] in page


def test_configurations_agree_where_they_say_the_same(task: str) -> None:
    train, evaluate, inference = (config(task, name) for name in ("train", "evaluate", "inference"))
    for name in ("task", "bundle_root", "device", "network_def", "network"):
        assert train[name] == evaluate[name] == inference[name], name
    assert evaluate["datalist"].pop("needed") == ["@split"]  # it scores one split, and may lack the others
    for name in ("preprocessing", "datalist"):
        assert train[name] == evaluate[name], name
    assert train["validate"]["inferer"] == train["test"]["inferer"] == evaluate["inferer"] == inference["inferer"]
    assert train["validate"]["postprocessing"] == evaluate["postprocessing"]
    wanted = [transform for transform in train["preprocessing"]["transforms"] if transform["keys"] != "label"]
    assert [t["_target_"] for t in wanted] == [t["_target_"] for t in inference["preprocessing"]["transforms"]]


@pytest.mark.parametrize("name", ["train", "inference", "evaluate", "metadata"])
def test_links_beside_the_folder_of_configurations(name: str, task: str) -> None:
    link = bundle(task) / f"{name}.json"
    assert link.is_symlink() and str(link.readlink()) == f"configs/{name}.json"


def test_classes_weigh_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each class has the same weight in all, whatever the number of its images."""
    items = [{"label": label} for label in [0] * 6 + [1] * 3 + [2]]
    parser = ConfigParser({**config("classify", "train"), "device": "cpu"})
    parser["train"]["data"] = items
    weight = parser.get_parsed_content("train#loss_function").weight
    assert (weight * torch.tensor([6.0, 3, 1])).tolist() == pytest.approx([10 / 3] * 3)


@pytest.mark.slow
def test_the_shipped_segmentation_on_patients_it_never_saw(shared_data: Path) -> None:
    judge = Segmenter(bundle("segment"))
    known = trained_settings(bundle("segment") / "models" / "model.pt")["training_subjects"]
    datalist = make_datalist(shared_data / "msd_hippocampus" / "images")
    load = LoadImage(reader=NiftiReader(), ensure_channel_first=True)
    unseen = [item for items in datalist.values() for item in items if item["subject"] not in known][:6]
    scores = []
    for item in unseen:
        volume = load(item["image"])
        label = read_label(item["image"].replace("/images/", "/labels/"), volume)
        scores.append(dice_per_structure(judge.segment(volume), label, len(judge.structures)))
        again = dice_per_structure(judge.segment(volume * 37 + 100), label, len(judge.structures))
        assert again.tolist() == pytest.approx(scores[-1].tolist(), abs=5e-3)  # any scale of intensities
    assert len(unseen) == 6 and torch.stack(scores).mean() > 0.8


@pytest.mark.slow
def test_the_shipped_classifier_on_official_test_images(shared_data: Path) -> None:
    judge = Classifier(bundle("classify"))
    files = [path for path in sorted((shared_data / "kermany_chest_xray_224" / "test").rglob("*.jpeg"))[::8]]
    kinds = ["bacterial" if "bacteria" in f.name else "viral" if "virus" in f.name else "normal" for f in files]
    taken = [judge.classes[int(judge.predict(file).argmax())] for file in files]
    assert len(files) == 78 and np.mean(np.array(kinds) == np.array(taken)) > 0.65
