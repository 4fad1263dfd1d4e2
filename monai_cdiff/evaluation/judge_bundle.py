"""A MONAI bundle put to use on one image at a time: its own weights, preprocessing, inferer and postprocessing."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor

from ..handlers import checkpoint_sha256
from ..utils import root_cause

__all__ = ["JudgeBundle"]

_ENDINGS = (".json", ".yaml", ".yml")
_NEEDED = ("network_def", "preprocessing", "inferer", "postprocessing")
_WEIGHTS = "models/model.pt"
# the entry of a checkpoint that holds the weights, by who wrote it; else the file is the weights themselves
_ENTRIES = ("ema_network", "network", "model", "state_dict")


class JudgeBundle:
    """The inference of a bundle that keeps to MONAI's specification, without its loops over folders.

    Of ``configs/inference.json`` (or YAML) the ids ``network`` (else ``network_def``), ``preprocessing``, ``inferer``
    and ``postprocessing`` are taken, with ``image`` in and ``pred`` out; what the outputs mean is read from
    ``network_data_format`` of ``configs/metadata.json``. What the bundle writes goes to a folder that is removed again.

    Args:
        bundle: folder of the bundle.
        device: where the network runs.
        checkpoint: weights; None takes those that the bundle's ``checkpoint`` names, else ``models/model.pt``.

    Raises:
        FileNotFoundError: if there is no such bundle, or it has no weights; the message says how to train them.
        ValueError: if the bundle lacks an id, takes more than one channel, or the weights do not fit.

    Attributes:
        outputs: the entry ``outputs.pred`` of the metadata.
        channels: the names of the output channels, in their order.
        network: with its weights, in evaluation mode.
        weights: the file of the weights.
    """

    def __init__(
        self, bundle: str | Path, device: str | torch.device = "cpu", checkpoint: str | Path | None = None
    ) -> None:
        self.root = Path(bundle).expanduser().absolute()
        self.device = torch.device(device)
        self._config = self._file("inference")
        metadata = self._read(self._file("metadata"))
        self.outputs, self.channels = self._data_format(metadata)
        self._folder = tempfile.TemporaryDirectory(prefix="monai_cdiff-")
        parser = self._parser(checkpoint)
        self.weights = self._find_weights(parser, checkpoint)
        self.network = self._parsed(parser, "network" if "network" in parser else "network_def").to(self.device)
        self._load_weights()
        self._preprocessing, self._inferer, self._postprocessing = (self._parsed(parser, id) for id in _NEEDED[1:])

    @property
    def sha256(self) -> str:
        """SHA-256 of the file of the weights."""
        return checkpoint_sha256(self.weights)

    def write(self, image: torch.Tensor) -> Path:
        """Write an image as a NIfTI file for the bundle to read, replaced by the next one.

        Args:
            image: (1, H, W) or (1, H, W, D); a ``MetaTensor`` keeps its place in space.

        Raises:
            ValueError: if it has another shape, or values that are not finite.
        """
        import nibabel

        plain = torch.as_tensor(image)
        if plain.ndim not in (3, 4) or plain.shape[0] != 1 or 0 in plain.shape:
            raise ValueError(f"image has shape {tuple(plain.shape)}; allowed: (1, H, W) or (1, H, W, D), one channel.")
        if not bool(torch.isfinite(plain).all()):
            raise ValueError("image holds values that are not finite; there is nothing to be made of them.")
        values = (plain.as_tensor() if isinstance(plain, MetaTensor) else plain).detach().cpu().float().numpy()[0]
        affine = image.affine.cpu().numpy() if isinstance(image, MetaTensor) else None
        path = Path(self._folder.name, "image.nii")
        nifti = nibabel.Nifti1Image(values, _four_by_four(affine))
        nifti.header.set_xyzt_units("mm")
        nifti.to_filename(path)
        return path

    def run(self, file: str | Path) -> torch.Tensor:
        """What the bundle makes of a file: ``pred`` after its postprocessing, on the CPU.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the bundle cannot read it, or makes no image of one channel of it.
        """
        from monai.data import decollate_batch, list_data_collate

        path = Path(file).expanduser().absolute()
        if not path.exists():
            raise FileNotFoundError(f"image={str(file)!r} does not exist.")
        try:
            item = self._preprocessing({"image": str(path)})
        except Exception as error:
            raise ValueError(f"{path}: the bundle {self.root} cannot prepare it: {root_cause(error)}") from error
        if item["image"].shape[0] != 1:
            raise ValueError(f"{path}: has {item['image'].shape[0]} channels; the bundle {self.root} takes one.")
        batch = list_data_collate([{"image": item["image"]}])
        with torch.no_grad():
            batch["pred"] = self._inferer(batch["image"].to(self.device), self.network)
        (result,) = decollate_batch(batch)
        prediction: torch.Tensor = self._postprocessing(result)["pred"]
        return prediction.cpu()

    def _file(self, name: str) -> Path:
        places = [self.root / "configs" / f"{name}{ending}" for ending in _ENDINGS]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            raise FileNotFoundError(f"bundle={str(self.root)!r} is no bundle: {places[0]} does not exist, nor as YAML.")
        return found

    def _read(self, file: Path) -> dict[str, Any]:
        from monai.bundle import ConfigParser

        try:
            content = ConfigParser.load_config_file(str(file))
        except Exception as error:  # parsers of JSON and YAML raise kinds of their own
            raise ValueError(f"{file} cannot be read: {error}") from error
        return dict(content)

    def _data_format(self, metadata: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        try:
            data = metadata["network_data_format"]
            (image,), outputs = data["inputs"].values(), data["outputs"]["pred"]
            names = {int(number): str(name) for number, name in outputs["channel_def"].items()}
            channels = [names[number] for number in range(int(outputs["num_channels"]))]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"bundle={str(self.root)!r}: network_data_format of its metadata needs one input, and an output pred "
                f"with num_channels and a channel_def for each ({type(error).__name__}: {error})."
            ) from error
        if int(image.get("num_channels", 1)) != 1:
            raise ValueError(f"bundle={str(self.root)!r} takes {image['num_channels']} channels; images here have one.")
        return dict(outputs), channels

    def _parser(self, checkpoint: str | Path | None) -> Any:
        from monai.bundle import ConfigParser

        config = self._read(self._config)
        lacking = [name for name in _NEEDED if name not in config]
        if lacking:
            raise ValueError(f"bundle={str(self.root)!r}: {self._config.name} lacks {', '.join(map(repr, lacking))}.")
        folder = self._folder.name
        known = {"input_dir": folder, "dataset_dir": folder, "output_dir": f"{folder}/written"}
        known |= {} if checkpoint is None else {"checkpoint": str(Path(checkpoint).expanduser().absolute())}
        known = {name: value for name, value in known.items() if name in config}
        return ConfigParser({**config, **known, "bundle_root": str(self.root), "device": self.device})

    def _parsed(self, parser: Any, name: str) -> Any:
        try:
            return parser.get_parsed_content(name)
        except Exception as error:  # MONAI wraps errors of all kinds
            raise ValueError(f"bundle={str(self.root)!r}: {name}: {root_cause(error)}") from error

    def _find_weights(self, parser: Any, checkpoint: str | Path | None) -> Path:
        named = checkpoint or (self._parsed(parser, "checkpoint") if "checkpoint" in parser else None)
        path = Path(named or self.root / _WEIGHTS).expanduser().absolute()
        if not path.is_file() and checkpoint is not None:
            raise FileNotFoundError(f"checkpoint={str(checkpoint)!r} does not exist.")
        if not path.is_file():
            places = " nor ".join(dict.fromkeys(map(str, (path, self.root / _WEIGHTS))))
            raise FileNotFoundError(
                f"bundle={str(self.root)!r} has no weights: there is no {places}. Train them: "
                f"python -m monai.bundle run training --config_file {self.root}/configs/train.json --bundle_root "
                f"{self.root} --dataset_dir LIST.json"
            )
        return path

    def _load_weights(self) -> None:
        try:
            content = torch.load(self.weights, map_location="cpu", weights_only=True)
        except Exception as error:
            raise ValueError(f"{self.weights} cannot be read as weights ({type(error).__name__}).") from error
        state = next((content[name] for name in _ENTRIES if isinstance(content.get(name), Mapping)), content)
        try:
            self.network.load_state_dict(state)
        except RuntimeError as error:
            text = " ".join(str(error).split())
            raise ValueError(f"{self.weights} does not fit the network of {self.root}: {text[:300]}") from error
        self.network.eval().requires_grad_(False)


def _four_by_four(affine: Any) -> Any:
    """The affine of a volume; one of an image of two axes gets a third of 1 mm."""
    import numpy as np
    from monai.data.utils import to_affine_nd

    return np.eye(4) if affine is None else to_affine_nd(3, np.asarray(affine, dtype=np.float64))
