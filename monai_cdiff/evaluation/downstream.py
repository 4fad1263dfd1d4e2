"""What a downstream network makes of a restored image: its class, its structures, and how far these overlap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor

from ..utils import check_integer
from .judge_bundle import JudgeBundle

__all__ = ["Classifier", "Segmenter", "dice_per_structure"]

_SAME_PLACE = 0.01  # of a voxel


class Classifier:
    """A bundle that tells the class of an image, as a judge of restorations.

    Any bundle that keeps to MONAI's specification will do: its metadata call the output ``classes`` or
    ``probabilities`` and name them in ``channel_def``, and its postprocessing ends in probabilities.

    Args:
        bundle: folder of the bundle, for example ``bundles/classify``.
        device: where the network runs.
        checkpoint: weights; None takes those of the bundle.

    Raises:
        FileNotFoundError: if there is no such bundle, or it has no weights; the message says how to train them.
        ValueError: if the bundle is none of a classifier, or its weights do not fit.

    Attributes:
        classes: names of the classes, in the order of the probabilities.

    Example:
        >>> Classifier("bundles/classify").predict("chest.png")  # doctest: +SKIP
        tensor([0.0312, 0.9021, 0.0667])
    """

    def __init__(
        self, bundle: str | Path, device: str | torch.device = "cpu", checkpoint: str | Path | None = None
    ) -> None:
        self._bundle = JudgeBundle(bundle, device, checkpoint)
        kinds = {self._bundle.outputs.get("type"), self._bundle.outputs.get("format")}
        if not kinds & {"classes", "probabilities", "labels"}:
            raise ValueError(_other_kind(self._bundle, "classifies", "format 'classes'"))
        self.classes = self._bundle.channels

    @property
    def sha256(self) -> str:
        """SHA-256 of the file of the weights."""
        return self._bundle.sha256

    def predict(self, image: torch.Tensor | str | Path) -> torch.Tensor:
        """The probability of each class.

        Args:
            image: (1, H, W), columns first as ``RasterReader`` reads a picture; a volume (1, H, W, D) for a bundle of
                volumes; or a file.

        Returns:
            Tensor (number of classes,), of sum 1.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the image has another shape, or the bundle does not give probabilities.
        """
        found = self._bundle.run(self._bundle.write(image) if isinstance(image, torch.Tensor) else image)
        probabilities = torch.as_tensor(found).flatten().float()
        plain = probabilities.as_tensor() if isinstance(probabilities, MetaTensor) else probabilities
        if len(plain) != len(self.classes) or plain.min() < 0 or abs(float(plain.sum()) - 1) > 1e-2:
            raise ValueError(
                f"bundle={str(self._bundle.root)!r}: its postprocessing gives {plain[:10].tolist()}; allowed: a "
                f"probability for each of the classes {', '.join(self.classes)}."
            )
        return plain

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What the last linear layer decides by, for distances between sets of images of this kind.

        Args:
            images: (B, 1, H, W), in any unit.

        Returns:
            Tensor (B, F): for ``bundles/classify`` 512 features, pooled over the image.

        Raises:
            ValueError: if the images have another shape, or the network has no linear layer.
        """
        if images.ndim != 4 or images.shape[1] != 1 or not len(images):
            raise ValueError(f"images has shape {tuple(images.shape)}; allowed: (B, 1, H, W).")
        layers = [layer for layer in self._bundle.network.modules() if isinstance(layer, torch.nn.Linear)]
        if not layers:
            raise ValueError(f"bundle={str(self._bundle.root)!r}: its network has no linear layer to take features of.")
        seen: list[torch.Tensor] = []

        def look(layer: torch.nn.Module, inputs: Any) -> None:
            x = inputs[0].detach()
            seen.append((x.as_tensor() if isinstance(x, MetaTensor) else x).flatten(1).float().cpu())

        hook = layers[-1].register_forward_pre_hook(look)
        try:
            for image in images:
                self._bundle.run(self._bundle.write(image))
        finally:
            hook.remove()
        return torch.cat(seen)


