"""The cache in mapped files: equal to no cache, whole or made anew, and shared."""

from __future__ import annotations

import inspect
import logging
import multiprocessing
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import CacheDataset, DataLoader, MetaTensor
from monai.transforms import Compose, EnsureTyped, RandSpatialCropd, reset_ops_id
from monai.utils import SpaceKeys
from prepared_items import Counted, Items, Returns, entries, mapped, preparation, same, write_items

from monai_cdiff.data import (
    ItemDataset,
    IterationSampler,
    KeyedDataset,
    MappedCacheDataset,
    find_cache_dir,
    spacing_range,
)


@pytest.fixture
def items(tmp_path: Path, write_series: Callable[..., list[Path]]) -> Items:
    return write_items(tmp_path / "in", write_series)


@pytest.mark.parametrize("cached", [False, True], ids=["in memory", "in files"])
def test_items_are_those_of_cache_dataset(cached: bool, items: Items, tmp_path: Path) -> None:
    reference = CacheDataset(items, preparation(), progress=False)
    for _ in range(2):  # what was just prepared, then what was found
        dataset = mapped(items, preparation(), tmp_path / "cache" if cached else None)
        assert len(dataset) == 3
        for n in (0, 1, 2, -1):
            expected = dict(reference[n])
            reset_ops_id(expected)
            assert same(dataset[n], expected)
    assert spacing_range(dataset) == spacing_range(reference)
    with pytest.raises(IndexError):
        dataset[3]


def test_real_patients_are_those_of_cache_dataset(shared_data: Path, tmp_path: Path) -> None:
    data = [{"image": str(shared_data / "prostate3t_dicom/Prostate3T-03-0001"), "subject": "1"}]
    expected = dict(CacheDataset(data, preparation(4.0), progress=False)[0])
    reset_ops_id(expected)
    assert same(mapped(data, preparation(4.0), tmp_path)[0], expected)
    assert same(mapped(data, preparation(4.0), tmp_path)[0], expected)


def training_items(volumes: Any, **kwargs: Any) -> list[dict[str, Any]]:
    crop = [RandSpatialCropd(["image", "condition"], [16, 16], random_size=False)]
    plain = EnsureTyped(["image", "condition"], track_meta=False)
    dataset = KeyedDataset(ItemDataset(volumes, neighbours=1), Compose([*crop, plain]), seed=3)
    return list(DataLoader(dataset, batch_sampler=IterationSampler(4, 5), **kwargs))


def test_training_sees_the_same_items_with_any_cache_and_in_workers(items: Items, tmp_path: Path) -> None:
    expected = training_items(CacheDataset(items, preparation(), progress=False))
    for cache_dir in (None, tmp_path / "cache", tmp_path / "cache"):
        assert same(training_items(mapped(items, preparation(), cache_dir)), expected)
    volumes = mapped(items, preparation(), tmp_path / "cache")
    assert same(training_items(volumes, num_workers=2, multiprocessing_context="fork"), expected)
    assert same(training_items(pickle.loads(pickle.dumps(volumes))), expected)


@pytest.mark.slow
def test_workers_that_are_spawned(items: Items, tmp_path: Path) -> None:
    volumes = mapped(items, preparation(), tmp_path / "cache")
    spawn = multiprocessing.get_context("spawn")
    found = training_items(volumes, num_workers=1, multiprocessing_context=spawn)
    assert same(found, training_items(volumes))


def test_random_transforms_are_drawn_each_time_from_a_copy(tmp_path: Path) -> None:
    data = [{"image": torch.arange(100.0).view(1, 10, 10)}]
    log = str(tmp_path / "log")
    crop = RandSpatialCropd("image", [2, 2], random_size=False).set_random_state(seed=0)
    for cache_dir in (None, tmp_path / "cache"):
        dataset = mapped(data, Compose([Counted(log), crop]), cache_dir)
        corners = set()
        for _ in range(9):
            image = dataset[0]["image"]
            corners.add(float(image[0, 0, 0]))
            image.fill_(-1)
        assert len(corners) > 3 and min(corners) >= 0
    assert Path(log).read_text() == "xx"


