"""What holds for the bundle of every task: the commands from end to end, on images small enough for a test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, create_workflow, verify_net_in_out
from monai.transforms import Randomizable
from PIL import Image

from contracts.bundle_commands import ROOT, TASKS, bundle, config, read_metrics, small
from monai_cdiff.cli import main
from monai_cdiff.handlers import checkpoint_sha256, read_checkpoint
from monai_cdiff.utils import root_cause

BASELINES = {"sr": "bilinear", "denoise": "noisy image", "inpaint": "mean fill"}
# The ids of the configurations in which a bundle may differ from another; all else is one frame.
OWN = {
    "train": {
        "baseline", "checked", "choices", "datalist#dimensions", "domain", "factor", "factor_input", "factors",
        "facts", "fill", "loading", "mask", "mask_seed", "max_iterations", "neighbours", "network_def#in_channels",
        "noise", "noise_seed", "parameterization", "patch_size", "preprocessing", "settings", "source", "task",
        "test#dataset", "test#volumes", "titles", "train#items", "train#preprocessing", "train#volume_preprocessing",
        "train#volumes", "training_mask", "training_noise", "val_images", "val_interval", "val_slices_per_volume",
        "validate#dataset", "validate#inferer", "validate#volumes",
    },
    "evaluate": {
        "baseline", "checked", "consistent", "datalist#dimensions", "dataset#neighbours", "domain", "factor",
        "factor_input", "facts", "fill", "handlers", "inferer", "is_consistent", "loading", "mask", "mask_seed",
        "neighbours", "network_def#in_channels", "noise", "noise_seed", "preprocessing", "source", "task", "titles",
        "volumes#data",
    },
    "inference": {
        "checked", "consistent", "derivation", "factor", "factor_input", "handlers", "images", "initialize", "inputs",
        "is_consistent", "mask", "neighbours", "network_def#in_channels", "noise_correlation", "postprocessing",
        "preprocessing", "restorer", "task",
    },
}  # fmt: skip


@pytest.fixture(scope="module", params=TASKS)
def task(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def data(task: str, small_bundle: Callable[[str], tuple[Path, Path]]) -> Path:
    return small_bundle(task)[0]


@pytest.fixture(scope="module")
def output(task: str, small_bundle: Callable[[str], tuple[Path, Path]]) -> Path:
    return small_bundle(task)[1]


def model(output: Path) -> str:
    return str(output / "checkpoints" / "model.pt")


def test_training_leaves_what_it_promises(task: str, output: Path) -> None:
    metrics = read_metrics(output)
    assert metrics["task"] == task and metrics["iterations"] == 2 and metrics["n_images"] > 0
    assert metrics["baseline"]["name"] == BASELINES[task] and np.isfinite(metrics["psnr"])
    assert metrics["checkpoint_sha256"] == checkpoint_sha256(model(output))
    assert (output / "comparison.png").is_file() and list((output / "previews").glob("*.png"))


def test_training_goes_on_where_it_stood(
    task: str, data: Path, output: Path, tmp_path: Path, run: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(output / "checkpoints", tmp_path / "checkpoints")
    overrides = {**small(task), "dataset_dir": str(data), "output_dir": str(tmp_path), "max_iterations": 3}
    run("training", f"{task}/train", resume=True, **overrides)
    before, after = read_checkpoint(model(output)), read_checkpoint(model(tmp_path))
    assert (before["iteration"], after["iteration"]) == (2, 3)
    assert after["settings"] == before["settings"]
    other = {"learning_rate": 3e-5, "batch_size": 1, "patch_size": 24}
    capfd.readouterr()
    run("training", f"{task}/train", resume=True, **{**overrides, "max_iterations": 4, **other})
    logged = capfd.readouterr()
    after = read_checkpoint(tmp_path / "checkpoints" / "checkpoint.pt")
    assert after["lr_scheduler"]["base_lrs"] == [3e-5] and after["settings"].items() >= other.items()
    for name, value in other.items():
        found = logged.out + logged.err
        assert f"resuming with another {name}: saved" in found and f"configured {value}." in found


def test_evaluation_repeats_the_numbers_of_the_training(
    task: str, data: Path, output: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    prepared = {path: path.stat().st_mtime_ns for path in (output / "cache").iterdir()}
    run("run", f"{task}/evaluate", checkpoint=model(output), dataset_dir=str(data), output_dir=str(tmp_path))
    assert {path: path.stat().st_mtime_ns for path in (output / "cache").iterdir()} == prepared and prepared
    assert not (tmp_path / "cache").exists()  # what the training had prepared is found
    first, again = read_metrics(output), read_metrics(tmp_path)
    for name in ("psnr", "ssim", "n_images"):
        assert again[name] == pytest.approx(first[name], abs=2e-5)
    assert again["baseline"] == pytest.approx(first["baseline"], abs=2e-5)


def test_restoring_by_the_command(task: str, data: Path, output: Path, tmp_path: Path) -> None:
    mask = ["--mask", str(data.parent / f"{data.name}-masks")] if task == "inpaint" else []
    words = ["--bundle", str(bundle(task)), "--checkpoint", model(output), "--device", "cpu", *mask]
    assert main(["restore", str(data), str(tmp_path / "out"), *words]) == 0
    ending = ".png" if task == "denoise" else ".nii.gz"
    written = sorted((tmp_path / "out").rglob(f"*_{task}{ending}"))
    assert len(written) == len([path for path in data.rglob("*") if path.is_file()])
    assert main(["restore", str(data), str(tmp_path / "out"), *words]) == 2  # nothing is overwritten


@pytest.mark.parametrize(("name", "kind"), [("train", "train"), ("inference", "infer"), ("evaluate", "infer")])
def test_workflow_has_every_property(
    name: str, kind: str, task: str, data: Path, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    overrides: dict[str, Any] = {"dataset_dir": str(data), "output_dir": str(tmp_path)}
    overrides |= small(task) if name == "train" else {"checkpoint": model(output)}
    if name == "inference":
        overrides["input_dir"] = str(data)
        overrides |= {"mask": str(data.parent / f"{data.name}-masks")} if task == "inpaint" else {}
    workflow = create_workflow(config_file=f"bundles/{task}/configs/{name}.json", workflow_type=kind, **overrides)
    assert workflow.check_properties() == []


def test_the_regression_of_the_same_backbone(
    task: str, data: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    overrides = {"dataset_dir": str(data), "output_dir": str(tmp_path)}
    run("training", f"{task}/train", f"{task}/regression", **overrides, **small(task))
    first = read_metrics(tmp_path)
    assert first["sampler"] == "regression" and np.isfinite(first["psnr"])
    overrides = {"dataset_dir": str(data), "output_dir": str(tmp_path / "again"), "checkpoint": model(tmp_path)}
    run("run", f"{task}/evaluate", f"{task}/evaluate_regression", **overrides)
    assert read_metrics(tmp_path / "again")["psnr"] == pytest.approx(first["psnr"], abs=2e-5)


def test_weights_of_a_regression_are_told_from_those_of_a_diffusion(
    task: str, data: Path, output: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    overrides = {"dataset_dir": str(data), "output_dir": str(tmp_path), "checkpoint": model(output)}
    with pytest.raises(RuntimeError) as caught:
        run("run", f"{task}/evaluate", f"{task}/evaluate_regression", **overrides)
    assert "the weights of a regression are scored by evaluate.json together" in str(caught.value.__cause__)


def test_weights_of_another_task_are_refused(
    task: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], run: Callable[..., Any]
) -> None:
    other = {"sr": "denoise", "denoise": "sr", "inpaint": "sr"}[task]
    checkpoint, said = str(bundle(other) / "models" / "model.pt"), f"was trained for '{other}'; this bundle takes"
    mask = ["--mask", str(data.parent / f"{data.name}-masks")] if task == "inpaint" else []
    words = ["--bundle", str(bundle(task)), "--checkpoint", checkpoint, *mask]
    assert main(["restore", str(data), str(tmp_path / "out"), *words]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()
    with pytest.raises(RuntimeError) as caught:
        run("run", f"{task}/evaluate", checkpoint=checkpoint, dataset_dir=str(data), output_dir=str(tmp_path / "out"))
    assert said in str(caught.value.__cause__)


WRONG = [
    ("sr/train", {"patch_size": "abc"}, "patch_size='abc' must be a whole number, at least 1"),
    ("sr/train", {"patch_size": 0}, "patch_size=0 must be a whole number, at least 1"),
    ("sr/train", {"factors": 2.0}, "factors=2.0 must be a list"),
    ("sr/train", {"max_iterations": 0}, "max_iterations=0 must be"),
    ("sr/train", {"max_iterations": "many"}, "max_iterations='many' must be"),
    ("sr/train", {"batch_size": 0}, "batch_size=0 must be"),
    ("sr/train", {"learning_rate": 0}, "learning_rate=0 must be a finite number, more than 0"),
    ("sr/train", {"val_interval": 0}, "val_interval=0 must be"),
    ("sr/train", {"num_inference_steps": 0}, "num_inference_steps=0 must be"),
    ("sr/train", {"normalisation": {"lower": 1, "uper": 99, "ref_key": "image"}}, "Did you mean 'upper'?"),
    ("sr/evaluate", {"num_inference_steps": 0}, "num_inference_steps=0 must be"),
    ("sr/evaluate", {"factor": "four"}, "factor='four' must be a finite number, more than 1"),
    ("sr/inference", {"num_inference_steps": 0}, "num_inference_steps=0 must be"),
    ("sr/inference", {"roi_size": 0}, "roi_size=0 must be a whole number, at least 1"),
    ("denoise/train", {"noise": {"std": 0.1}}, "noise={'std': 0.1} lacks 'amount'"),
    ("denoise/train", {"noise": 0.1}, "noise=0.1 must be a dictionary with the keys 'std', 'amount'"),
    ("denoise/train", {"noise": {"std": 0.1, "amout": 0.05}}, "Did you mean 'amount'?"),
    ("denoise/train", {"noise__amout": 0.05}, "key of noise='amout' is not supported"),
    ("denoise/train", {"training_noise__std_range": 0.2}, "training_noise['std_range']=0.2 must be a list"),
    ("denoise/train", {"val_images": 0}, "val_images=0 must be"),
    ("denoise/evaluate", {"noise": {"std": "much", "amount": 0}}, "noise['std']='much' must be a finite number"),
    ("denoise/inference", {"output": "best"}, "output='best' is not supported; allowed: 'sample'"),
    ("inpaint/train", {"training_mask__area": [0.2, 0.1]}, "training_mask['area'][1]=0.1 must be"),
    ("inpaint/evaluate", {"mask": {"area": [0.1, 0.2]}}, "lacks 'max_pieces'"),
    ("inpaint/inference", {"noise_correlation": 2}, "noise_correlation=2 must be a finite number"),
]


@pytest.mark.parametrize(("name", "wrong", "message"), WRONG)
def test_a_wrong_setting_is_named_before_data_are_read(
    name: str, wrong: dict[str, Any], message: str, tmp_path: Path, run: Callable[..., Any]
) -> None:
    kind = name.partition("/")[2]
    overrides = {"dataset_dir": "/nowhere", "output_dir": str(tmp_path / "out"), "device": "cpu"}
    with pytest.raises(Exception) as caught:  # noqa: B017
        run("training" if kind == "train" else "run", name, **overrides, **wrong)
    error = root_cause(caught.value)
    assert isinstance(error, ValueError) and message in str(error)
    assert not (tmp_path / "out").exists()


def test_an_unknown_split_is_refused(
    task: str, data: Path, output: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    overrides = {"dataset_dir": str(data), "output_dir": str(tmp_path / "out"), "checkpoint": model(output)}
    with pytest.raises(RuntimeError) as caught:
        run("run", f"{task}/evaluate", split="tset", **overrides)
    assert "split='tset' is not supported; allowed: 'training', 'validation', 'test'" in str(caught.value.__cause__)


def test_nothing_to_restore_is_said_in_so_many_words(task: str, run: Callable[..., Any]) -> None:
    with pytest.raises(RuntimeError) as caught:
        run("run", f"{task}/inference")
    assert "input_dir=None: give the folder or file to restore" in str(caught.value.__cause__)


def test_the_paper_to_the_letter(task: str, data: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    short = {"sampler__num_train_timesteps": 8, "scheduler__num_train_timesteps": 8, "num_inference_steps": 8}
    overrides = {**small(task), **short, "image_size": 16, "dataset_dir": str(data), "output_dir": str(tmp_path)}
    run("training", f"{task}/train", f"{task}/paper", **overrides)
    saved = read_checkpoint(model(tmp_path))
    assert saved["parameterization"]["prediction_type"] == "epsilon" and saved["settings"]["image_size"] == 16
    assert saved["settings"]["normalisation"] == {"lower": 0, "upper": 100, "ref_key": "image"}
    flips = config(task, "train")["train"]["preprocessing"]["transforms"]
    (disabled,) = [name for name in config(task, "paper") if name.endswith("#_disabled_")]
    assert flips[int(disabled.split("#")[-2])]["_target_"] == "RandFlipd"


def test_metadata_keeps_monais_specification(task: str) -> None:
    metadata = config(task, "metadata")
    needed = {
        "schema", "version", "changelog", "monai_version", "pytorch_version", "numpy_version", "task",
        "required_packages_version", "description", "authors", "copyright", "network_data_format", "intended_use",
        "data_source", "data_type", "image_classes", "label_classes", "pred_classes", "eval_metrics", "references",
    }  # fmt: skip
    assert needed <= set(metadata) and metadata["version"] in metadata["changelog"]
    tensor = {"type", "format", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data", "channel_def"}
    for tensors in metadata["network_data_format"].values():
        for entry in tensors.values():
            assert tensor <= set(entry) and len(entry["channel_def"]) == entry["num_channels"]
    trained = {k: v for k, v in config(task, "train")["parameterization"].items() if k != "_target_"}
    assert metadata["parameterization"] == trained
    folder = bundle(task) / "configs"
    verify_net_in_out("network_def", meta_file=str(folder / "metadata.json"), config_file=str(folder / "train.json"))


def test_weights_are_those_of_the_metadata(task: str) -> None:
    weights, metadata = bundle(task) / "models" / "model.pt", config(task, "metadata")
    assert checkpoint_sha256(weights) == metadata["model_sha256"] and weights.stat().st_size < 20 * 2**20
    saved = read_checkpoint(weights)
    assert saved["settings"]["task"] == task and saved["parameterization"] == metadata["parameterization"]
    baseline = BASELINES[task].replace(" ", "_")
    assert metadata["eval_metrics"]["psnr"] > metadata["eval_metrics"][f"psnr_{baseline}"] + 2


def test_configurations_agree_where_they_say_the_same(task: str) -> None:
    train, evaluate, inference = (config(task, name) for name in ("train", "evaluate", "inference"))
    for name in ("task", "network_def"):
        assert train[name] == evaluate[name] == inference[name], name
    own = str(train["sampler"].pop("_target_"))
    rooms, _, kind = own.rpartition(".")
    named = f"$'{rooms}.' + @trained.get('sampler', '{kind}')"
    for other in (evaluate, inference):
        assert other["sampler"] == {"_target_": named, **train["sampler"]}
    assert evaluate["datalist"].pop("needed") == ["@split"]  # it scores one split, and may lack the others
    assert train["facts"].items() <= evaluate["facts"].items()  # which says what else a restoration can be asked for
    for name in ("loading", "preprocessing", "postprocessing", "datalist", "source", "titles", "baseline"):
        own = train["validate"][name] if name == "postprocessing" else train[name]
        assert own == evaluate[name], name


@pytest.mark.parametrize("name", OWN)
def test_bundles_differ_only_in_what_their_task_needs(name: str) -> None:
    plain = [dict(_flat(config(task, name))) for task in TASKS]
    for key in set().union(*plain):
        if len({repr(one.get(key, "absent")) for one in plain}) > 1:
            parts = key.split("#")
            assert any("#".join(parts[:n]) in OWN[name] for n in range(1, len(parts) + 1)), key


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _flat(inner, f"{path}#{key}" if path else str(key))
    else:
        yield path, value


@pytest.mark.parametrize("name", ["train", "inference", "evaluate", "metadata"])
def test_links_beside_the_folder_of_configurations(name: str, task: str) -> None:
    link = bundle(task) / f"{name}.json"
    assert link.is_symlink() and str(link.readlink()) == f"configs/{name}.json"


def test_degradations_of_a_test_set_hang_on_the_image_alone(
    task: str, data: Path, output: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    """Another number of workers, another order: the same noisy, masked, coarse images."""
    overrides = {"checkpoint": model(output), "dataset_dir": str(data), "split": "training"}
    run("run", f"{task}/evaluate", output_dir=str(tmp_path / "one"), **overrides)
    run("run", f"{task}/evaluate", output_dir=str(tmp_path / "two"), dataloader__num_workers=2, **overrides)
    one, two = read_metrics(tmp_path / "one"), read_metrics(tmp_path / "two")
    assert one == two
    other = {"sr": {"domain": "kspace"}, "denoise": {"noise_seed": 1}, "inpaint": {"mask_seed": 1}}[task]
    run("run", f"{task}/evaluate", output_dir=str(tmp_path / "three"), **other, **overrides)
    assert read_metrics(tmp_path / "three")["baseline"] != one["baseline"]


def test_volumes_are_prepared_once(task: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``CacheDataset`` keeps what comes before the first random transform, and takes a nested Compose for one."""
    monkeypatch.chdir(ROOT)
    parser = ConfigParser()
    parser.read_config(str(bundle(task) / "configs" / "train.json"))
    parser.update({"dataset_dir": str(data), "output_dir": str(tmp_path), **small(task)})
    for part in ("train", "validate", "test"):
        transforms = parser.get_parsed_content(f"{part}#volumes").transform.transforms
        assert transforms and not any(isinstance(transform, Randomizable) for transform in transforms), part


def test_a_picture_of_the_comparison_is_one(task: str, output: Path) -> None:
    picture = np.asarray(Image.open(output / "comparison.png"))
    assert picture.ndim == 2 and picture.std() > 1
    assert torch.load(model(output), weights_only=True)["iteration"] == 2
