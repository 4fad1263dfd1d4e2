"""What holds for every transform whose draw is fixed by a seed and the image's key, and by nothing else."""

from __future__ import annotations

import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.transforms import Transform

from monai_cdiff.data import ItemDataset

ITEMS = [{"image": torch.rand(1, 12, 10, 3, generator=torch.Generator().manual_seed(0)), "subject": "a"}]
ITEMS += [{"image": ITEMS[0]["image"], "subject": "b", "key": f"b/{n}"} for n in range(3)]


class KeyedContract:
    """Mix into a class that inherits from ``TransformContract``."""

    result_key = "image"

    def draw(self, key: str | None, image: torch.Tensor | None = None, seed: int = 0) -> torch.Tensor:
        image = ITEMS[0]["image"] if image is None else image
        transform = self.array_class(**self.arguments, seed=seed)  # type: ignore[attr-defined]
        return torch.as_tensor(transform(image, key))

    def test_key_and_seed_decide(self) -> None:
        first = self.draw("a")
        assert torch.equal(first, self.draw("a"))
        others = [self.draw("b"), self.draw("a "), self.draw("a", seed=1), self.draw("a", seed=2**32)]
        for n, one in enumerate(others):
            assert not any(torch.equal(one, other) for other in [first, *others[:n]])

    def test_nothing_that_was_drawn_before_matters(self) -> None:
        transform: Transform = self.make()  # type: ignore[attr-defined]
        keys = [item.get("key", item["subject"]) for item in ITEMS]
        forwards = [transform(ITEMS[0]["image"], key) for key in keys]
        torch.rand(3)
        backwards = [transform(ITEMS[0]["image"], key) for key in reversed(keys)]
        assert all(torch.equal(a, b) for a, b in zip(forwards, reversed(backwards)))

    @pytest.mark.parametrize("num_workers", [0, 1, 2])
    def test_workers_share_the_draw(self, num_workers: int) -> None:
        transform = self.make_dictionary()  # type: ignore[attr-defined]
        loader = DataLoader(Dataset(ITEMS, transform), batch_size=2, num_workers=num_workers)
        found = torch.cat([torch.as_tensor(batch[self.result_key]) for batch in loader])
        assert torch.equal(found, torch.stack([self.draw(item.get("key", item["subject"])) for item in ITEMS]))

    def test_images_of_one_subject_differ(self) -> None:
        results = [self.make_dictionary()(item)[self.result_key] for item in ITEMS]  # type: ignore[attr-defined]
        assert not any(torch.equal(results[n], results[m]) for n in range(4) for m in range(n))

    def test_a_slice_alone_gets_what_it_gets_in_its_volume(self) -> None:
        slices = ItemDataset(ITEMS, keys=["image"])
        for n, item in enumerate(ITEMS):
            whole = self.draw(item.get("key", item["subject"]))
            for z in range(3):
                alone = self.make_dictionary()(slices[3 * n + z])[self.result_key]  # type: ignore[attr-defined]
                assert torch.equal(torch.as_tensor(alone), whole[..., z])
        assert not torch.equal(whole[..., 0], whole[..., 1]) and not torch.equal(whole[..., 1], whole[..., 2])

    def test_the_key_of_the_item_goes_before_those_of_the_metadata(self) -> None:
        image = MetaTensor(ITEMS[0]["image"], meta={"key": "meta", "subject": "person"})
        transform = self.make_dictionary()  # type: ignore[attr-defined]
        for item, key in (
            ({"key": "own", "subject": "a"}, "own"),
            ({"subject": "a"}, "a"),
            ({"subject": 7}, "7"),
            ({}, "meta"),
        ):
            assert torch.equal(torch.as_tensor(transform({"image": image, **item})[self.result_key]), self.draw(key))
        image.meta.pop("key")
        assert torch.equal(torch.as_tensor(transform({"image": image})[self.result_key]), self.draw("person"))

    def test_without_a_key_the_content_decides(self) -> None:
        image = ITEMS[0]["image"]
        torch.testing.assert_close(self.draw(None), self.draw(None, image.double()).float(), rtol=0, atol=1e-4)
        assert not torch.equal(self.draw(None), self.draw(None, image.flip(1)))
