"""The test set of a bundle: images, degraded as its ``evaluate.json`` does it, beside their originals."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor, list_data_collate

from ..data import ItemDataset, check_unseen, spacing_range
from ..handlers import TrainedRangeHandler, checkpoint_sha256, load_network, trained_settings
from ..operators import downsample
from ..transforms import UnscaleIntensityPatientwise
from ..utils import as_plain, check_option, check_settings, root_cause

__all__ = ["BundleEvaluation", "Case", "TEST_SET_IDS"]

# Ids of evaluate.json that decide what the test images are; a rival gets those of the test set.
TEST_SET_IDS = (
    "dataset_dir", "split", "series", "plane", "split_seed", "noise", "noise_seed", "mask", "mask_seed", "factor",
    "domain",
)  # fmt: skip
# Ids that a network brings along from its training, and that must be those of the test set.
_FIXED = ("normalisation", "image_size", "spatial_dims")
_OVERLAY = "evaluate_regression.json"
_SCALE_MIN, _SCALE_MAX = -1.0, 1.0  # of the networks; scores are on 0 to 1


class Case(NamedTuple):
    """An item of a test set on the scale of the scores: 0 to 1, values may lie beyond.

    Args:
        position: in the data set.
        subject: whose it is.
        volume: position of the volume that it is a slice of.
        slice_index: which slice, None for a whole image.
        name: how it is called in figures.
        original: (H, W) or (H, W, D), float32.
        condition: the degraded image, of the original's shape.
        mask: 1 where the image is to be filled; None for tasks without.
        low_res: the image of low resolution that the condition was interpolated from; None for tasks without.
        digest: of its content and key, 16 hexadecimal digits.
    """

    position: int
    subject: str
    volume: int
    slice_index: int | None
    name: str
    original: np.ndarray
    condition: np.ndarray
    mask: np.ndarray | None
    low_res: np.ndarray | None
    digest: str


class BundleEvaluation:
    """A bundle's ``evaluate.json``, read with overrides, without its engine.

    Args:
        bundle: the bundle's folder.
        overrides: ids of ``evaluate.json`` and their values; ``checkpoint`` decides whether the overlay for regressions
            is read as well.

    Raises:
        FileNotFoundError: if the bundle, the checkpoint or the data do not exist.
        ValueError: if an override is no id of the configuration or out of range, or the checkpoint is of another task.

    Example:
        >>> evaluation = BundleEvaluation("bundles/denoise", {"dataset_dir": "/data/xrays"})  # doctest: +SKIP
        >>> evaluation.case(0).original.shape  # doctest: +SKIP
        (224, 224)
    """

    def __init__(self, bundle: str | os.PathLike[str], overrides: Mapping[str, Any]) -> None:
        self.root = Path(bundle).expanduser().absolute()
        self.overrides = dict(overrides)
        file = self.root / "configs" / "evaluate.json"
        if not file.is_file():
            raise FileNotFoundError(f"bundle={str(bundle)!r}: {file} does not exist; give the folder of a bundle.")
        self.parser = ConfigParser()
        self.parser.read_config([str(file)])
        overlay = self.root / "configs" / _OVERLAY
        added = json.loads(overlay.read_text(encoding="utf-8")) if overlay.is_file() else {}
        own = dict(self.parser.get())
        _check_ids({**own, **added}, overrides, file)
        self.parser.update({"bundle_root": str(self.root), **overrides})
        self.task = str(self["task"])
        check_option("split", self["split"], ("training", "validation", "test"))
        self.checkpoint = str(self["checkpoint"])
        self.trained = trained_settings(self.checkpoint, self.task)
        self.is_regression = self.trained.get("method") == "regression"
        if not self.is_regression:
            _check_ids(own, overrides, file)
        elif not added:
            raise FileNotFoundError(f"{self.checkpoint} is a regression, but {overlay} does not exist.")
        else:
            self.parser.update({**added, "bundle_root": str(self.root), **overrides})
        if "progress" in self.parser.get("inferer"):
            self.parser["inferer#progress"] = False
        check_settings(self.get("checked") or {})
        self._network: torch.nn.Module | None = None
        self._dataset: ItemDataset | None = None
        self._items: dict[int, list[int]] = {}
        self._digests: dict[int, str] = {}

    def __getitem__(self, name: str) -> Any:
        """The value of an id; what MONAI wraps is raised as it was.

        Raises:
            Exception: what the configuration raised.
        """
        try:
            return self.parser.get_parsed_content(name)
        except RuntimeError as error:
            raise root_cause(error) from error

    def get(self, name: str) -> Any:
        """The value of an id, None if the configuration has no such id."""
        return self[name] if name in self.parser.get() else None

    @property
    def sha256(self) -> str:
        """Of the checkpoint."""
        return checkpoint_sha256(self.checkpoint)

    def settings(self, names: Sequence[str] = (*TEST_SET_IDS, *_FIXED)) -> dict[str, Any]:
        """The values of ids, of those that the configuration has."""
        return {name: self.get(name) for name in names if name in self.parser.get()}

    @property
    def dataset(self) -> ItemDataset:
        """The items; subjects of the training are refused, but in ``split="training"``."""
        if self._dataset is None:  # asked for by every item, so looked at once
            if self["split"] != "training":
                check_unseen(self["datalist"][self["split"]], self.trained, self.get("cache_dir"))
            found = self["dataset"]
            if not isinstance(found, ItemDataset):
                raise ValueError(f"{self.root}: id 'dataset' is {type(found).__name__}; it must be an ItemDataset.")
            self._dataset = found
        return self._dataset

    def spacing(self) -> list[list[float]]:
        """Smallest and largest voxel size of the test images along each axis, in mm; nothing for pictures."""
        return spacing_range(self.dataset.volumes)

    def beyond_training(self) -> list[str]:
        """In which ways the test images are others than those of the training: factor, voxel size."""
        known = TrainedRangeHandler(self.trained, self.get("factor"))
        return [text for text in (known.about_factor(), known.about_spacing(self.spacing())) if text]

    def __len__(self) -> int:
        return len(self.dataset)

    def case(self, position: int) -> Case:
        """One item, on the scale of the scores."""
        item = self.dataset[position]
        volume, z = self.dataset.index[position]
        image, condition = (as_plain(item[key]).float() for key in ("image", "condition"))
        low_res = self.get("factor") and downsample(image[None], self["factor"], domain=self["domain"])[0]
        meta = item["image"].meta
        return Case(
            position=position,
            subject=str(meta.get("subject", volume)),
            volume=volume,
            slice_index=z,
            name=str(meta.get("key", meta.get("subject", volume))) + ("" if z is None else f" slice {z}"),
            original=_scored(image[0]),
            condition=_scored(condition[0]),
            mask=condition[1].numpy() if self.task == "inpaint" else None,
            low_res=_scored(low_res[0]) if isinstance(low_res, torch.Tensor) else None,
            digest=_digest(self._volume_digest(volume), meta.get("key"), z),
        )

    def image(self, volume: int, slices: Sequence[np.ndarray] | None = None) -> MetaTensor:
        """A whole image of the test set in stored units, on its place in the patient.

        Args:
            volume: its position among the images.
            slices: restorations of its items, in their order, on the scale of the scores; None gives the original.

        Returns:
            Shape (1, H, W) or (1, H, W, D).
        """
        original = self.dataset.volumes[volume]["image"]
        if slices is None:
            return self._unscaled(original, original)
        sliced = self.dataset.index[self.items_of(volume)[0]][1] is not None
        values = torch.from_numpy(np.stack(slices, axis=-1) if sliced else np.asarray(slices[0]))[None]
        scaled = values * (_SCALE_MAX - _SCALE_MIN) + _SCALE_MIN
        return self._unscaled(MetaTensor(scaled, affine=original.affine), original)

    @staticmethod
    def _unscaled(image: MetaTensor, reference: MetaTensor) -> MetaTensor:
        return MetaTensor(as_plain(UnscaleIntensityPatientwise()(image, reference)), affine=reference.affine)

    def items_of(self, volume: int) -> list[int]:
        """Positions of the items that an image was cut into."""
        if not self._items:
            for n, (of, _) in enumerate(self.dataset.index):
                self._items.setdefault(of, []).append(n)
        return self._items[volume]

    def entry(self, volume: int) -> dict[str, Any]:
        """An image's entry in the datalist."""
        found: dict[str, Any] = self["datalist"][self["split"]][volume]
        return found

    def _volume_digest(self, volume: int) -> str:
        if volume not in self._digests:
            images = self.dataset.volumes[volume]
            self._digests[volume] = _digest(*(_plain_bytes(as_plain(images[key])) for key in ("image", "condition")))
        return self._digests[volume]

    def restore(self, positions: Sequence[int]) -> list[np.ndarray]:
        """What the bundle's inferer and the checkpoint make of items of one volume, on the scale of the scores.

        Args:
            positions: of the items, all of one volume.

        Returns:
            An array for each, of whatever shape the network returned.

        Raises:
            ValueError: if the weights do not fit the network, or the network returns NaN.
        """
        batch = list_data_collate([{"condition": self.dataset[n]["condition"]} for n in positions])
        condition = batch["condition"].to(self["device"])
        return [_scored(image[0]) for image in as_plain(self["inferer"](condition, self.network)).cpu().float()]

    @property
    def network(self) -> torch.nn.Module:
        """With the weights of the checkpoint."""
        if self._network is None:
            self._network = self["network"]
            load_network(self["network_def"], self.checkpoint, {"scheduler": self["sampler"]})
        return self._network

    def check_alike(self, other: BundleEvaluation, name: str) -> None:
        """Refuse a network that sees the test set of ``other`` on another scale or grid.

        Args:
            other: the one whose test set it is.
            name: of the method, for the message.

        Raises:
            ValueError: if normalisation, image size or dimensions differ.
        """
        for key in _FIXED:
            if self.get(key) != other.get(key):
                raise ValueError(
                    f"{name}: trained with {key}={self.get(key)!r}, the test set has {other.get(key)!r}; scores on "
                    "different scales or grids cannot be compared. Score it alone by evaluate.json of the bundle."
                )


def _scored(image: torch.Tensor) -> np.ndarray:
    array: np.ndarray = ((image - _SCALE_MIN) / (_SCALE_MAX - _SCALE_MIN)).numpy().astype(np.float32)
    return array


def _plain_bytes(image: torch.Tensor) -> bytes:
    return image.contiguous().numpy().tobytes()


def _digest(*parts: Any) -> str:
    content = b"\0".join(part if isinstance(part, bytes) else str(part).encode() for part in parts)
    return hashlib.sha256(content).hexdigest()[:16]


def _check_ids(known: Mapping[str, Any], overrides: Mapping[str, Any], file: Path) -> None:
    for name, (root, *within) in ((name, name.split("#")) for name in overrides):
        if root not in known:
            near = difflib.get_close_matches(root, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ValueError(f"{name}={overrides[name]!r}: {file} has no id {root!r}.{hint}")
        if within and not isinstance(known[root], (dict, list)):
            raise ValueError(
                f"{name}={overrides[name]!r}: {root} is no dictionary in {file}, but comes from the checkpoint; give "
                f"{root} whole."
            )