class Segmenter:
    """A bundle that finds structures in a volume, as a judge of restorations.

    Any bundle that keeps to MONAI's specification will do: its metadata call the output a ``segmentation``, its first
    channel is the background, and its postprocessing brings the prediction back onto the grid of the file that was
    read, as ``Invertd`` does.

    Args:
        bundle: folder of the bundle, for example ``bundles/segment``.
        device: where the network runs.
        checkpoint: weights; None takes those of the bundle.

    Raises:
        FileNotFoundError: if there is no such bundle, or it has no weights; the message says how to train them.
        ValueError: if the bundle is none of a segmentation, or its weights do not fit.

    Attributes:
        structures: names of the structures; the label of the first is 1.

    Example:
        >>> Segmenter("bundles/segment").segment(volume).unique()  # doctest: +SKIP
        tensor([0, 1, 2])
    """

    def __init__(
        self, bundle: str | Path, device: str | torch.device = "cpu", checkpoint: str | Path | None = None
    ) -> None:
        self._bundle = JudgeBundle(bundle, device, checkpoint)
        if self._bundle.outputs.get("format") != "segmentation" or len(self._bundle.channels) < 2:
            raise ValueError(_other_kind(self._bundle, "segments", "format 'segmentation'"))
        self.structures = self._bundle.channels[1:]

    @property
    def sha256(self) -> str:
        """SHA-256 of the file of the weights."""
        return self._bundle.sha256

    def segment(self, volume: MetaTensor) -> torch.Tensor:
        """The structures of a volume.

        Args:
            volume: (1, H, W, D) with its affine to RAS in mm.

        Returns:
            Labels (H, W, D) on the volume's own grid, int64: 0, or the number of a structure.

        Raises:
            ValueError: if the volume has another shape, or the prediction lies on another grid.
        """
        if not isinstance(volume, MetaTensor) or volume.ndim != 4:
            shape = tuple(getattr(volume, "shape", ()))
            raise ValueError(f"volume is a {type(volume).__name__} of shape {shape}; allowed: MetaTensor (1, H, W, D).")
        found = self._bundle.run(self._bundle.write(volume))
        if found.shape[1:] != volume.shape[1:] or not _same_place(found, volume):
            raise ValueError(
                f"bundle={str(self._bundle.root)!r}: its prediction {tuple(found.shape[1:])} lies on another grid than "
                f"the volume {tuple(volume.shape[1:])}; its postprocessing must undo what its preprocessing did."
            )
        plain = found.as_tensor() if isinstance(found, MetaTensor) else found
        labels = (plain[0].round() if len(plain) == 1 else plain.argmax(dim=0)).long()
        if int(labels.min()) < 0 or int(labels.max()) > len(self.structures):
            raise ValueError(f"bundle={str(self._bundle.root)!r}: it gives labels that its metadata do not name.")
        return labels


def dice_per_structure(prediction: torch.Tensor, label: torch.Tensor, num_structures: int) -> torch.Tensor:
    """Dice coefficient of each structure, by MONAI.

    Args:
        prediction: labels (H, W, D), or with a channel before them: 0, or the number of a structure.
        label: the truth on the same grid, in the same form; of two ``MetaTensor`` the affines are compared.
        num_structures: how many there are, the background left out.

    Returns:
        Tensor (num_structures,), float32: NaN for a structure that is in neither, 0 for one that is in only one.

    Raises:
        ValueError: if the two lie on different grids, or hold values other than 0 to ``num_structures``.

    Example:
        >>> truth = torch.tensor([[[0, 1], [1, 0]]])
        >>> dice_per_structure(torch.tensor([[[0, 1], [0, 0]]]), truth, 2)
        tensor([0.6667,    nan])
    """
    from monai.metrics import compute_dice
    from monai.networks import one_hot

    check_integer("num_structures", num_structures, 1)
    if prediction.shape != label.shape or not _same_place(prediction, label):
        raise ValueError(
            f"prediction {tuple(prediction.shape)} and label {tuple(label.shape)} lie on different grids; bring one "
            "onto the grid of the other first."
        )
    maps = []
    for name, labels in (("prediction", prediction), ("label", label)):
        values = labels.as_tensor() if isinstance(labels, MetaTensor) else labels
        unknown = [v for v in values.unique().tolist() if v not in range(num_structures + 1)]
        if unknown:
            raise ValueError(f"{name} holds {unknown[:5]}; allowed are the whole numbers 0 to {num_structures}.")
        maps.append(one_hot(values.reshape(1, 1, -1).cpu(), num_structures + 1)[:, 1:])
    dice = compute_dice(maps[0], maps[1], ignore_empty=False)[0]
    absent = ~(maps[0] + maps[1]).bool().any(dim=-1)[0]
    return torch.where(absent, torch.nan, dice).float()


def _same_place(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two images lie in the same place, to a hundredth of a voxel; True where one says nothing."""
    if not isinstance(one, MetaTensor) or not isinstance(other, MetaTensor):
        return True
    a, b = one.affine.double().cpu(), other.affine.double().cpu()
    if a.shape != b.shape:
        return False
    reach = torch.tensor([*other.shape[-(len(b) - 1) :], 1.0], dtype=torch.float64)
    return bool(((torch.linalg.inv(b) @ a - torch.eye(len(a))) @ torch.diag(reach)).abs().max() <= _SAME_PLACE)


def _other_kind(bundle: JudgeBundle, does: str, needed: str) -> str:
    kind = {name: bundle.outputs.get(name) for name in ("type", "format")}
    return f"bundle={str(bundle.root)!r} is none that {does}: its output pred is {kind}; needed: {needed}."
