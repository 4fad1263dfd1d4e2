"""Keyed randomness: a draw depends on seed and key alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_cdiff.utils import content_key, derive_seed, item_generators, randn

parts = st.lists(st.one_of(st.integers(), st.text()), min_size=1, max_size=3)


@given(parts, parts)
def test_seeds_differ_where_parts_differ(first: list, second: list) -> None:
    assert (derive_seed(*first) == derive_seed(*second)) == (first == second)


def test_a_number_and_its_text_are_different_parts() -> None:
    assert derive_seed(1) != derive_seed("1")


def test_seed_is_the_same_on_every_machine() -> None:
    # the first 8 bytes of blake2b("i3\x1fspatient:4"), big-endian, halved
    assert derive_seed(3, "patient:4") == 5585500210481455558


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_item_noise_does_not_depend_on_the_batch(dtype: torch.dtype) -> None:
    both = randn((2, 1, 9, 7), item_generators(0, ["a", "b"]), dtype=dtype)
    swapped = randn((2, 1, 9, 7), item_generators(0, ["b", "a"]), dtype=dtype)
    assert both.dtype == dtype and torch.equal(both, swapped.flip(0)) and not torch.equal(both[0], both[1])


def test_number_of_generators() -> None:
    with pytest.raises(ValueError, match="generator holds 1 generators for a batch of 2; give one per item"):
        randn((2, 3), item_generators(0, ["a"]))


def test_content_key_sees_values_not_layout() -> None:
    image = torch.arange(12.0).view(1, 3, 4)
    assert content_key(image) == content_key(image.mT.contiguous().mT) != content_key(image + 1e-6 * image)
