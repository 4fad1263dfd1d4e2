"""Seams: found where tiles differ, and only there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.inferers import SlidingWindowInferer

from monai_cdiff.metrics.seam import SeamMetric


def seam(roi_size: Any, overlap: float) -> Any:
    """The metric, untyped: MONAI says that metrics may return sequences."""
    return SeamMetric(roi_size, overlap)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_is_the_ratio_of_mean_jumps() -> None:
    original = noise(2, 1, 6, 1)
    error = torch.tensor([[0.0, 1.0, 2.0, 5.0, 6.0, 8.0], [0.0, 0.0, 4.0, 1.0, 1.0, 1.0]]).view(2, 1, 6, 1)
    # borders of the only axis with more than one tile: between voxels 2 and 3
    value = seam((3, 3), 0)(original + error, original)
    torch.testing.assert_close(value, torch.tensor([[3 / ((1 + 1 + 1 + 2) / 4)], [3 / (4 / 4)]]))


def test_axes_are_averaged_one_by_one_and_those_without_borders_do_not_count() -> None:
    error = torch.zeros(1, 1, 4, 6, 3)
    error[:, :, :, 3:] += 2.0  # a jump at the border of the second axis
    error[:, :, 1::2] += 1.0  # jumps everywhere along the first
    error[..., 1] += 50.0  # along the third, which one tile covers
    value = seam((2, 3, 8), 0)(error, torch.zeros_like(error))
    torch.testing.assert_close(value, torch.tensor([[(1 + 2) / (1 + 0.0)]]))


@pytest.mark.parametrize("overlap", [0, 0.25, 0.5])
@pytest.mark.parametrize(("shape", "roi_size"), [((150, 131), 48), ((40, 41, 39), (16, 16, 20))])
def test_no_seam_gives_one(shape: tuple[int, ...], roi_size: Any, overlap: float) -> None:
    original, restored = noise(2, 1, *shape), noise(2, 1, *shape, seed=1)
    value = seam(roi_size, overlap)(restored, original)
    torch.testing.assert_close(value, torch.ones(2, 1), rtol=0, atol=0.05)


@pytest.mark.parametrize("overlap", [0, 0.25])
@pytest.mark.parametrize(("shape", "roi_size"), [((150, 131), (48, 48)), ((40, 41, 39), (16, 16, 20))])
def test_tiles_sampled_on_their_own_have_a_seam(shape: tuple[int, ...], roi_size: Any, overlap: float) -> None:
    original = noise(1, 1, *shape)
    offsets = torch.Generator().manual_seed(2)

    def sample(tiles: torch.Tensor) -> torch.Tensor:
        shift = torch.randn(len(tiles), generator=offsets).view(-1, *[1] * (tiles.ndim - 1))
        return tiles + shift

    restored: Any = SlidingWindowInferer(roi_size, 4, overlap)(original + 0.1 * noise(1, 1, *shape, seed=1), sample)
    assert seam(roi_size, overlap)(restored, original) > 2
    elsewhere = tuple(size - 7 for size in roi_size)
    assert seam(elsewhere, 0)(restored, original) < 1.5


def test_edges_of_the_original_do_not_count() -> None:
    original = torch.zeros(1, 1, 32, 32)
    original[..., 16:] = 100.0
    value = seam(16, 0)(original + noise(1, 1, 32, 32), original)
    assert 0.7 < value < 1.3


def test_limits() -> None:
    metric, error = seam(4, 0), torch.zeros(1, 1, 8, 8)
    assert metric(error, error) == 1  # nothing wrong anywhere
    error[..., 4:] = 1
    assert metric(error, torch.zeros_like(error)).isinf().all()
    assert seam(8, 0.5)(error, torch.zeros_like(error)) == 1  # one tile, no borders


def test_collects_as_monais_metrics_do() -> None:
    metric, original, restored = seam(8, 0.25), noise(3, 2, 20, 17), noise(3, 2, 20, 17, seed=1)
    single = [metric(restored[i : i + 1], original[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(metric.aggregate(), torch.cat(single).mean(0))
    metric.reset()
    torch.testing.assert_close(metric([*restored], [*original]), torch.cat(single))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((0, 0.25), "roi_size=0 must be a whole number, at least 1"),
        (((8,), 0.25), r"roi_size=\(8,\) needs 2 or 3 values"),
        ((8, 1.0), "overlap=1.0 must be at least 0 and less than 1"),
    ],
)
def test_wrong_arguments(args: tuple[Any, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SeamMetric(*args)


def test_wrong_images() -> None:
    with pytest.raises(ValueError, match=r"y_pred has shape \(1, 1, 9, 9\); roi_size=\(4, 4, 4\) takes"):
        seam((4, 4, 4), 0)(torch.zeros(1, 1, 9, 9), torch.zeros(1, 1, 9, 9))
    with pytest.raises(ValueError, match="roi_size=1 and overlap=0.0 lay a border between all voxels along axis 2"):
        seam(1, 0)(torch.zeros(1, 1, 9, 9), torch.zeros(1, 1, 9, 9))
