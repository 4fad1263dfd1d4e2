"""What a cache finds again, and what it must not."""

from __future__ import annotations

import functools
import json
import math
import os
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import CacheDataset
from monai.transforms import Compose, Lambdad, LoadImaged, ScaleIntensityRanged, reset_ops_id
from prepared_items import Counted, Items, Returns, entries, mapped, preparation, same, write_items, write_nifti

from monai_cdiff.data import NiftiReader, cache_key
from monai_cdiff.data.cache_key import describe


class TestFoundAgain:
    """What is in the key, and what is not."""

    @pytest.fixture(autouse=True)
    def setup(self, tmp_path: Path) -> None:
        self.cache_dir, self.log = tmp_path / "cache", tmp_path / "log"
        (tmp_path / "in").mkdir(exist_ok=True)
        self.path = tmp_path / "in" / "a.nii"
        write_nifti(self.path)
        self.data: Items = [{"image": str(self.path), "subject": "a"}]

    def prepared(self, data: Any = None, *transforms: Any) -> int:
        """How many items had to be prepared."""
        before = len(self.log.read_text()) if self.log.exists() else 0
        load = LoadImaged("image", reader=NiftiReader(), ensure_channel_first=True)
        mapped(data or self.data, Compose([Counted(str(self.log)), load, *transforms]), self.cache_dir)
        return len(self.log.read_text()) - before

    def test_once_for_all_runs(self) -> None:
        assert [self.prepared(), self.prepared()] == [1, 0]
        assert self.prepared([*self.data, {"image": str(self.path), "subject": "b"}]) == 1

    def test_other_content_under_the_same_name_size_and_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cache_key, "_SETTLED_NS", 0)
        self.prepared()
        stat = self.path.stat()
        write_nifti(self.path, seed=1)
        os.utime(self.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert self.path.stat().st_size == stat.st_size and self.prepared() == 1

    def test_moved_files_are_found_and_named_where_they_are(
        self, tmp_path: Path, write_series: Callable[..., list[Path]]
    ) -> None:
        items = write_items(tmp_path / "in", write_series)
        mapped(items, preparation(), self.cache_dir)
        before = entries(self.cache_dir)
        moved = tmp_path / 'el"sé where'
        shutil.copytree(tmp_path / "in", moved)
        copies = json.loads(json.dumps(items).replace(f"{tmp_path}/in", json.dumps(str(moved))[1:-1]))
        dataset = mapped(copies, preparation(), self.cache_dir)
        assert entries(self.cache_dir) == before
        reference = CacheDataset(copies, preparation(), progress=False)
        for found, expected in zip(dataset, reference):
            reset_ops_id(expected)
            assert same(found, expected) and str(moved) in found["image"].meta["filename_or_obj"]

    def test_a_name_may_be_a_label(self, tmp_path: Path) -> None:
        self.prepared()
        shutil.copy(self.path, tmp_path / "in" / "b.nii")
        assert self.prepared([{"image": str(tmp_path / "in" / "b.nii"), "subject": "a"}]) == 1

    def test_settings_of_transforms(self) -> None:
        scales = [ScaleIntensityRanged("image", 0, top, 0, 1) for top in (200, 300, 200.0)]
        assert [self.prepared(None, scale) for scale in scales + scales] == [1, 1, 1, 0, 0, 0]

    def test_functions_by_their_code_and_what_it_names(self) -> None:
        assert self.prepared(None, Lambdad("image", lambda x: x + 1)) == 1
        assert self.prepared(None, Lambdad("image", lambda x: x + 1)) == 0
        assert self.prepared(None, Lambdad("image", lambda x: x + 2)) == 1
        for outer, expected in ((3, 1), (4, 1), (3, 0)):
            assert self.prepared(None, Lambdad("image", lambda x, y=outer: x + y)) == expected
            assert self.prepared(None, Lambdad("image", lambda x: [x * outer for _ in "a"][0])) == expected

    def test_expressions_of_a_config_by_the_values_they_name(self) -> None:
        for factor, other, expected in ((1, 1, 1), (2, 1, 1), (2, object, 0)):
            references = {"__local_refs": {"factor": factor, "network": other}}
            expression = eval("lambda x: x * __local_refs['factor']", references)
            assert self.prepared(None, Lambdad("image", expression)) == expected

    def test_a_transform_may_have_been_used(self, tmp_path: Path, write_series: Callable[..., list[Path]]) -> None:
        items = write_items(tmp_path / "in", write_series)
        transform = preparation()
        mapped(items, transform, self.cache_dir)
        before = entries(self.cache_dir)
        mapped(items, transform, self.cache_dir)
        assert entries(self.cache_dir) == before

    def test_a_transform_whose_settings_cannot_be_told(self) -> None:
        with pytest.raises(ValueError, match="transform 2, Returns, holds what cannot be told .* cannot pickle .*lock"):
            self.prepared(None, Returns(threading.Lock()))

    def test_files_are_hashed_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        memo = self.cache_dir / "contents.json"
        self.prepared()
        assert not memo.exists()  # so new a file may change without a new time stamp
        monkeypatch.setattr(cache_key, "_SETTLED_NS", 0)
        self.prepared()
        kept = json.loads(memo.read_text())
        assert len(kept) == 1 and self.prepared() == 0
        memo.write_text(json.dumps(dict.fromkeys(kept, "other")))
        assert self.prepared() == 1  # so the file was not read
        for damaged in ("{", "[]"):
            memo.write_text(damaged)
            assert self.prepared() == 0


def itself() -> list:
    loop: list[Any] = [1]
    loop.append(loop)
    return loop


DIFFERENT = [
    *(1, 1.0, True, "1", b"1", None, math.inf, 1j),
    *([1], (1,), {1}, {1: 1}, {"1": 1}, range(1), slice(1)),
    *(np.float32(1), np.float64(1), np.ones(1), np.ones((1, 1)), np.array(["1"]), np.array([None])),
    *(torch.ones(1), torch.ones(1, dtype=torch.int32), torch.float32, torch.device("cpu")),
    *(functools.partial(max, 1), functools.partial(max, 2), math.sqrt, np.sqrt, "1".join, "2".join),
    *(Path("a"), re.compile("a"), re.compile("b"), float, np.float32, json, json.dumps, itself()),
    *(ScaleIntensityRanged("a", 0, 1), NiftiReader(), Compose([]), torch.nn.Linear(1, 1), torch.nn.Linear(1, 2)),
]


def test_what_differs_is_told_apart() -> None:
    described = [repr(describe(value)) for value in DIFFERENT]
    assert len(set(described)) == len(DIFFERENT)
    assert not any(" at 0x" in text for text in described)  # an address would differ in the next run


def test_what_is_equal_is_described_alike() -> None:
    words = [f"word {n}" for n in range(50)]
    assert describe(set(words)) == describe(set(reversed(words)))
    assert describe(dict.fromkeys(words)) == describe(dict.fromkeys(reversed(words)))
    assert describe(np.arange(6).reshape(2, 3).T) == describe(np.arange(6).reshape(2, 3).T.copy())
    one, other = (Compose([NiftiReader()]).set_random_state(seed=seed) for seed in (1, 2))
    assert describe(one) == describe(other)


@pytest.mark.parametrize("value", [threading.Lock(), (n for n in "a"), Returns(Path(__file__).open())])
def test_what_has_no_state(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot pickle"):
        describe(value)
