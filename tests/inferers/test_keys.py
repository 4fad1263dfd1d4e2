"""What the noise of an item depends on besides the seed, as its metadata tell it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.data import MetaTensor, list_data_collate

from monai_cdiff.inferers.keys import item_keys


def batch(*metas: dict[str, Any]) -> MetaTensor:
    return list_data_collate([{"image": MetaTensor(torch.zeros(1, 2, 2), meta=dict(meta))} for meta in metas])["image"]


@pytest.mark.parametrize(
    ("metas", "expected"),
    [
        ([{"subject": "a", "slice_index": 3}], ["a:3"]),
        ([{"subject": "a"}], ["a"]),
        ([{"subject": "a", "key": "a/1"}], ["a/1"]),
        ([{"key": "k", "slice_index": 0}], ["k:0"]),
        ([{"subject": 7, "slice_index": 1}], ["7:1"]),
        ([{"slice_index": 1}], [None]),
        ([{}], [None]),
        ([{"subject": "a", "key": "a/1", "slice_index": 3}, {"subject": "a", "key": "a/2", "slice_index": 3}],
         ["a/1:3", "a/2:3"]),
        ([{"subject": "a", "slice_index": 0}, {"subject": "b", "slice_index": 5}], ["a:0", "b:5"]),
    ],
)  # fmt: skip
def test_metadata(metas: list[dict[str, Any]], expected: list[str | None]) -> None:
    assert item_keys(batch(*metas)) == expected


def test_one_value_for_many_items_does_not_tell_them_apart() -> None:
    assert item_keys(MetaTensor(torch.zeros(2, 1, 2, 2), meta={"subject": "a"})) == [None, None]
    assert item_keys(MetaTensor(torch.zeros(1, 1, 2, 2), meta={"subject": "a"})) == ["a"]


def test_given_keys_go_first() -> None:
    inputs = batch({"subject": "a"}, {"subject": "b"})
    assert item_keys(inputs, ["x", 3]) == ["x", 3]
    assert item_keys(torch.zeros(2, 1, 2, 2)) == [None, None]
    with pytest.raises(ValueError, match="keys holds 1 keys for a batch of 2; give one per item"):
        item_keys(inputs, ["x"])
