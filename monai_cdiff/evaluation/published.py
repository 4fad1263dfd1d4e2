"""What Hung et al. printed: their numbers, to stand beside those of an evaluation."""

from __future__ import annotations

from ..utils import check_option
from .results_file import TASKS
from .table import Block, Cell, Table

__all__ = ["published_table"]

_SOURCE = "Hung et al. 2023 (Med-cDiff, Bioengineering 10:1258), Table {number}, as printed there."
_REMARK = (
    "Absolute values of this table and of those above cannot be compared: the data, {degradation} and the definitions "
    "of {metrics} differ."
)
_NOT_THEIRS = {
    1: ("the way of downsampling", "LPIPS, FID and acutance"),
    2: ("the noise", "LPIPS and FID"),
    3: ("the masks", "LPIPS and FID"),
}
_NUMBERS = {"sr": 1, "denoise": 2, "inpaint": 3}

_HEADERS = {
    1: ["LPIPS (×10⁻⁴) ↓", "FID ↓", "acutance ↑", "PZ DSC (%) ↑", "TZ DSC (%) ↑"],
    2: ["LPIPS (×10⁻⁴) ↓", "FID ↓", "classification accuracy (%) ↑"],
    3: ["LPIPS (×10⁻⁶) ↓", "FID ↓", "2AFC accuracy (%) ↓"],
}
_ROWS: dict[int, dict[str, list[str]]] = {
    1: {
        "2√2": [
            "bilinear: 2787.847 1.19 6.75 82.8 87.7",
            "pix2pixGAN: 1.53 1.20 12.72 81.5 87.2",
            "SRGAN: 3.30 1.19 5.60 82.7 88.0",
            "Med-cDiff: 2.74 1.19 22.84 81.7 88.2",
        ],
        "4": [
            "bilinear: 4339.392 1.20 4.51 78.2 84.2",
            "pix2pixGAN: 1.96 1.22 11.31 78.3 86.1",
            "SRGAN: 5.03 1.19 5.11 80.2 86.2",
            "Med-cDiff: 4.62 1.19 21.44 77.8 86.3",
        ],
        "4√2": [
            "bilinear: 5773.238 1.21 3.28 68.9 75.9",
            "pix2pixGAN: 2.50 1.22 12.68 69.2 81.1",
            "SRGAN: 6.09 1.21 4.39 72.6 82.7",
            "Med-cDiff: 5.09 1.20 21.37 74.2 84.3",
        ],
    },
    2: {
        "": [
            "original image: – – 70.7",
            "noisy image: 17.52 1.35 63.6",
            "pix2pixGAN: 1.77 1.32 65.1",
            "UP-GAN: 3.36 1.33 62.8",
            "Med-cDiff: 1.19 1.30 65.8",
        ]
    },
    3: {
        "": [
            "pix2pixGAN: 7.62 1.010 98.0",
            "HPUNet: 5.39 0.995 95.0",
            "UP-GAN: 3.17 0.897 94.5",
            "Med-cDiff: 2.96 0.582 64.0",
        ]
    },
}


def published_table(task: str) -> Table:
    """The table that the publication has for a task.

    Args:
        task: "sr", "denoise" or "inpaint".

    Returns:
        Its numbers as they are printed, with their source, and a remark on why they cannot be compared with others.

    Raises:
        ValueError: if there is no such task.

    Example:
        >>> [cell.text for cell in published_table("denoise").blocks[0].rows[-1]]
        ['Med-cDiff', '1.19', '1.30', '65.8']
    """
    number = _NUMBERS[check_option("task", task, TASKS)]
    blocks = []
    for setting, lines in _ROWS[number].items():
        parts = [line.split(": ") for line in lines]
        blocks.append(Block([[Cell(name), *map(Cell, values.split())] for name, values in parts], setting))
    degradation, metrics = _NOT_THEIRS[number]
    return Table(
        _SOURCE.format(number=number),
        ["method", *_HEADERS[number]],
        blocks,
        head="factor" if number == 1 else "",
        remarks=[_REMARK.format(degradation=degradation, metrics=metrics)],
    )
