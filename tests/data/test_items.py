"""Items out of volumes, and the order in which a training sees them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import DataLoader, MetaTensor
from monai.transforms import Compose, RandSpatialCropd

from monai_cdiff.data import ItemDataset, IterationSampler, KeyedDataset, spacing_range, with_labels


def volume(subject: str, depth: int, value: float = 0.0) -> dict[str, Any]:
    image = torch.arange(depth).float().expand(1, 6, 5, depth) + value
    return {"image": MetaTensor(image, affine=torch.diag(torch.tensor([0.5, 0.5, 3.0, 1.0]))), "subject": subject}


VOLUMES = [volume("a", 4), volume("b", 3, 10)]


def test_slices_know_where_they_come_from() -> None:
    slices = ItemDataset(VOLUMES, keys=["image"])
    assert len(slices) == 7
    item = slices[5]["image"]
    assert (item == 11).all() and item.shape == (1, 6, 5)
    assert item.meta["subject"] == "b" and item.meta["slice_index"] == 1 and item.affine[2, 2] == 3


def test_volumes_for_three_dimensions_and_images_of_two() -> None:
    volumes = ItemDataset(VOLUMES, keys=["image"], spatial_dims=3)
    assert len(volumes) == 2 and volumes[0]["image"].shape == (1, 6, 5, 4)
    assert "slice_index" not in volumes[0]["image"].meta
    flat = ItemDataset([{"image": torch.zeros(1, 6, 5), "subject": "x"}], keys=["image"])
    assert len(flat) == 1 and flat[0]["image"].shape == (1, 6, 5)


def test_evenly_spaced_slices() -> None:
    slices = ItemDataset([volume("a", 21)], keys=["image"], per_volume=3)
    assert [item["image"].meta["slice_index"] for item in slices] == [5, 10, 15]


@given(st.integers(1, 9), st.integers(1, 7))
def test_batches_hold_every_item_once_and_one_volume_each(size: int, world_size: int) -> None:
    slices = ItemDataset(VOLUMES, keys=["image"])
    shares = [slices.batches(size, rank, world_size) for rank in range(world_size)]
    assert sorted(n for share in shares for batch in share for n in batch) == list(range(7))
    assert all(share for share in shares)
    for batch in (batch for share in shares for batch in share):
        assert len(batch) <= size and len({slices.index[n][0] for n in batch}) == 1


def test_more_processes_than_items() -> None:
    with pytest.raises(ValueError, match="world_size=8 must be a whole number, from 1 to 7"):
        ItemDataset(VOLUMES, keys=["image"]).batches(4, 0, 8)


def test_spacing_range() -> None:
    assert spacing_range(VOLUMES) == [[0.5, 0.5], [0.5, 0.5], [3.0, 3.0]]
    picture = {"image": MetaTensor(torch.zeros(1, 6, 5), meta={"raster_bits": 8})}
    assert spacing_range([*VOLUMES, picture]) == spacing_range(VOLUMES) and spacing_range([picture]) == []


def keyed(seed: int = 0) -> KeyedDataset:
    crop = Compose([RandSpatialCropd("image", roi_size=[2, 2], random_size=False)])
    image = torch.arange(30.0).view(1, 6, 5)
    return KeyedDataset([{"image": image + 100 * n} for n in range(5)], crop, seed=seed)


def batches(dataset: KeyedDataset, **kwargs: Any) -> Iterator[torch.Tensor]:
    return (batch["image"] for batch in DataLoader(dataset, **kwargs))


def test_items_are_a_function_of_seed_and_position() -> None:
    assert torch.equal(keyed()[13]["image"], keyed()[13]["image"])
    forwards = [keyed_item["image"] for keyed_item in map(keyed().__getitem__, range(10))]
    backwards = [keyed_item["image"] for keyed_item in map(keyed().__getitem__, range(9, -1, -1))]
    assert all(torch.equal(a, b) for a, b in zip(forwards, reversed(backwards)))
    assert any(not torch.equal(keyed(1)[n]["image"], forwards[n]) for n in range(10))


def test_each_pass_has_its_own_order() -> None:
    data = [{"image": n} for n in range(20)]
    orders = [[KeyedDataset(data)[20 * epoch + place]["image"] for place in range(20)] for epoch in range(2)]
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1])


def test_each_pass_augments_anew() -> None:
    crop = Compose([RandSpatialCropd("image", roi_size=[2, 2], random_size=False)])
    dataset = KeyedDataset([{"image": torch.arange(30.0).view(1, 6, 5)}], crop)
    assert len({float(dataset[position]["image"][0, 0, 0]) for position in range(12)}) > 4


def test_each_pass_shows_every_item_once() -> None:
    dataset = keyed()
    for epoch in range(3):
        shown = [int(dataset[5 * epoch + place]["image"].max()) // 100 for place in range(5)]
        assert sorted(shown) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_processes_and_workers_share_the_same_items(num_workers: int) -> None:
    whole = list(batches(keyed(), batch_sampler=IterationSampler(4, 3)))
    halves = [
        list(batches(keyed(), batch_sampler=IterationSampler(4, 3, rank, 2), num_workers=num_workers))
        for rank in range(2)
    ]
    for one, first, second in zip(whole, *halves):
        assert torch.equal(one, torch.cat([first, second]))


def test_a_resumed_sampler_goes_on_in_the_middle() -> None:
    sampler = IterationSampler(2, 5)
    sampler.set_iteration(3)
    assert list(sampler) == [[6, 7], [8, 9]]


def test_a_batch_that_cannot_be_shared() -> None:
    with pytest.raises(ValueError, match="batch_size=5 counts the items over all processes .* their number, 2"):
        IterationSampler(5, 1, rank=0, world_size=2)


def test_nothing_to_train_on() -> None:
    with pytest.raises(ValueError, match="data is empty"):
        KeyedDataset([])


def test_every_item_has_a_key() -> None:
    volumes = [{**VOLUMES[0], "key": "a/1"}, VOLUMES[1]]
    assert [item["image"].meta["key"] for item in ItemDataset(volumes, keys=["image"])] == ["a/1"] * 4 + ["b"] * 3
    assert [item["image"].meta["key"] for item in ItemDataset(volumes, ["image"], spatial_dims=3)] == ["a/1", "b"]


def test_neighbours_are_further_channels_of_the_condition_alone() -> None:
    volumes = [{**one, "condition": one["image"] + 100} for one in VOLUMES]
    items = ItemDataset(volumes, neighbours=1)
    assert items[0]["image"].shape == (1, 6, 5)
    assert items[0]["condition"][:, 0, 0].tolist() == [100, 100, 101]
    assert items[2]["condition"][:, 0, 0].tolist() == [102, 101, 103]
    assert items[6]["condition"][:, 0, 0].tolist() == [112, 111, 112] and items[6]["condition"].meta["slice_index"] == 2
    with pytest.raises(ValueError, match="neighbours=-1 must be a whole number, at least 0"):
        ItemDataset(volumes, neighbours=-1)


def test_labels_are_the_numbers_of_the_classes() -> None:
    items = [{"image": f"{name}.png", "class": name, "subject": name} for name in ("b", "a", "b")]
    assert [item["label"] for item in with_labels(items, ["a", "b"])] == [1, 0, 1] and "label" not in items[0]
    volumes = [{**item, "image": torch.zeros(1, 4, 4)} for item in with_labels(items, ["a", "b"])]
    flat = ItemDataset(volumes, keys=["image", "label"])
    assert flat[0]["label"].item() == 1 and flat[0]["label"].meta["subject"] == "b"
    for wrong in ({"class": "c"}, {}):
        with pytest.raises(ValueError, match="x.png: class=.*; allowed: 'a', 'b'"):
            with_labels([{"image": "x.png", **wrong}], ["a", "b"])
