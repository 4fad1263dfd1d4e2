"""Metrics of single images, against scikit-image and analytic truths."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio, structural_similarity

from monai_cdiff.evaluation import image_metrics, score_images


def images(side: int = 48) -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(0)
    original = draws.random((side, side)).cumsum(axis=0).cumsum(axis=1)
    original = (original / original.max()).astype(np.float32)
    return (original + draws.normal(0, 0.05, original.shape)).astype(np.float32), original


def scores(pairs: list[tuple[np.ndarray, np.ndarray]], spatial_dims: int = 2) -> dict[str, list[float]]:
    return score_images(image_metrics(spatial_dims), pairs)


def test_psnr_ssim_and_nrmse_are_those_of_skimage() -> None:
    restored, original = images()
    found = scores([(restored, original)])
    assert found["psnr"][0] == pytest.approx(peak_signal_noise_ratio(original, restored, data_range=1), abs=1e-3)
    assert found["nrmse"][0] == pytest.approx(normalized_root_mse(original, restored), rel=1e-5)
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "win_size": 11}
    _, per_pixel = structural_similarity(original, restored, data_range=1, full=True, **gaussian)
    assert found["ssim"][0] == pytest.approx(per_pixel[5:-5, 5:-5].mean(), abs=1e-4)  # MONAI pads nothing


def test_what_a_known_error_gives() -> None:
    _, original = images()
    found = scores([(original + 0.1, original)])
    assert found["psnr"][0] == pytest.approx(20, abs=1e-3)
    assert found["brightness_shift"][0] == pytest.approx(0.1, abs=1e-5)
    assert found["acutance_ratio"][0] == pytest.approx(1, abs=1e-4)
    assert found["acutance"][0] == pytest.approx(scores([(original, original)])["acutance"][0], rel=1e-4)


def test_small_images_have_no_ms_ssim() -> None:
    assert math.isnan(scores([images(160)])["ms_ssim"][0])
    assert 0 < scores([images(176)])["ms_ssim"][0] < 1


def test_ms_ssim_orders_as_ssim() -> None:
    restored, original = images(176)
    better = original + 0.5 * (restored - original)
    found = scores([(restored, original), (better, original)])["ms_ssim"]
    assert found[0] < found[1] < 1


def test_equal_and_constant_images_have_no_number_that_is_none() -> None:
    _, original = images()
    found = scores([(original, original), (np.ones_like(original), np.ones_like(original) * 0.5)])
    assert math.isnan(found["psnr"][0]) and math.isnan(found["acutance_ratio"][1])
    assert found["ssim"][0] == pytest.approx(1, abs=1e-5)
    zeros = np.zeros_like(original)
    assert math.isnan(scores([(original, zeros)])["nrmse"][0])


def test_sizes_and_batches_do_not_matter() -> None:
    pairs = [images(48), images(32), *[images(40)] * 20]
    together, alone = scores(pairs), [scores([pair]) for pair in pairs]
    for name, values in together.items():
        expected = [one[name][0] for one in alone]
        assert np.allclose(values, expected, rtol=1e-5, equal_nan=True)


def test_volumes() -> None:
    restored, original = images()
    volume = (np.stack([restored] * 3, axis=-1), np.stack([original] * 3, axis=-1))
    flat, deep = scores([(restored, original)]), scores([volume], spatial_dims=3)
    for name in ("psnr", "ssim", "nrmse", "brightness_shift", "acutance", "acutance_ratio"):
        assert deep[name][0] == pytest.approx(flat[name][0], rel=1e-4)
    assert next(metric for metric in image_metrics(3) if metric.column.name == "lpips").reason


def test_lpips_without_weights_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    lpips = image_metrics(2)[-1]
    assert "--lpips_weights" in lpips.reason and "lpips" not in scores([images()])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        image_metrics(2, "/nowhere.pth")