SCRIPT = """
import sys
import torch.distributed as dist
from monai.transforms import Compose, Lambdad
from monai_cdiff.data import MappedCacheDataset
folder, rank = sys.argv[1], int(sys.argv[2])
sys.path.insert(0, folder)
from counted import Counted
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
data = [{"image": [[[float(n)]]]} for n in range(8)]
choose = Lambdad("image", lambda x: x if "image" in {"image", "label", "pred"} else None)
MappedCacheDataset(data, Compose([Counted(f"{folder}/log", 0.2), choose]), f"{folder}/cache", progress=False)
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_processes_that_train_together_share_the_work_and_the_files(tmp_path: Path) -> None:
    source = inspect.getsource(Counted)
    head = "import time\nfrom typing import Any\nfrom monai.transforms import Transform\n\n\n"
    (tmp_path / "counted.py").write_text(head + source)
    words = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    processes = [
        subprocess.Popen([*words, str(rank)], env={**os.environ, "PYTHONHASHSEED": str(rank + 1)}) for rank in range(2)
    ]
    assert [process.wait(120) for process in processes] == [0, 0]
    assert len(entries(tmp_path / "cache")) == 8  # not 16: the keys are those of the other process
    assert len((tmp_path / "log").read_text()) < 12
    assert not list((tmp_path / "cache").glob(".*"))


def test_threads_that_prepare_the_same_item(tmp_path: Path) -> None:
    data = [{"image": torch.ones(1, 64, 64)}] * 16
    dataset = mapped(data, Counted(str(tmp_path / "log"), 0.01), tmp_path / "cache", num_workers=8)
    assert len(entries(tmp_path / "cache")) == 1 and all((item["image"] == 1).all() for item in dataset)


class TestDamage:
    @pytest.fixture(autouse=True)
    def setup(self, tmp_path: Path) -> None:
        self.cache_dir = tmp_path / "cache"
        self.data = [{"image": torch.arange(2.0**16).view(1, 256, 256), "note": "a word to find"}]
        mapped(self.data, [], self.cache_dir)
        (self.file,) = self.cache_dir.glob("*.pt")
        self.whole = self.file.read_bytes()

    @pytest.mark.parametrize("length", [0, 10, 1000, -1000, -30])
    def test_cut_short(self, length: int, caplog: pytest.LogCaptureFixture) -> None:
        self.file.write_bytes(self.whole[:length])
        assert same(mapped(self.data, [], self.cache_dir)[0], self.data[0])
        assert f"{self.file} is damaged" in caplog.text and "It is made anew." in caplog.text
        assert len(self.file.read_bytes()) == len(self.whole)

    def test_altered_words(self, caplog: pytest.LogCaptureFixture) -> None:
        self.file.write_bytes(self.whole.replace(b"a word to find", b"another worded"))
        assert mapped(self.data, [], self.cache_dir)[0]["note"] == "a word to find"
        assert "CRC" in caplog.text

    def test_altered_voxels_are_found_by_verify(self, caplog: pytest.LogCaptureFixture) -> None:
        damaged = bytearray(self.whole)
        damaged[len(damaged) // 2] ^= 1
        self.file.write_bytes(damaged)
        assert not same(mapped(self.data, [], self.cache_dir)[0], self.data[0])
        assert "CRC" not in caplog.text
        assert same(mapped(self.data, [], self.cache_dir, verify=True)[0], self.data[0])
        assert "CRC" in caplog.text

    def test_deleted_while_in_use(self) -> None:
        dataset = pickle.loads(pickle.dumps(mapped(self.data, [], self.cache_dir)))
        self.file.unlink()
        assert same(dataset[0], self.data[0]) and self.file.is_file()

    def test_what_killed_processes_left(self) -> None:
        old, new = self.cache_dir / ".abc-1.tmp", self.cache_dir / ".abc-2.tmp"
        for file in (old, new):
            file.write_bytes(b"half")
        os.utime(old, (time.time() - 90000,) * 2)
        mapped(self.data, [], self.cache_dir)
        assert not old.exists() and new.exists()


@pytest.fixture
def ordinary_user() -> Iterator[Path]:
    """A folder, and the rights of one who is not root, whom nothing is read-only to."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            if root:
                os.seteuid(0)


def test_a_folder_that_can_only_be_read(ordinary_user: Path) -> None:
    cache_dir, data = ordinary_user / "cache", [{"image": torch.ones(1, 4, 4)}]
    mapped(data, [], cache_dir)
    cache_dir.chmod(0o555)
    assert same(mapped(data, [], cache_dir)[0], data[0])
    with pytest.raises(OSError, match=r"cache/\w+.pt cannot be written .* or hold all in memory with cache_dir=None"):
        mapped([{"image": torch.zeros(1, 4, 4)}], [], cache_dir)
    with pytest.raises(OSError, match="cache_dir=.*/below' cannot be made: .*Permission denied"):
        mapped(data, [], cache_dir / "below")
    (file,) = cache_dir.glob("*.pt")
    file.chmod(0)
    with pytest.raises(PermissionError, match=file.name):
        mapped(data, [], cache_dir)


