"""What was done to an image, in a form that goes into the header of what is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from .. import __version__

__all__ = ["Derivation"]


@dataclasses.dataclass(frozen=True)
class Derivation:
    """What was done to an image and by what.

    Args:
        description: one sentence for DerivationDescription, for example "in-plane super-resolution by factor 4".
        label: a short word that marks names of files and series, for example "sr".
        settings: what the result depends on, in order: bundle, model_sha256, sampler, num_inference_steps, seed,
            consistency; None leaves an entry out.
        synthetic: whether content was generated that nobody measured (SyntheticData).
        quantity: what the values are: "image", or "standard deviation" for a map of uncertainty.
        keeps_encoding: whether DICOM has to store values as the source does (slope, intercept, bits), so that those
            that were taken from it remain what they were; computed ones are rounded to what the source can store.
        codes: what was done as concepts of CID 7203 (Image Derivation), by their keywords in pydicom's code dictionary.
        software: name of the software.
        version: its version.

    Example:
        >>> Derivation("denoised", "dn", {"seed": 0, "mask": None}).settings_text()
        'seed=0'
    """

    description: str
    label: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    synthetic: bool = True
    quantity: str = "image"
    keeps_encoding: bool = False
    codes: tuple[str, ...] = ()
    software: str = "monai_cdiff"
    version: str = __version__

    def settings_text(self) -> str:
        """The settings as ``name=value`` pairs."""
        return "; ".join(f"{name}={value}" for name, value in self.settings.items() if value is not None)
