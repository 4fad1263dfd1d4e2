"""Prepared images kept in files that are mapped to memory, for every epoch, process and run to share."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist
from monai.data import PersistentDataset
from monai.transforms import RandomizableTrait, Transform

from ..utils import check_flag, check_integer
from .cache_key import ContentMemo, describe, describe_software, digest, item_key, item_paths
from .mapped_file import MIB, DamagedFileError, item_bytes, open_item, slices_in_a_row, write_item

__all__ = ["MappedCacheDataset", "find_cache_dir"]

_T = TypeVar("_T")
# Counts in the keys: raise it when the files change.
_FORMAT = 1
# Linux allows a process some 65000 maps.
_MOST_OPEN = 8192
_STALE_SECONDS = 24 * 3600

logger = logging.getLogger(__name__)


def find_cache_dir(checkpoint: str | os.PathLike[str], output_dir: str | os.PathLike[str]) -> str:
    """The folder for prepared images: that of the training a checkpoint lies in, else one in the output folder.

    Args:
        checkpoint: ``OUT/checkpoints/model.pt`` of a training; where ``OUT/cache`` is there and may be written to, its
            images need not be prepared again.
        output_dir: what is taken otherwise, with ``cache`` below it.

    Example:
        >>> find_cache_dir("/nowhere/checkpoints/model.pt", "/out")
        '/out/cache'
    """
    folder = Path(checkpoint).expanduser().absolute().parent
    trained = folder.parent / "cache"
    usable = folder.name == "checkpoints" and trained.is_dir() and os.access(trained, os.R_OK | os.W_OK | os.X_OK)
    return str(trained) if usable else str(Path(output_dir) / "cache")


class MappedCacheDataset(PersistentDataset):
    """MONAI's ``CacheDataset`` without its memory: what the deterministic transforms make of an item is kept in a file.

    The files are mapped to memory, so that ``dataset[n]["image"][..., z]`` reads that slice and nothing else, and
    processes share what the system holds of them. Worker processes, the processes of a distributed training and later
    runs all use the same files; of processes that train together each prepares a share. Items are equal, bit by bit
    and with their metadata, to those without a cache, except that the ids of transforms, which are addresses in
    memory, are ``TraceKeys.NONE``, that members of enums are their plain values, and that all tensors are on the CPU.

    A file is found again by the content of the files that the item names, the item's other values, the deterministic
    transforms with their settings, and the versions of the software. Nothing in the folder goes out of date; it may be
    deleted whenever no process uses it. Code that a transform of your own calls in another file is not looked at:
    delete the folder after changing it.

    Args:
        data: the items; strings in them that name a file or folder count by its content and its last name.
        transform: as for ``CacheDataset``: those before the first random one are done once.
        cache_dir: folder for the files, made if need be; None holds the items in memory, as ``CacheDataset`` does.
        num_workers: threads that prepare items.
        progress: show a bar while items are prepared.
        verify: compare the checksums of all that was found, which reads it once; without, files that are cut short or
            whose metadata were altered are noticed, altered voxels are not.

    Raises:
        ValueError: for values outside what is allowed, or a transform whose settings cannot be told.
        TypeError: if the transforms make something that cannot be kept in a file.
        OSError: if the folder cannot be made, read or written.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from monai.transforms import ScaleIntensityd
        >>> data = [{"image": torch.arange(4.0).view(1, 2, 2)}]
        >>> dataset = MappedCacheDataset(data, ScaleIntensityd("image", 0, 3), tempfile.mkdtemp(), progress=False)
        >>> dataset[0]["image"].flatten().tolist()
        [0.0, 1.0, 2.0, 3.0]
    """

    def __init__(
        self,
        data: Sequence[Any],
        transform: Sequence[Callable] | Callable,
        cache_dir: str | os.PathLike[str] | None = None,
        num_workers: int = 1,
        progress: bool = True,
        verify: bool = False,
    ) -> None:
        self.num_workers = check_integer("num_workers", num_workers, 0)
        self.progress = check_flag("progress", progress)
        self.verify = check_flag("verify", verify)
        super().__init__(data, transform, None if cache_dir is None else _made(cache_dir))
        self._files: list[Path] = []
        self._held: dict[int, Any] = {}
        self.set_data(data)

    def set_data(self, data: Sequence[Any]) -> None:
        """Take other items, and prepare those that are not in the cache; nothing is deleted."""
        start = time.perf_counter()
        self.data = data
        self._held = {}
        if self.cache_dir is not None:
            _sweep(self.cache_dir)
            self._files = self._find_files(self.cache_dir)
        absent = sum(self.cache_dir is None or not self._files[n].is_file() for n in range(len(data)))
        sizes = self._each(self._hold, _own_share_first(len(data)), show=absent > 0)
        place = "in memory" if self.cache_dir is None else f"in {self.cache_dir}, of which {len(data) - absent} found"
        seconds = time.perf_counter() - start
        logger.info("%d images prepared, %.1f MiB, %s, in %.1f s.", len(data), sum(sizes) / MIB, place, seconds)

    def _find_files(self, folder: Path) -> list[Path]:
        memo = ContentMemo(folder / "contents.json")
        how = digest((_FORMAT, describe_software(), self._describe_transforms()))
        keys = self._each(lambda n: digest((item_key(self.data[n], memo), how)), range(len(self.data)))
        try:
            memo.save()
        except OSError as error:  # a folder that can only be read serves all the same
            logger.info("%s: the hashes of the images are not kept: %s", folder, error)
        return [folder / f"{key}.pt" for key in keys]

    def _describe_transforms(self) -> list[Any]:
        described = [describe({name: value for name, value in vars(self.transform).items() if name != "transforms"})]
        for n, transform in enumerate(self.transform.transforms[: self._first_random()]):
            try:
                described.append(describe(transform))
            except Exception as error:  # objects that will not be taken apart raise many kinds
                raise ValueError(
                    f"transform {n}, {type(transform).__name__}, holds what cannot be told from other settings: "
                    f"{error}; allowed: plain values, arrays, functions, and objects of them. Or hold all in memory "
                    "with cache_dir=None."
                ) from error
        return described

    def _first_random(self) -> int | None:
        """Where MONAI's datasets divide the transforms; what is no MONAI transform counts as random."""
        index: int | None = self.transform.get_index_of_first(
            lambda one: isinstance(one, RandomizableTrait) or not isinstance(one, Transform)
        )
        return index

    def _each(self, work: Callable[[int], _T], order: Sequence[int], show: bool = False) -> list[_T]:
        with ThreadPoolExecutor(max(self.num_workers, 1)) as pool:
            results: Iterable[_T] = pool.map(work, order)
            if show and self.progress:
                from tqdm import tqdm

                results = tqdm(results, total=len(order), desc="Preparing images")
            return list(results)

    def _hold(self, index: int) -> int:
        """Have an item prepared; its size in bytes."""
        item = self._prepared(index)
        return item_bytes(item) if self.cache_dir is None else self._files[index].stat().st_size

    def _prepared(self, index: int) -> Any:
        """The item after the deterministic transforms, held in memory or mapped."""
        index = range(len(self.data))[index]
        held = self._held.get(index)
        if held is None:
            held = self._mapped(index) if self.cache_dir is not None else slices_in_a_row(self._made_anew(index))
            self._held[index] = held
            if self.cache_dir is not None and len(self._held) > _MOST_OPEN:
                self._held.pop(next(iter(self._held)), None)
        return held

    def _mapped(self, index: int) -> Any:
        file, paths = self._files[index], item_paths(self.data[index])
        try:
            return open_item(file, paths, self.verify)
        except FileNotFoundError:
            pass
        except DamagedFileError as error:
            logger.warning("%s It is made anew.", error)
        write_item(self._made_anew(index), file, paths)
        return open_item(file, paths)

    def _made_anew(self, index: int) -> Any:
        return self._pre_transform(deepcopy(self.data[index]))

    def _transform(self, index: int) -> Any:
        held = self._prepared(index)
        if self._first_random() is not None:
            return self._post_transform(deepcopy(held))
        return dict(held) if isinstance(held, dict) else held

    def __getstate__(self) -> dict[str, Any]:
        """Files are mapped anew where the dataset is sent to."""
        return {**vars(self), "_held": self._held if self.cache_dir is None else {}}


def _made(cache_dir: str | os.PathLike[str]) -> Path:
    if not os.fspath(cache_dir):
        raise ValueError("cache_dir='' must be a folder, or None to hold all in memory.")
    folder = Path(os.path.abspath(os.path.expanduser(cache_dir)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"cache_dir={str(cache_dir)!r} cannot be made: {error}. Name a folder that can be written, or hold all in "
            "memory with cache_dir=None."
        ) from error
    return folder


def _sweep(folder: Path) -> None:
    """Remove what processes that were killed left half-written."""
    for file in (*folder.glob(".*.tmp"), *folder.glob(".*-contents.json")):
        try:
            if time.time() - file.stat().st_mtime > _STALE_SECONDS:
                file.unlink()
        except OSError:  # another process was faster, or the folder can only be read
            logger.debug("%s stays.", file)


def _own_share_first(count: int) -> list[int]:
    """All numbers below ``count``, from where the share of this process of a distributed training begins."""
    together = dist.is_available() and dist.is_initialized()
    first = dist.get_rank() * count // dist.get_world_size() if together else 0
    return [*range(first, count), *range(first)]