def test_a_full_disk(tmp_path: Path) -> None:
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
    try:
        with pytest.raises(OSError, match="cannot be written .1.0 MiB are needed, .* MiB free.*Make room"):
            mapped([{"image": torch.ones(1, 512, 512)}], [], tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("setting", [{"cache_dir": ""}, {"num_workers": -1}, {"verify": 2}, {"progress": "maybe"}])
def test_settings_outside_what_is_allowed(setting: dict[str, Any]) -> None:
    (name,) = setting
    with pytest.raises(ValueError, match=f"{name}="):
        MappedCacheDataset([], [], **{"progress": False, **setting})


EXTRAS = [
    np.arange(6, dtype=">i2").reshape(2, 3)[:, ::-1],
    np.array(["a", "bé"]),
    np.array(1.5),
    [np.float32(0.1), np.uint16(7), np.str_("x"), np.bool_(True)],
    {"nested": (1, (2.0, None), [b"bytes", 1j]), 3: Path("/somewhere/else")},
    torch.arange(12, dtype=torch.uint8).view(3, 4)[:, ::2],
    MetaTensor(torch.arange(24.0).view(1, 2, 3, 4), affine=torch.eye(4) * 2, meta={"k": [np.eye(2)]}),
    {"type": [np.dtype("int16"), torch.float16], "float": float("inf")},
]


@pytest.mark.parametrize("value", EXTRAS, ids=lambda value: type(value).__name__)
def test_what_transforms_may_return(value: Any, tmp_path: Path) -> None:
    for cache_dir in (tmp_path, tmp_path, None):
        assert same(mapped([{"n": 0}], Returns(value), cache_dir)[0]["extra"], value)


def test_members_of_enums_become_plain(tmp_path: Path) -> None:
    assert type(mapped([{}], Returns({"space": SpaceKeys.RAS}), tmp_path)[0]["extra"]["space"]) is str


@pytest.mark.parametrize("value", [{"a": [object]}, np.array([None]), {1, 2}, np.longdouble(1)])
def test_what_cannot_be_kept(value: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"cannot be cached in a file; (allowed|convert)"):
        mapped([{}], Returns(value), tmp_path)
    mapped([{}], Returns(deepcopy(value)), None)


def test_the_error_says_where(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"the item\['extra'\]\['a'\]\[1\] is a builtins.type"):
        mapped([{}], Returns({"a": [0, int]}), tmp_path)


def mapped_kib(file: Path) -> tuple[int, int]:
    """What this process has of a file in memory, and what it has of its own, in KiB."""
    parts = Path("/proc/self/smaps").read_text().split(str(file))[1:]
    resident = sum(int(part.partition("Rss:")[2].split()[0]) for part in parts)
    own = Path("/proc/self/status").read_text().partition("RssAnon:")[2].split()[0]
    return resident, int(own)


def test_one_slice_is_read_and_nothing_is_copied(tmp_path: Path) -> None:
    volume = torch.rand(1, 256, 256, 256)
    mapped([{"image": volume}], [], tmp_path)
    dataset = mapped([{"image": volume}], [], tmp_path)
    (file,) = tmp_path.glob("*.pt")
    before, _ = mapped_kib(file)
    assert torch.equal(dataset[0]["image"][..., 100], volume[..., 100])
    after, own = mapped_kib(file)
    assert 256 <= after - before <= 2**12  # one slice has 256 KiB, a large page 2 MiB, the file 64 MiB
    assert dataset[0]["image"].sum() > 0
    resident, own_now = mapped_kib(file)
    assert resident >= 2**16 and own_now - own < 2**14
    assert len(pickle.dumps(dataset.__getstate__()["_held"])) < 100


def test_what_is_written_to_an_item_stays_in_the_process(tmp_path: Path) -> None:
    data = [{"image": torch.zeros(1, 8, 8)}]
    item = mapped(data, [], tmp_path)[0]
    item["image"].fill_(1)
    item["more"] = 1
    assert same(mapped(data, [], tmp_path)[0], data[0])


def test_other_data_keep_what_was_prepared(tmp_path: Path) -> None:
    dataset = mapped([{"image": torch.zeros(1, 8, 8)}], [], tmp_path)
    dataset.set_data([{"image": torch.ones(1, 8, 8)}])
    assert (dataset[0]["image"] == 1).all() and len(entries(tmp_path)) == 2


def test_the_log_counts_and_the_bar_shows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    data = [{"image": torch.full((1, 512, 512), float(n))} for n in range(3)]
    MappedCacheDataset(data[:2], [], tmp_path)
    assert f"2 images prepared, 2.0 MiB, in {tmp_path}, of which 0 found" in caplog.text
    assert "Preparing images: 100%" in capsys.readouterr().err
    mapped(data, [], tmp_path)
    assert f"3 images prepared, 3.0 MiB, in {tmp_path}, of which 2 found" in caplog.text
    mapped(data, [], None)
    assert "3 images prepared, 3.0 MiB, in memory" in caplog.text
    MappedCacheDataset(data, [], tmp_path)
    assert "Preparing" not in capsys.readouterr().err


def test_the_cache_of_the_training_that_a_checkpoint_lies_in(tmp_path: Path) -> None:
    own = str(tmp_path / "scores" / "cache")
    checkpoint = tmp_path / "run" / "checkpoints" / "model.pt"
    assert find_cache_dir(checkpoint, tmp_path / "scores") == own
    (tmp_path / "run" / "cache").mkdir(parents=True)
    assert find_cache_dir(checkpoint, tmp_path / "scores") == str(tmp_path / "run" / "cache")
    assert find_cache_dir(tmp_path / "run" / "models" / "model.pt", tmp_path / "scores") == own
