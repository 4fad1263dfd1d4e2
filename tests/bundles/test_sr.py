"""The super-resolution bundle: its commands, from end to end, on small patients."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, create_workflow

from contracts.bundle_commands import AFFINE, BUNDLE, ROOT, SMALL, read_metrics, write_patients
from monai_cdiff.cli import main
from monai_cdiff.handlers import checkpoint_sha256, read_checkpoint
from monai_cdiff.inferers import ConformalIntervals
from monai_cdiff.operators import downsample

CONFIGS = BUNDLE / "configs"


def config(name: str) -> dict[str, Any]:
    return json.loads((CONFIGS / f"{name}.json").read_text())


def test_training_leaves_what_it_promises(trained: Path) -> None:
    assert (trained / "checkpoints" / "checkpoint.pt").is_file() and (trained / "comparison.png").is_file()
    assert list((trained / "previews").glob("*.png")) and list((trained / "tensorboard").iterdir())
    metrics = read_metrics(trained)
    model = trained / "checkpoints" / "model.pt"
    assert metrics["task"] == "sr" and metrics["factor"] == 2.0 and metrics["n_images"] == 4
    assert metrics["sampler"] == "DDIMScheduler" and metrics["iterations"] == 2
    assert metrics["checkpoint_sha256"] == checkpoint_sha256(model)
    assert {"psnr", "ssim", "name"} <= set(metrics["baseline"]) and np.isfinite(metrics["psnr"])
    assert read_checkpoint(model)["settings"]["spacing_range"] == [[0.5, 0.5], [0.5, 0.5], [3.0, 3.0]]


def test_training_says_where_things_lie_and_logs_no_error(trained: Path) -> None:
    log = (trained / "log.txt").read_text()
    assert "ERROR" not in log and "Traceback" not in log
    for text in ("weights:", "numbers:", "picture:", "to restore:", "--network_size tiny", "psnr restored"):
        assert text in log


def test_evaluation_repeats_the_numbers_of_the_training(
    trained: Path, patients: Path, tmp_path: Path, run: Any
) -> None:
    checkpoint = trained / "checkpoints" / "model.pt"
    run("run", "evaluate", checkpoint=str(checkpoint), dataset_dir=str(patients), output_dir=str(tmp_path))
    again, first = read_metrics(tmp_path), read_metrics(trained)
    for name in ("psnr", "ssim", "brightness_shift", "n_images", "checkpoint_sha256"):
        assert again[name] == pytest.approx(first[name], abs=2e-5) if name != "checkpoint_sha256" else True
    assert again["checkpoint_sha256"] == first["checkpoint_sha256"] and len(again["patients"]) == 1


def test_inference_writes_a_finer_grid_over_the_same_field(trained: Path, tmp_path: Path, run: Any) -> None:
    folder = write_patients(tmp_path / "in", count=2, shape=(13, 11, 3))
    run(
        "run",
        "inference",
        checkpoint=str(trained / "checkpoints" / "model.pt"),
        input_dir=str(folder),
        output_dir=str(tmp_path / "out"),
    )
    for n in range(2):
        low = nibabel.load(folder / f"patient{n}" / "t2.nii.gz")
        restored = nibabel.load(tmp_path / "out" / f"patient{n}" / "t2_sr.nii.gz")
        assert restored.shape == (26, 22, 3)
        np.testing.assert_allclose(restored.affine[:3, :3], AFFINE[:3, :3] * [0.5, 0.5, 1.0])
        for corner in ([-0.5, -0.5, -0.5], [12.5, 10.5, 2.5]):
            fine = (np.array(corner) + 0.5) * [2, 2, 1] - 0.5
            np.testing.assert_allclose(restored.affine @ [*fine, 1], low.affine @ [*corner, 1], atol=1e-5)
        # two iterations of training change little: stored units and brightness are those of the input
        assert restored.get_fdata().mean() == pytest.approx(low.get_fdata().mean(), rel=0.05)


@pytest.mark.parametrize("place", [ROOT, BUNDLE])
@pytest.mark.parametrize(("name", "kind"), [("train", "train"), ("inference", "infer"), ("evaluate", "infer")])
def test_workflow_has_every_property(
    name: str, kind: str, place: Path, trained: Path, patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    overrides: dict[str, Any] = {"dataset_dir": str(patients), "output_dir": str(tmp_path)}
    if name == "train":
        overrides |= SMALL
    else:
        overrides["checkpoint"] = str(trained / "checkpoints" / "model.pt")
    if name == "inference":
        overrides["input_dir"] = str(patients)
    file = CONFIGS.relative_to(place) / f"{name}.json"
    workflow = create_workflow(config_file=str(file), workflow_type=kind, **overrides)
    assert workflow.check_properties() == []
    assert workflow.bundle_root == str(BUNDLE) and workflow.version == "0.1.0"


def test_the_paper_to_the_letter(patients: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    short = {"sampler__num_train_timesteps": 8, "scheduler__num_train_timesteps": 8, "num_inference_steps": 8}
    overrides = {**SMALL, **short, "image_size": 16, "dataset_dir": str(patients), "output_dir": str(tmp_path)}
    run("training", "train", "paper", **overrides)
    settings = read_checkpoint(tmp_path / "checkpoints" / "model.pt")
    assert (
        settings["parameterization"]["prediction_type"] == "epsilon"
        and settings["parameterization"]["target"] == "image"
    )
    assert settings["settings"]["normalisation"] == {"lower": 0, "upper": 100, "ref_key": "image"}
    assert read_metrics(tmp_path)["sampler"] == "DDPMScheduler"


@pytest.mark.slow
def test_a_bridge_by_one_override(patients: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    overrides = {"dataset_dir": str(patients), "output_dir": str(tmp_path / "bridge")}
    run("training", "train", "bridge", **overrides, **SMALL)
    model = tmp_path / "bridge" / "checkpoints" / "model.pt"
    saved = read_checkpoint(model)
    assert saved["scheduler"]["kappa"] == 1 and saved["settings"]["sampler"] == "BridgeScheduler"
    assert read_metrics(tmp_path / "bridge")["sampler"] == "BridgeScheduler"
    # the checkpoint says how it samples; nothing more to override
    run("run", "evaluate", checkpoint=str(model), **{**overrides, "output_dir": str(tmp_path / "scored")})
    first, again = read_metrics(tmp_path / "bridge"), read_metrics(tmp_path / "scored")
    assert again["sampler"] == "BridgeScheduler" and again["psnr"] == pytest.approx(first["psnr"], abs=2e-5)
    overrides = {"checkpoint": str(model), "input_dir": str(patients / "patient0"), "output_dir": str(tmp_path / "out")}
    run("run", "inference", **overrides)
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 1
    with pytest.raises(RuntimeError) as caught:  # nothing is overwritten
        run("run", "inference", **overrides)
    assert "t2_sr.nii.gz exists" in str(caught.value.__cause__)
    overrides["overwrite"] = True
    with pytest.raises(RuntimeError) as caught:
        run("run", "inference", **{**overrides, "sampler___target_": "monai_cdiff.networks.schedulers.DDIMScheduler"})
    assert "kappa" in str(caught.value.__cause__)


def test_what_inference_can_do_is_scored(trained: Path, patients: Path, tmp_path: Path, run: Any) -> None:
    overrides = {"checkpoint": str(trained / "checkpoints" / "model.pt"), "dataset_dir": str(patients)}
    choices = {"output": "antithetic", "consistent": True}
    run("run", "evaluate", output_dir=str(tmp_path), **overrides, **choices)
    metrics = read_metrics(tmp_path)
    assert metrics["psnr"] != read_metrics(trained)["psnr"]
    assert metrics["output"] == "antithetic" and metrics["num_samples"] == 2 and metrics["consistent"] is True
    run("run", "evaluate", output_dir=str(tmp_path), **overrides, consistent="false")  # as a command line gives it
    metrics = read_metrics(tmp_path)
    assert metrics["consistent"] is False and metrics["psnr"] == pytest.approx(read_metrics(trained)["psnr"], abs=2e-5)


def test_intervals_are_fitted_saved_and_checked(
    trained: Path, patients: Path, tmp_path: Path, run: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = str(trained / "checkpoints" / "model.pt")
    overrides = {"checkpoint": checkpoint, "dataset_dir": str(patients), "output_dir": str(tmp_path)}
    run("calibrate", "evaluate", "calibrate", posterior_samples=3, coverage=0.8, **overrides)
    found = re.search(r"asked 80.0%, held ([0-9.]+)% of the test set", capsys.readouterr().out)
    assert found is not None and 10 < float(found[1]) <= 100
    intervals = ConformalIntervals.load(tmp_path / "intervals.json")
    assert intervals.coverage == 0.8 and intervals.n_calibration["voxels"] == 24 * 20 * 4


@pytest.mark.slow
def test_neighbour_slices_from_training_to_inference(patients: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    overrides = {"neighbours": 1, "condition_dropout": 0.5, **SMALL}
    run("training", "train", dataset_dir=str(patients), output_dir=str(tmp_path / "trained"), **overrides)
    model = tmp_path / "trained" / "checkpoints" / "model.pt"
    run("run", "evaluate", checkpoint=str(model), dataset_dir=str(patients), output_dir=str(tmp_path / "scored"))
    first, again = read_metrics(tmp_path / "trained"), read_metrics(tmp_path / "scored")
    for name in ("psnr", "n_images"):
        assert again[name] == pytest.approx(first[name], abs=2e-5)
    assert again["baseline"] == pytest.approx(first["baseline"], abs=2e-5)
    choices = {"output": "antithetic", "noise_correlation": 0.5, "guidance_scale": 2.0, "consistent": True}
    overrides = {"checkpoint": str(model), "input_dir": str(patients / "patient0"), "output_dir": str(tmp_path / "out")}
    run("run", "inference", **overrides, **choices, roi_size=32)
    (written,) = (tmp_path / "out").glob("*.nii.gz")
    restored = torch.from_numpy(nibabel.load(written).get_fdata()).float()[None, None]
    original = torch.from_numpy(nibabel.load(patients / "patient0" / "t2.nii.gz").get_fdata()).float()[None, None]
    difference = downsample(restored, size=original.shape[2:4]) - original
    assert difference.norm() < 1e-4 * original.norm()


def test_paper_overlay_holds_the_papers_numbers() -> None:
    paper, train = config("paper"), config("train")
    assert paper["learning_rate"] == 1e-4 and paper["max_iterations"] == 200_000 and paper["image_size"] == 128
    assert paper["num_inference_steps"] == paper["sampler"]["num_train_timesteps"] == 2000
    assert train["scheduler"]["num_train_timesteps"] == 2000 and paper["sampler"]["variance_type"] == "fixed_large"


def test_three_dimensions_by_one_override(patients: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    run("training", "train", dataset_dir=str(patients), output_dir=str(tmp_path), spatial_dims=3, **SMALL)
    assert read_metrics(tmp_path)["n_images"] == 1
    weights = read_checkpoint(tmp_path / "checkpoints" / "model.pt")["network"]
    assert any(tensor.ndim == 5 for tensor in weights.values())


def test_a_second_training_into_the_same_folder_moves_the_first_aside(
    patients: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    for _ in range(2):
        run("training", "train", dataset_dir=str(patients), output_dir=str(tmp_path), **SMALL)
    for name in ("checkpoints/model.pt", "metrics.json", "comparison.png", "previews"):
        assert (tmp_path / name).exists() and (tmp_path / "earlier-1" / name).exists()


def test_one_network_for_many_factors(patients: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    overrides = {**SMALL, "dataset_dir": str(patients), "output_dir": str(tmp_path), "factors": [2.0, 3.0]}
    run("training", "train", **overrides)
    checkpoint = str(tmp_path / "checkpoints" / "model.pt")
    assert read_checkpoint(checkpoint)["settings"]["factors"] == [2.0, 3.0]
    scores = []
    for factor in (2.0, 3.0):
        out = tmp_path / f"scores{factor}"
        run("run", "evaluate", checkpoint=checkpoint, dataset_dir=str(patients), output_dir=str(out), factor=factor)
        scores.append(read_metrics(out))
    assert scores[0]["psnr"] == pytest.approx(read_metrics(tmp_path)["psnr"], abs=2e-5)
    assert scores[1]["factor"] == 3.0 and scores[1]["baseline"]["psnr"] < scores[0]["baseline"]["psnr"]
    restore = {"checkpoint": checkpoint, "dataset_dir": str(patients / "patient0"), "output_dir": str(tmp_path / "out")}
    run("run", "inference", factor=3.0, **restore)
    assert nibabel.load(tmp_path / "out" / "t2_sr.nii.gz").shape == (72, 60, 4)


def test_original_and_condition_are_cropped_and_turned_alike() -> None:
    parser = ConfigParser({**config("train"), "patch_size": 16})
    chain = parser.get_parsed_content("train#preprocessing")
    image = torch.rand(1, 24, 20, generator=torch.Generator().manual_seed(0))
    found = []
    for seed in range(8):
        item = chain.set_random_state(seed)({"image": image, "condition": image + 1})
        torch.testing.assert_close(item["condition"], item["image"] + 1, rtol=0, atol=0)
        found.append(item["image"])
    assert len({float(one[0, 0, 0]) for one in found}) > 4


def test_subjects_of_the_training_are_not_scored(
    trained: Path, patients: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    overrides = {"checkpoint": str(trained / "checkpoints" / "model.pt"), "dataset_dir": str(patients)}
    with pytest.raises(RuntimeError) as caught:
        run("run", "evaluate", output_dir=str(tmp_path), split_seed=1, **overrides)
    assert "1 subjects to score were in the training" in str(caught.value.__cause__)
    run("run", "evaluate", output_dir=str(tmp_path), split="training", **overrides)
    assert len(read_metrics(tmp_path)["patients"]) == 1


def test_the_overlay_of_uncertainty_writes_two_images(
    trained: Path, patients: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    checkpoint = str(trained / "checkpoints" / "model.pt")
    overrides = {"checkpoint": checkpoint, "input_dir": str(patients / "patient0"), "output_dir": str(tmp_path)}
    run("run", "inference", "uncertainty", num_samples=2, device="cpu", **overrides)
    mean, std = (nibabel.load(tmp_path / f"t2_{label}.nii.gz").get_fdata() for label in ("sr", "sr-std"))
    original = nibabel.load(patients / "patient0" / "t2.nii.gz").get_fdata()
    assert mean.mean() == pytest.approx(original.mean(), rel=0.05)
    assert mean.shape == std.shape and std.min() >= 0 and 0 < std.mean() < original.std()


def test_a_volume_with_nan_is_named_before_any_is_restored(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_patients(tmp_path / "in", count=2)
    bad = folder / "patient1" / "t2.nii.gz"
    values = nibabel.load(bad).get_fdata(dtype=np.float32)
    values[0, 0, 0] = np.nan
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), bad)
    words = ["--bundle", str(BUNDLE), "--checkpoint", str(trained / "checkpoints" / "model.pt")]
    assert main(["restore", str(folder), str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert str(bad) in error and "NaN or infinite values" in error and not list(tmp_path.rglob("*_sr.nii.gz"))


def test_a_single_file_is_restored_into_the_output_folder(
    trained: Path, patients: Path, tmp_path: Path, run: Any
) -> None:
    checkpoint, file = str(trained / "checkpoints" / "model.pt"), str(patients / "patient0" / "t2.nii.gz")
    run("run", "inference", checkpoint=checkpoint, input_dir=file, output_dir=str(tmp_path / "out"))
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.nii.gz")] == ["out/t2_sr.nii.gz"]


BAD = [
    ({"dataset_dir": "{tiny}"}, "the image of 'patient.' has 9 x 7 pixels; at least 11 x 11 are needed"),
    ({"dataset_dir": "/nowhere"}, "dataset_dir='/nowhere' does not exist"),
    ({"dataset_dir": "{empty}"}, "holds no images"),
    ({"dataset_dir": "{gone}"}, "names 3 files, of which 1 do not exist: .*gone.nii.gz"),
    ({"dataset_dir": "{mixed}"}, "images of two and of three dimensions are mixed"),
    ({"dataset_dir": "{nan}"}, "holds 7 NaN or infinite values"),
    ({"factor": 1.0}, "factor=1.0 must be a finite number, more than 1"),
    ({"factor": 0.5}, "factor=0.5 must be"),
    ({"network_size": "huge"}, "size='huge' is not supported; allowed: 'paper', 'base', 'small', 'tiny'"),
    ({"resume": True}, "resume=True: there is no checkpoint"),
    ({"resume": "{nowhere}"}, "there is no checkpoint .* to resume from"),
    ({"num_inference_steps": 5000}, "num_inference_steps=5000 must be a whole number, from 1 to 2000"),
    ({"batch_size": 0}, "batch_size=0 must be a whole number, at least 1"),
    ({"amp": "maybe"}, "amp='maybe' is not supported; allowed: true, false"),
]


@pytest.fixture(scope="module")
def bad_data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Data sets with one thing wrong each, by name."""
    root = tmp_path_factory.mktemp("bad")
    (root / "empty").mkdir()
    files = [str(p) for p in sorted(write_patients(root / "whole").rglob("*.nii.gz"))]
    lists = {"training": files[:1], "validation": files[1:2], "test": [str(root / "gone.nii.gz")]}
    (root / "gone.json").write_text(json.dumps({k: [{"image": f, "subject": f} for f in v] for k, v in lists.items()}))
    write_patients(root / "mixed", count=2)
    write_patients(root / "tiny", shape=(9, 7, 3))
    write_patients(root / "mixed" / "flat", count=1, shape=(24, 20))
    (root / "mixed" / "flat" / "patient0").rename(root / "mixed" / "patient9")
    (root / "mixed" / "flat").rmdir()
    volume = np.ones((24, 20, 4), np.float32).cumsum(axis=0)
    volume[0, :7, 0] = np.nan
    for path in write_patients(root / "nan").rglob("*.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(volume, AFFINE), path)
    return {
        "tiny": str(root / "tiny"),
        "empty": str(root / "empty"),
        "gone": str(root / "gone.json"),
        "mixed": str(root / "mixed"),
        "nan": str(root / "nan"),
        "nowhere": str(root / "nowhere.pt"),
    }


@pytest.mark.parametrize(("wrong", "message"), BAD)
def test_bad_input_ends_before_training(
    wrong: dict[str, Any], message: str, bad_data: dict[str, str], patients: Path, tmp_path: Path, run: Any
) -> None:
    values = {k: v.format(**bad_data) if isinstance(v, str) else v for k, v in wrong.items()}
    overrides = {**SMALL, "dataset_dir": str(patients), "output_dir": str(tmp_path / "out"), **values}
    with pytest.raises(Exception) as caught:  # noqa: B017
        run("training", "train", **overrides)
    causes = []
    error: BaseException | None = caught.value
    while error is not None:
        causes.append(str(error))
        error = error.__cause__
    assert re.search(message, causes[-1]), causes[-1]
    assert not (tmp_path / "out" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"network_size": "small"}, "is of another architecture"),
        ({"scheduler__beta_end": 0.03}, "noise schedule differs"),
        ({"parameterization__residual_scale": 2.0}, "parameterization differs"),
    ],
)
def test_a_checkpoint_that_does_not_fit_leaves_everything_as_it_was(
    changed: dict[str, Any], message: str, trained: Path, patients: Path, run: Any
) -> None:
    before = {p: p.read_bytes() for p in trained.rglob("*.pt")}
    overrides = {**SMALL, "max_iterations": 3, "resume": True, "dataset_dir": str(patients), **changed}
    with pytest.raises(RuntimeError) as caught:
        run("training", "train", output_dir=str(trained), **overrides)
    assert message in str(caught.value.__cause__)
    assert {p: p.read_bytes() for p in trained.rglob("*.pt")} == before


def test_shipped_intervals_belong_to_the_shipped_weights() -> None:
    file = BUNDLE / "models" / "intervals.json"
    assert json.loads(file.read_text())["about"] == {"model_sha256": checkpoint_sha256(BUNDLE / "models" / "model.pt")}
    intervals = ConformalIntervals.load(file)
    assert intervals.coverage == 0.9 and intervals.n_calibration["voxels"] == 384 * 384 * 19
    low, high = intervals.interval(torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 0.1))
    torch.testing.assert_close(high, torch.full_like(high, intervals.scale * (0.1 + intervals.floor)))
    assert torch.equal(low, -high)
