"""Images of any size: what is padded, and that it comes away again."""

from __future__ import annotations

import pytest
import torch

from monai_cdiff.networks.blocks import crop_to_size, pad_to_multiple


@pytest.mark.parametrize("size", [(5, 7), (8, 8), (1, 9), (3, 4, 9)], ids=str)
@pytest.mark.parametrize("multiple", [1, 2, 4, 8])
def test_there_and_back(size: tuple[int, ...], multiple: int) -> None:
    x = torch.randn(2, 3, *size)
    padded = pad_to_multiple(x, multiple)
    assert all(length % multiple == 0 and 0 <= length - old < multiple for length, old in zip(padded.shape[2:], size))
    cropped = crop_to_size(padded, size)
    assert torch.equal(cropped, x) and cropped.is_contiguous()


def test_the_border_is_repeated_at_the_far_end_of_its_own_axis() -> None:
    x = torch.arange(6.0).view(1, 1, 2, 3)
    expected = torch.tensor([[0.0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]])
    assert torch.equal(pad_to_multiple(x, 4)[0, 0], expected)


def test_nothing_is_copied_where_nothing_is_missing() -> None:
    x = torch.zeros(1, 1, 8, 4)
    assert pad_to_multiple(x, 4) is x and crop_to_size(x, (8, 4)) is x
