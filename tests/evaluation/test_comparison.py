"""Methods compared on the test set of a bundle, by networks that were never trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai.bundle
import numpy as np
import pytest
import torch
from PIL import Image

from contracts.bundle_commands import ROOT, TASKS, bundle
from contracts.untrained_bundles import write_untrained
from monai_cdiff.cli import main
from monai_cdiff.data import image_hashes
from monai_cdiff.evaluation import (
    BundleEvaluation,
    Comparison,
    Features,
    Judges,
    RestoredImages,
    VolumeMetric,
    flicker_metric,
    image_metrics,
    known_methods,
    parse_method,
    read_results,
)
from monai_cdiff.evaluation.image_scores import Column

Made = Callable[[str], tuple[Path, Path, Path]]


def judges(evaluation: BundleEvaluation) -> Judges:
    return Judges(image_metrics(2))


def compare(task: str, made: Made, output: Path, words: list[str], **options: Any) -> dict[str, Any]:
    data, weights, _ = made(task)
    overrides = {"dataset_dir": str(data), "checkpoint": str(weights), "device": "cpu", **options.pop("overrides", {})}
    specs = [parse_method(word, task) for word in words]
    return Comparison(bundle(task), output, specs, options.pop("judges", judges), overrides, **options).run()


def row(results: dict[str, Any], method: str) -> dict[str, Any]:
    return next(row for row in results["rows"] if row["method"] == method)


@pytest.mark.parametrize("task", TASKS)
def test_every_method_of_a_task(task: str, untrained: Made, tmp_path: Path) -> None:
    words = [*known_methods(task), f"regression={untrained(task)[2]}", "slow=,num_inference_steps=3"]
    results = compare(task, untrained, tmp_path, words)
    assert [one["name"] for one in results["methods"]] == [word.split("=")[0] for word in words]
    assert all(row(results, one["name"])["psnr"] is not None for one in results["methods"])
    assert row(results, "regression")["psnr"] == pytest.approx(row(results, words[0])["psnr"])  # it predicts nothing
    assert {one["kind"] for one in results["methods"]} == {"trivial", "classical", "diffusion", "regression"}
    assert read_results(tmp_path) == json.loads(json.dumps(results))


def test_the_same_numbers_as_the_bundle_itself(
    untrained: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, weights, _ = untrained("denoise")
    monkeypatch.chdir(ROOT)
    overrides = {"checkpoint": str(weights), "dataset_dir": str(data), "output_dir": str(tmp_path / "own")}
    monai.bundle.run(run_id="run", config_file="bundles/denoise/configs/evaluate.json", device="cpu", **overrides)
    own = json.loads((tmp_path / "own" / "metrics.json").read_text())
    results = compare("denoise", untrained, tmp_path / "compared", ["noisy", "sample"])
    for name in ("psnr", "ssim", "brightness_shift"):
        assert row(results, "sample")[name] == pytest.approx(own[name], abs=2e-5)
        assert row(results, "noisy")[name] == pytest.approx(own["baseline"][name], abs=2e-5)


def test_what_was_restored_is_found_again(
    untrained: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compare("denoise", untrained, tmp_path, ["noisy", "mean"])
    monkeypatch.setattr(BundleEvaluation, "restore", None)  # whoever restores fails
    again = compare("denoise", untrained, tmp_path, ["noisy", "mean"])
    assert {**first, "date": ""} == {**again, "date": ""}


def test_an_interrupted_comparison_goes_on(
    untrained: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = compare("sr", untrained, tmp_path / "whole", ["bilinear", "mean"])
    restore, calls = BundleEvaluation.restore, []

    def interrupted(self: BundleEvaluation, positions: Any) -> Any:
        if calls:
            raise KeyboardInterrupt
        calls.append(positions)
        return restore(self, positions)

    options = {"overrides": {"split": "training"}}
    with monkeypatch.context() as patched:
        patched.setattr(BundleEvaluation, "restore", interrupted)
        compare("sr", untrained, tmp_path / "cut", ["bilinear", "mean"])
        calls.append("the second volume")
        with pytest.raises(KeyboardInterrupt):
            compare("sr", untrained, tmp_path / "cut", ["bilinear", "mean", "sample"], **options)
    resumed = compare("sr", untrained, tmp_path / "cut", ["bilinear", "mean"])
    assert row(resumed, "mean")["psnr"] == row(whole, "mean")["psnr"]


def test_other_weights_are_restored_anew(untrained: Made, tmp_path: Path) -> None:
    other = write_untrained("denoise", tmp_path / "other.pt", method="regression", training_subjects=["others"])
    compare("denoise", untrained, tmp_path / "out", ["noisy", f"mine={untrained('denoise')[2]}"])
    compare("denoise", untrained, tmp_path / "out", ["noisy", f"mine={other}"])
    assert len(list((tmp_path / "out" / "cache" / "restored").glob("mine-*"))) == 2


def test_settings_are_varied(untrained: Made, tmp_path: Path) -> None:
    results = compare("sr", untrained, tmp_path, ["bilinear", "mean"], vary=("factor", [2.0, 4.0]))
    of = {row["setting"]: row["psnr"] for row in results["rows"] if row["method"] == "bilinear"}
    assert list(of) == ["factor 2", "factor 4"] and of["factor 2"] > of["factor 4"]
    assert results["test_set"]["settings"]["factor"] == [2.0, 4.0]


def test_a_setting_of_the_network_is_varied_too(untrained: Made, tmp_path: Path) -> None:
    results = compare("denoise", untrained, tmp_path / "both", ["sample"], vary=("num_inference_steps", [1, 4]))
    for steps, found in zip((1, 4), (row for row in results["rows"] if row["method"] == "sample"), strict=True):
        alone = compare("denoise", untrained, tmp_path / str(steps), [f"sample,num_inference_steps={steps}"])
        assert found["psnr"] == row(alone, "sample")["psnr"]
    assert results["methods"][0]["settings"]["num_inference_steps"] == [1, 4]


@pytest.mark.parametrize(
    ("vary", "sentence"),
    [
        (("noise_seed", [2, 2.0]), "noise_seed 2 stands for several values"),
        (("num_samples", [2, 4]), "'average' sets num_samples itself"),
        (("checkpoint", ["a.pt", "b.pt"]), "NAME=CHECKPOINT"),
        (("num_inference_steps", [2, 0]), "num_inference_steps=0 must be"),
    ],
)
def test_what_cannot_be_varied(vary: tuple[str, list[Any]], sentence: str, untrained: Made, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        compare("denoise", untrained, tmp_path / "out", ["noisy", "average"], vary=vary)
    assert not (tmp_path / "out" / "cache" / "restored").exists()


def test_other_settings_are_restored_anew(untrained: Made, tmp_path: Path) -> None:
    words, leading = ["sample,num_inference_steps=3"], {"sampler#timestep_spacing": "leading"}
    usual = compare("denoise", untrained, tmp_path / "out", words)
    found = compare("denoise", untrained, tmp_path / "out", words, overrides=leading)
    fresh = compare("denoise", untrained, tmp_path / "new", words, overrides=leading)
    assert row(found, "sample")["psnr"] == row(fresh, "sample")["psnr"] != row(usual, "sample")["psnr"]
    assert found["methods"][0]["settings"]["sampler#timestep_spacing"] == "leading"


def test_the_precision_of_a_regression_is_its_own(untrained: Made, tmp_path: Path) -> None:
    for amp in (True, False):
        words = [f"regression={untrained('denoise')[2]}"]
        results = compare("denoise", untrained, tmp_path, words, overrides={"amp": amp})
        assert results["methods"][0]["settings"]["amp"] is amp
    assert len(list((tmp_path / "cache" / "restored").glob("regression-*"))) == 2


@pytest.mark.parametrize(
    ("word", "title"),
    [
        ("average", "ours, average of 8 samples"),
        ("average,num_samples=2", "ours, average, num_samples 2"),
        ("sample,num_inference_steps=3", "ours, one sample, num_inference_steps 3"),
        ("slow=,num_inference_steps=3", "slow"),
    ],
)
def test_a_title_says_what_was_set(word: str, title: str, untrained: Made, tmp_path: Path) -> None:
    assert compare("denoise", untrained, tmp_path, [word])["methods"][0]["title"] == title


@pytest.mark.parametrize("count", [2, 3, 4, 99])
def test_as_many_examples_as_were_asked_for(count: int, untrained: Made, tmp_path: Path) -> None:
    overrides = {"split": "training"}
    results = compare("sr", untrained, tmp_path, ["bilinear"], num_examples=count, overrides=overrides)
    images = results["test_set"]["n_images"]
    assert len({example["name"] for example in results["examples"]}) == min(count, images) and images > 3


def test_examples_are_what_was_scored(untrained: Made, tmp_path: Path) -> None:
    results = compare("inpaint", untrained, tmp_path, ["mean_fill", "mean"], num_examples=2)
    assert len(results["examples"]) == 2
    for example in results["examples"]:
        original, mask = (np.load(tmp_path / example[name]) for name in ("original", "mask"))
        restored = np.load(tmp_path / example["restored"]["mean"])
        assert np.array_equal(restored[mask == 0], original[mask == 0]) and mask.any()


def test_examples_are_shown_as_radiologists_look_at_them(untrained: Made, tmp_path: Path) -> None:
    results = compare("sr", untrained, tmp_path, ["bilinear"], num_examples=1)
    shown = np.load(tmp_path / results["examples"][0]["original"])
    case = BundleEvaluation(bundle("sr"), _overrides(untrained)).case(2)
    # the affine of the images goes to the left and the front: x is turned, y is not
    assert results["examples"][0]["name"] == case.name and np.allclose(shown, case.original[::-1], atol=1e-6)


def test_pictures_of_an_earlier_comparison_go(untrained: Made, tmp_path: Path) -> None:
    compare("sr", untrained, tmp_path, ["bilinear", "bicubic"], num_examples=2)
    (tmp_path / "images" / "mine.npy").write_bytes(b"")
    results = compare("sr", untrained, tmp_path, ["bilinear"], num_examples=1)
    left = {file.relative_to(tmp_path).as_posix() for file in (tmp_path / "images").rglob("*.npy")}
    [example] = results["examples"]
    assert left == {example["original"], example["condition"], example["restored"]["bilinear"], "images/mine.npy"}
    assert len(list((tmp_path / "images").iterdir())) == 2


def test_what_a_network_was_not_trained_for_is_said(
    untrained: Made, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = write_untrained("sr", tmp_path / "other.pt", spacing_range=[[9, 9], [0.5, 9], [0.5, 9]])
    results = compare("sr", untrained, tmp_path, ["bilinear", f"other={other}"], vary=("factor", [2.0, 4.0]))
    said = [text for text in results["warnings"] if text.startswith(("bilinear:", "other:"))]
    assert "other: factor=4, but the network was trained for factor 2." in said and said[0] in caplog.text
    assert any("but the network was trained on 9-9 x 0.5-9 x 0.5-9 mm" in text for text in said) and len(said) == 2


def test_missing_weights_are_said_in_the_table(untrained: Made, tmp_path: Path) -> None:
    results = compare("denoise", untrained, tmp_path, ["gone=/nowhere/model.pt", "mean"])
    found = row(results, "gone")
    assert found["psnr"] is None and "/nowhere/model.pt" in found["psnr_reason"]
    assert row(results, "mean")["psnr"] is not None


def test_an_output_of_another_size_is_said_in_the_table(
    untrained: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BundleEvaluation, "restore", lambda self, positions: [np.zeros((3, 4)) for _ in positions])
    results = compare("denoise", untrained, tmp_path, ["noisy", "mean"])
    assert "3 x 4" in row(results, "mean")["ssim_reason"] and row(results, "noisy")["ssim"] is not None
    assert any("mean failed" in warning for warning in results["warnings"])


def test_images_without_a_value_are_explained(untrained: Made, tmp_path: Path) -> None:
    results = compare("denoise", untrained, tmp_path, ["noisy"])
    assert row(results, "noisy")["ms_ssim_reason"] == "five scales need images of at least 161 pixels"


def test_one_subject_has_no_interval(untrained: Made, tmp_path: Path) -> None:
    results = compare("denoise", untrained, tmp_path, ["noisy", "mean"])
    assert row(results, "noisy")["psnr_interval"] is None and row(results, "noisy")["psnr_p"] is None
    assert any("one subject" in warning for warning in results["warnings"])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"normalisation": {"lower": 0, "upper": 100, "ref_key": "image"}}, "different scales"),
        ({"image_size": 16}, "different scales"),
        ({"training_subjects": ["patient0", "patient1", "patient2"]}, "subjects to score were in the training"),
    ],
)
def test_a_network_that_cannot_be_compared(
    settings: dict[str, Any], sentence: str, untrained: Made, tmp_path: Path
) -> None:
    other = write_untrained("denoise", tmp_path / "other.pt", **settings)
    with pytest.raises(ValueError, match=sentence):
        compare("denoise", untrained, tmp_path / "out", ["noisy", f"other={other}"])


def test_a_network_that_has_seen_the_files_under_other_names(untrained: Made, tmp_path: Path) -> None:
    data, weights, _ = untrained("denoise")
    test = BundleEvaluation(bundle("denoise"), {"dataset_dir": str(data), "checkpoint": str(weights)})
    seen = image_hashes(test["datalist"]["test"])
    other = write_untrained("denoise", tmp_path / "other.pt", training_images=["0" * 16, *seen])
    with pytest.raises(ValueError, match="2 images to score are, byte by byte, images of the training"):
        compare("denoise", untrained, tmp_path / "out", ["noisy", f"other={other}"])


def test_a_datalist_of_test_images_alone(untrained: Made, tmp_path: Path) -> None:
    data, _, _ = untrained("denoise")
    files = sorted(str(path) for path in data.rglob("*.png"))
    (tmp_path / "list.json").write_text(json.dumps({"test": [{"image": file, "subject": file} for file in files]}))
    overrides = {"dataset_dir": str(tmp_path / "list.json")}
    results = compare("denoise", untrained, tmp_path / "out", ["noisy", "mean"], overrides=overrides)
    assert row(results, "mean")["n"] == len(files) and row(results, "mean")["psnr"] is not None


def test_weights_that_are_not_there(untrained: Made, tmp_path: Path) -> None:
    results = compare("denoise", untrained, tmp_path, ["noisy", "pix2pix.1=nowhere/model.pt"])
    reason = row(results, "pix2pix.1")["psnr_reason"]
    assert reason.startswith("pix2pix.1=nowhere/model.pt: there are no such weights; python -m monai.bundle run")
    names = [f"'bundles/denoise/configs/{name}.json'" for name in ("train", "regression", "pix2pix")]
    assert f'--config_file "[{",".join(names)}]" --dataset_dir DATA --output_dir OUT' in reason
    assert str(tmp_path) not in reason and results["methods"][1]["family"] == "pix2pix"


def test_weights_of_another_task(untrained: Made, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="trained for 'sr'"):
        compare("denoise", untrained, tmp_path, ["noisy", f"other={untrained('sr')[1]}"])


def test_names_must_differ(untrained: Made, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a name of its own"):
        compare("denoise", untrained, tmp_path, ["mean", "mean"])
    with pytest.raises(ValueError, match="none of the methods"):
        compare("denoise", untrained, tmp_path, ["mean"], reference="median")


def test_unknown_ids_are_refused(untrained: Made, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Did you mean noise_seed"):
        compare("denoise", untrained, tmp_path, ["mean"], overrides={"noise_sed": 1})


def test_judges_of_sets_and_volumes(untrained: Made, tmp_path: Path) -> None:
    def brightness(case: Any) -> dict[str, float]:
        return {"brightness": float(case.restored.mean())}

    def all_judges(evaluation: BundleEvaluation) -> Judges:
        column = Column("brightness", "mean in stored units", better="")
        pixels = Features("pixels", "of the middle pixels", lambda x: x[:, 0, 8:10, 8:10].flatten(1))
        return Judges(image_metrics(2), [flicker_metric(), VolumeMetric([column], brightness)], [pixels])

    data = untrained("sr")[0]
    results = compare("sr", untrained, tmp_path, ["bilinear", "mean"], judges=all_judges)
    import nibabel

    subject = next(iter(BundleEvaluation(bundle("sr"), _overrides(untrained)).dataset.volumes))["subject"]
    volume = nibabel.load(data / subject / "t2.nii.gz").get_fdata()
    assert row(results, "original")["brightness"] == pytest.approx(volume.mean(), rel=1e-5)
    assert row(results, "bilinear")["brightness"] == pytest.approx(volume.mean(), rel=1e-2)
    assert 0 < row(results, "bilinear")["flicker"] < 1  # interpolated slices differ less
    assert row(results, "bilinear")["fid_pixels"] >= 0
    assert sum("FIDMetric" in warning and "fewer than 2048" in warning for warning in results["warnings"]) == 1
    assert not any("bilinear" in warning or "subset_size" in warning for warning in results["warnings"])


def _overrides(made: Made) -> dict[str, Any]:
    data, weights, _ = made("sr")
    return {"dataset_dir": str(data), "checkpoint": str(weights), "device": "cpu", "cache_dir": None}


def test_reasons_are_true_of_black_images(untrained: Made, tmp_path: Path) -> None:
    Image.new("L", (20, 24), 0).save(tmp_path / "black.png")
    people = {"training": ["a", "b"], "validation": [], "test": ["c", "d"]}
    lists = {split: [{"image": "black.png", "subject": name} for name in names] for split, names in people.items()}
    (tmp_path / "list.json").write_text(json.dumps(lists))
    overrides = {"dataset_dir": str(tmp_path / "list.json")}
    results = compare("denoise", untrained, tmp_path / "out", ["noisy"], overrides=overrides)
    assert row(results, "noisy")["psnr_reason"] == "the restorations equal their originals"
    assert row(results, "noisy")["nrmse_reason"] == "the originals are zero"
    assert any("2 subjects: " in text and "no p-value can be below 0.5" in text for text in results["warnings"])


def test_restored_images_refuse_what_is_not_finite(untrained: Made, tmp_path: Path) -> None:
    case = BundleEvaluation(bundle("sr"), _overrides(untrained)).case(0)
    store = RestoredImages(tmp_path, "mine", {})
    with pytest.raises(ValueError, match="480 values that are not finite"):
        store.complete([case], lambda cases: [np.full(one.original.shape, np.nan) for one in cases])
    assert not list(tmp_path.rglob("*.npy"))


def test_the_command(untrained: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, weights, _ = untrained("denoise")
    words = ["evaluate", "--bundle", str(bundle("denoise")), "--dataset_dir", str(data), "--checkpoint", str(weights)]
    words += ["--output_dir", str(tmp_path), "--device", "cpu"]
    words += ["--methods", "noisy", "median", "mean", "--examples", "1"]
    torch.manual_seed(0)
    assert main(words) == 0
    assert "| median 3 x 3 |" in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text()
    assert main(words) == 0
    again = (tmp_path / "report.html").read_text()
    differing = [pair for pair in zip(page.splitlines(), again.splitlines(), strict=True) if pair[0] != pair[1]]
    assert len(differing) <= 1  # the date
    assert main([*words[:-5], "gone=/nowhere.pt", "mean", "--examples", "0"]) == 1
    spotless = ["--set", 'noise={"std": 0, "amount": 0}', "--methods", "noisy", "--examples", "0"]
    assert main([*words[:-6], *spotless]) == 0  # equal images have no PSNR, which is no failure


def test_a_packaged_bundle_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bundles").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "--bundle", "denoise", "--dataset_dir", "/nowhere"]) == 2
    assert "--output_dir is needed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--methods", "nlmm"], "nlmm"),
        (["--methods", "bilinear"], "is for sr"),
        (["--methods", "noisy=x.pt"], "takes no checkpoint"),
        (["--methods", "mean,noise=1"], "the same for all methods"),
        (["--methods", "a b"], "NAME"),
        (["--set", "noise"], "ID=VALUE"),
        (["--set", "noise=$1"], "would evaluate"),
        (["--vary", "noise_seed="], "ID=VALUE"),
        (["--split", "tset"], "tset"),
        (["--dataset_dir", "/nowhere"], "/nowhere"),
        (["--checkpoint", "/nowhere.pt"], "/nowhere.pt"),
        (["--bundle", "denoisee"], "Did you mean denoise"),
        (["--lpips_weights", "/nowhere.pth"], "/nowhere.pth"),
        (["--classifier", "/nowhere"], "/nowhere"),
        (["--examples", "-1"], "num_examples"),
        (["--set", "num_inference_steps=0"], "num_inference_steps=0 must be"),
        (["--methods", "noisy", "slow=,num_inference_steps=0"], "num_inference_steps=0 must be"),
        (["--methods", "slow=,output=$1"], "would evaluate"),
        (["--set", "noise#stdd=1"], "give noise whole"),
        (["--bundle", str(bundle("classify"))], "task='classify'"),
        (["--output_dir", __file__], "output_dir"),
    ],
)
def test_wrong_words(
    words: list[str], sentence: str, untrained: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, weights, _ = untrained("denoise")
    given = ["--bundle", str(bundle("denoise")), "--dataset_dir", str(data), "--checkpoint", str(weights)]
    assert main(["evaluate", *given, "--output_dir", str(tmp_path / "out"), "--device", "cpu", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out" / "results.json").exists()
