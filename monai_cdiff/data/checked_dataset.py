"""Images that are all prepared before the first is used, and kept until then as far as memory allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from monai.data import Dataset

from ..utils import check_integer, root_cause

__all__ = ["CheckedDataset"]


class CheckedDataset(Dataset):
    """MONAI's ``Dataset`` whose :py:meth:`check` refuses what cannot be used before anything is done with the rest.

    What the check has prepared is kept, up to ``memory_mib``, and handed out once, so that a series is read and brought
    to its finer grid once, not twice; what does not fit is prepared again when its turn comes.

    Args:
        data: items ``{"image": path or DICOM files, ...}``.
        transform: what prepares an item.
        memory_mib: most memory for prepared items, in MiB; 0 keeps none.

    Raises:
        ValueError: if ``memory_mib`` is no whole number from 0.

    Example:
        >>> dataset = CheckedDataset([{"image": "a.png"}], transform=dict)
        >>> dataset.check()
        >>> dataset[0]
        {'image': 'a.png'}
    """

    def __init__(
        self, data: Sequence[Mapping[str, Any]], transform: Callable[[Any], Any] | None = None, memory_mib: int = 2048
    ) -> None:
        super().__init__(data, transform)
        self.memory_mib = check_integer("memory_mib", memory_mib, 0)
        self._kept: dict[int, Any] = {}

    def check(self) -> None:
        """Prepare every item.

        Raises:
            ValueError: for the first one that cannot be prepared; the message names its file.
        """
        self._kept.clear()
        room = self.memory_mib * 2**20
        for index, item in enumerate(self.data):
            prepared = self._prepare(index, item)
            size = _size(prepared)
            if size <= room:
                self._kept[index], room = prepared, room - size

    def _prepare(self, index: int, item: Mapping[str, Any]) -> Any:
        try:
            return super()._transform(index)
        except Exception as error:
            image, text = item["image"], str(root_cause(error))
            file = image if isinstance(image, str) else image[0]
            raise ValueError(text if file in text else f"{file}: {text}") from error

    def _transform(self, index: int) -> Any:
        return self._kept.pop(index) if index in self._kept else super()._transform(index)


def _size(prepared: Any) -> int:
    """Bytes of the images of an item: tensors and arrays."""
    values = prepared.values() if isinstance(prepared, Mapping) else [prepared]
    return sum(int(getattr(value, "nbytes", 0)) for value in values)
