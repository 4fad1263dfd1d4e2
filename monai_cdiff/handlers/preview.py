"""Pictures of what a network does: degraded, restored and original image beside each other, and the error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.utils.enums import CommonKeys

from ..utils import check_integer

__all__ = ["PreviewHandler", "save_comparison", "upright"]

COLUMNS = ("low-res", "restored", "original", "error x 4")
MARGIN = 4
TITLE_HEIGHT = 16


class PreviewHandler:
    """Saves a comparison picture of some items of an evaluator, each time it has run.

    The evaluator decollates its output: a list of dictionaries with ``image`` (degraded), ``pred`` and ``label``, in
    which black is 0 and white is 1. Noise comes from fixed keys, so pictures of different times differ by the network
    alone.

    Args:
        path: the picture's file; ``{step}`` in it is replaced by what ``step`` returns.
        step: number of the picture, for example the training's iteration.
        max_rows: most items shown.
        stride: show every n-th item, from the middle of the first n.
        titles: a title for each column.
    """

    def __init__(
        self,
        path: str | Path,
        step: Callable[[], int] = lambda: 0,
        max_rows: int = 4,
        stride: int = 1,
        titles: Sequence[str] = COLUMNS,
    ) -> None:
        self.path = str(path)
        self.step = step
        self.max_rows = check_integer("max_rows", max_rows, 1)
        self.stride = check_integer("stride", stride, 1)
        self.titles = tuple(titles)
        self.seen = 0
        self.rows: list[list[np.ndarray]] = []

    def attach(self, engine: Engine) -> None:
        """Collect while ``engine`` runs, save when it has ended."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.save)

    def start(self, engine: Engine) -> None:
        """Forget the items of the last time."""
        self.rows.clear()
        self.seen = 0

    def collect(self, engine: Engine) -> None:
        """Keep every ``stride``-th item."""
        output: Any = engine.state.output
        first = (self.stride // 2 - self.seen) % self.stride
        self.seen += len(output)
        for item in output[first :: self.stride][: self.max_rows - len(self.rows)]:
            shown = [upright(item[key]) for key in (CommonKeys.IMAGE, CommonKeys.PRED, CommonKeys.LABEL)]
            self.rows.append([*shown, 4 * np.abs(shown[1] - shown[2])])

    def save(self, engine: Engine) -> None:
        """Write the picture; on the first process only."""
        if self.rows and not getattr(engine.state, "rank", 0):
            save_comparison(self.rows, self.path.format(step=f"{self.step():06d}"), self.titles)


def save_comparison(rows: Sequence[Sequence[np.ndarray]], path: str | Path, titles: Sequence[str] = COLUMNS) -> None:
    """Save a grid of grey pictures with a title above each column.

    Args:
        rows: images (height, width) per row, black 0 and white 1; values beyond are clipped.
        path: a ``.png`` file; missing folders are made.
        titles: one per column.
    """
    from PIL import Image, ImageDraw

    heights = [max(image.shape[0] for image in row) for row in rows]
    widths = [max(row[column].shape[1] for row in rows) for column in range(len(rows[0]))]
    size = (sum(widths) + MARGIN * (len(widths) - 1), TITLE_HEIGHT + sum(heights) + MARGIN * (len(heights) - 1))
    canvas = Image.new("L", size, color=32)
    draw = ImageDraw.Draw(canvas)
    for column, title in enumerate(titles):
        draw.text((sum(widths[:column]) + MARGIN * column + 2, 2), title, fill=255)
    for r, row in enumerate(rows):
        for column, image in enumerate(row):
            grey = Image.fromarray((np.clip(np.nan_to_num(image), 0, 1) * 255).round().astype(np.uint8))
            left = sum(widths[:column]) + MARGIN * column
            canvas.paste(grey, (left, TITLE_HEIGHT + sum(heights[:r]) + MARGIN * r))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    canvas.save(path)


def upright(image: torch.Tensor) -> np.ndarray:
    """First channel (of the middle slice) with rows downwards: front of the patient on top, right side on the left.

    Args:
        image: (C, H, W) or (C, H, W, D), first axis to the side, second to the front or back; a ``MetaTensor`` knows
            which way they go, another tensor is only transposed.

    Returns:
        Rows and columns, (W, H), float32.

    Example:
        >>> upright(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])).tolist()
        [[1.0, 3.0], [2.0, 4.0]]
    """
    affine: Any = getattr(image, "affine", None)
    array = torch.as_tensor(image).detach().float().cpu().numpy()[0]
    array = array[..., array.shape[-1] // 2] if array.ndim == 3 else array
    if affine is not None:
        array = array[:: -1 if affine[0, 0] > 0 else 1, :: -1 if affine[1, 1] > 0 else 1]
    return np.ascontiguousarray(array.T)
