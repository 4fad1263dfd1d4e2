"""A figure as a PNG file whose bytes follow from what is drawn alone."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = ["ResultFigure", "default_style", "figure_png", "new_figure"]

_DPI = 150


@dataclass(frozen=True)
class ResultFigure:
    """A figure of an evaluation.

    Args:
        name: of its file, without ending.
        title: what it shows.
        caption: how it is to be read.
        png: the bytes of the file.
    """

    name: str
    title: str
    caption: str
    png: bytes


@contextmanager
def default_style() -> Iterator[None]:
    """Draw in matplotlib's own style, whatever the user has set; the user's settings come back at the end.

    Raises:
        ModuleNotFoundError: if matplotlib is not installed.
    """
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'the figures are drawn by matplotlib, which is not installed: pip install "monai_cdiff[evaluation]".'
        ) from error
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def new_figure(width: float, height: float) -> Any:
    """An empty figure (inches) that belongs to no window and to no list of pyplot's."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def figure_png(figure: Any) -> bytes:
    """The figure as PNG, without what would tell who wrote it and when."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI, metadata={"Software": None})
    return file.getvalue()
