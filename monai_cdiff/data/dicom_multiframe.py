"""The functional groups of an enhanced multi-frame image: what is said of each frame, what of all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["FrameGroups"]

_MACROS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "SpacingBetweenSlices": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
}


class FrameGroups:
    """The elements of each frame of an enhanced image.

    Args:
        dataset: the image, with its functional groups.
    """

    def __init__(self, dataset: Any) -> None:
        shared = dataset.get("SharedFunctionalGroupsSequence") or []
        self._shared = shared[0] if len(shared) else None
        self._frames = dataset.get("PerFrameFunctionalGroupsSequence") or []

    def __len__(self) -> int:
        """How many frames have groups of their own."""
        return len(self._frames)

    def of(self, frame: int) -> list[Any]:
        """The groups that speak of a frame, counted from 1: its own before those of all frames."""
        own = self._frames[frame - 1] if frame <= len(self._frames) else None
        return [group for group in (own, self._shared) if group is not None]

    def geometry(self, frame: int) -> dict[str, Any]:
        """Where a frame lies and how its values are scaled, by keyword, as far as the groups say so."""
        found: dict[str, Any] = {}
        for keyword, macro in _MACROS.items():
            for group in self.of(frame):
                items = group.get(macro) or []
                if len(items) and items[0].get(keyword) is not None:
                    found[keyword] = items[0].get(keyword)
                    break
        return found

    def elements(self, frame: int) -> Iterator[Any]:
        """All elements in the groups of a frame that are no sequences, those of its own first."""
        for group in self.of(frame):
            yield from _leaves(group)


def _leaves(dataset: Any) -> Iterator[Any]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _leaves(item)
        else:
            yield element
