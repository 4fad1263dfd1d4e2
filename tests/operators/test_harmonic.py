"""The harmonic filling, against the exact solution of Laplace's equation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import torch

from monai_cdiff.operators import draw_mask, fill_masked, harmonic_fill


def exact(image: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """The solution by a sparse solver: each unknown is the mean of the neighbours that there are."""
    height, width = image.shape
    number = np.full(image.shape, -1)
    number[~measured] = np.arange((~measured).sum())
    rows, columns, values = [], [], []
    right = np.zeros((~measured).sum())
    for r, c in zip(*np.nonzero(~measured)):
        beside = [(r + dr, c + dc) for dr, dc in ((-1, 0), (1, 0), (0, -1), (0, 1))]
        beside = [(a, b) for a, b in beside if 0 <= a < height and 0 <= b < width]
        rows, columns, values = rows + [number[r, c]], columns + [number[r, c]], values + [float(len(beside))]
        for a, b in beside:
            if measured[a, b]:
                right[number[r, c]] += image[a, b]
            else:
                rows, columns, values = rows + [number[r, c]], columns + [number[a, b]], values + [-1.0]
    solved = image.copy()
    solved[~measured] = scipy.sparse.linalg.spsolve(scipy.sparse.csr_matrix((values, (rows, columns))), right)
    return solved


def smooth(height: int = 61, width: int = 48) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    return 0.5 + 0.5 * np.sin(5 * x) * np.cos(4 * y)


@pytest.mark.parametrize("shape", ["box", "stroke"])
@pytest.mark.parametrize("seed", range(3))
def test_close_to_the_exact_solution(shape: str, seed: int) -> None:
    mask = draw_mask((61, 48), np.random.RandomState(seed), (0.1, 0.4), [shape]).numpy()
    image = smooth()
    found = harmonic_fill(torch.from_numpy(image)[None, None], torch.from_numpy(~mask)[None, None])[0, 0].numpy()
    wanted = exact(image, ~mask)
    assert np.abs(found - wanted).max() < 0.02 * (image.max() - image.min())
    assert np.array_equal(found[~mask], image[~mask])


def test_a_large_hole_is_solved_too() -> None:
    image, mask = smooth(128, 128), np.zeros((128, 128), dtype=bool)
    mask[10:118, 14:120] = True
    found = harmonic_fill(torch.from_numpy(image)[None, None], torch.from_numpy(~mask)[None, None])[0, 0].numpy()
    assert np.abs(found - exact(image, ~mask)).max() < 0.03


def test_a_plane_is_continued() -> None:
    plane = torch.arange(32.0).reshape(1, 1, 32, 1) / 32 + torch.arange(32.0).reshape(1, 1, 1, 32) / 64
    measured = torch.ones(1, 1, 32, 32, dtype=torch.bool)
    measured[..., 9:20, 8:25] = False
    assert (harmonic_fill(plane * measured, measured) - plane).abs().max() < 0.005


def test_it_stays_within_what_was_measured() -> None:
    noise = torch.Generator().manual_seed(0)
    image = torch.rand(3, 2, 33, 17, generator=noise)
    measured = torch.rand(3, 1, 33, 17, generator=noise) < 0.05
    measured[:, :, 0, 0] = True
    filled = harmonic_fill(image, measured)
    for n in range(3):
        for c in range(2):
            known = image[n, c][measured[n, 0]]
            assert known.min() <= filled[n, c].min() and filled[n, c].max() <= known.max()


def test_images_of_a_batch_and_slices_do_not_meet() -> None:
    volume = torch.rand(1, 24, 20, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 24, 20, 3, dtype=torch.bool)
    mask[0, 5:12, 6:15, :2] = True
    mask[..., 1] = True  # nothing to go by: the mean of the volume
    filled = fill_masked(volume, mask, "harmonic")
    assert torch.equal(filled[..., 0], fill_masked(volume[..., 0], mask[..., 0], "harmonic"))
    assert torch.equal(filled[..., 1], fill_masked(volume, mask)[..., 1])
    assert torch.equal(filled[..., 2], volume[..., 2])


def test_what_was_not_measured_does_not_matter() -> None:
    image, measured = torch.rand(1, 1, 16, 16), torch.ones(1, 1, 16, 16, dtype=torch.bool)
    measured[..., 4:9, 4:9] = False
    other = torch.where(measured, image, torch.full_like(image, 1e6))
    assert torch.equal(harmonic_fill(image, measured), harmonic_fill(other, measured))
