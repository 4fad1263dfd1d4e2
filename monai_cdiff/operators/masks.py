"""Masks of what is to be inpainted: 1 where the image is to be filled, 0 where it was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from ..utils import MaskShape, check_finite, check_integer, check_number, check_option
from .harmonic import harmonic_fill

__all__ = ["FILLS", "check_area", "check_shapes", "draw_mask", "fill_masked"]

FILLS = ("mean", "harmonic")

_TRIES = 200  # pieces that fall on others add little; this many are tried to reach the area
_STEPS = 2000  # of one stroke
_WORST_ASPECT = 2.0


def draw_mask(
    size: Sequence[int],
    random_state: np.random.RandomState,
    area: tuple[float, float] = (0.05, 0.25),
    shapes: Sequence[str] = tuple(MaskShape),
    max_pieces: int = 4,
) -> torch.Tensor:
    """Draw a mask of boxes or of free-form strokes, as irregular as those that users draw.

    The area is drawn uniformly from its range, then one kind of shape. Boxes (one to ``max_pieces``, up to about twice
    as long as wide) share the area; strokes are lines of constant width that wander at random. What is drawn is the
    same on every machine: NumPy keeps the streams of ``RandomState``, and where machines may round differently, in the
    last bit of a logarithm, no pixel depends on it but by a rare chance.

    Args:
        size: (H, W), at least 8 pixels each.
        random_state: what is drawn from.
        area: lowest and highest share of the image that is masked, above 0, up to 0.9; where no whole number of pixels
            lies between them, the nearest is taken.
        shapes: kinds to choose from, each as likely: ``"box"``, ``"stroke"``.
        max_pieces: most boxes, or strokes, that the area is shared among; more are added where these overlap so much
            that the area is not reached.

    Returns:
        Mask (H, W), bool.

    Raises:
        ValueError: if an argument is out of range or unknown, or the area is not half a pixel.

    Example:
        >>> mask = draw_mask((64, 48), np.random.RandomState(0), area=(0.1, 0.2))
        >>> tuple(mask.shape), bool(0.1 <= mask.float().mean() <= 0.2)
        ((64, 48), True)
    """
    height, width = (check_integer("size", n, 8) for n in size)
    low, high = check_area(area)
    kinds = check_shapes(shapes)
    share = low + (high - low) * float(random_state.random_sample())
    kind = kinds[random_state.randint(len(kinds))]
    pieces = 1 + random_state.randint(check_integer("max_pieces", max_pieces, 1))
    mask = np.zeros((height, width), dtype=bool)
    least, most = _pixels((low, high), (height, width))
    wanted = min(max(round(share * mask.size), least), most)
    draw = _add_box if kind == MaskShape.BOX else _add_stroke
    for n in range(_TRIES):
        missing = wanted - int(mask.sum())
        if missing <= 0 or (n >= pieces and wanted - missing >= least):
            break
        draw(mask, math.ceil(missing / max(1, pieces - n)), missing, random_state)
    _grow(mask, least, random_state)
    return torch.from_numpy(mask)


def fill_masked(image: torch.Tensor, mask: torch.Tensor, fill: float | str = "mean") -> torch.Tensor:
    """Replace masked pixels by the mean of the measured ones, by what continues these smoothly, or by a number.

    Args:
        image: (C, H, W) or (C, H, W, D); slices along the last axis are filled each for itself, one without measured
            pixels with the mean of the volume.
        mask: the same shape with one channel, bool; what it covers may be NaN.
        fill: ``"mean"``, ``"harmonic"`` (see :func:`~monai_cdiff.operators.harmonic.harmonic_fill`) or a number.

    Returns:
        The filled image; of its floating point type, float32 for integers. Measured pixels keep their values.

    Raises:
        ValueError: if the mask does not fit the image, nothing is measured, a measured pixel is NaN or infinite, or
            ``fill`` is neither of the names nor a number.

    Example:
        >>> fill_masked(torch.tensor([[[1.0, 3.0, 9.0]]]), torch.tensor([[[False, False, True]]])).tolist()
        [[[1.0, 3.0, 2.0]]]
    """
    if mask.dtype != torch.bool or mask.shape != (1, *image.shape[1:]):
        raise ValueError(
            f"mask of shape {tuple(mask.shape)}, {mask.dtype}, must be bool and of shape {(1, *image.shape[1:])}."
        )
    values = image if image.is_floating_point() else image.float()
    measured = ~mask
    if not measured.any():
        raise ValueError(f"mask of shape {tuple(mask.shape)} covers the whole image; nothing is left to go by.")
    known = check_finite("image outside the mask", torch.where(measured, values, values.new_zeros(())))
    if isinstance(fill, str):
        check_option("fill", fill, FILLS)
        counts = measured.sum(dim=(1, 2), keepdim=True)
        precise = known.double()
        whole = precise.flatten(1).sum(1) / measured.sum()
        shown = whole.reshape(-1, *[1] * (image.ndim - 1))
        filling = torch.where(counts > 0, precise.sum(dim=(1, 2), keepdim=True) / counts.clamp(min=1), shown)
        filled = torch.where(measured, values, filling.to(values.dtype))
        return _continued(filled, measured) if fill == "harmonic" else filled
    return torch.where(measured, values, values.new_tensor(check_number("fill", fill)))


def _continued(filled: torch.Tensor, measured: torch.Tensor) -> torch.Tensor:
    """Each slice that has measured pixels, filled smoothly."""
    sliced = filled.movedim(-1, 0) if filled.ndim == 4 else filled[None]
    shown = measured.movedim(-1, 0) if filled.ndim == 4 else measured[None]
    some = shown.flatten(1).any(1)
    precise = sliced.float() if sliced.dtype != torch.float64 else sliced
    smooth = sliced.clone()
    smooth[some] = harmonic_fill(precise[some], shown[some]).to(sliced.dtype)
    smooth = torch.where(shown, sliced, smooth)
    return smooth.movedim(0, -1) if filled.ndim == 4 else smooth[0]


def check_area(area: Sequence[float]) -> tuple[float, float]:
    """The range of the masked share, checked."""
    if not isinstance(area, Sequence) or isinstance(area, str) or len(area) != 2:
        raise ValueError(f"area={area!r} must be the lowest and the highest masked share.")
    low = check_number("area", area[0], 0.0, 0.9, open_low=True)
    return low, check_number("area", area[1], low, 0.9)


def check_shapes(shapes: Sequence[str] | str) -> tuple[str, ...]:
    """The kinds of shapes, checked."""
    names = (shapes,) if isinstance(shapes, str) else tuple(shapes)
    if not names:
        raise ValueError(f"shapes={shapes!r} must hold at least one of {', '.join(MaskShape)}.")
    return tuple(check_option("shapes", name, MaskShape) for name in names)


def _pixels(area: tuple[float, float], size: tuple[int, int]) -> tuple[int, int]:
    """The least and the most pixels that an area means."""
    low, high = (share * size[0] * size[1] for share in area)
    if high < 0.5:
        raise ValueError(f"area={area!r} of size={size!r} is at most {high:.2g} pixels; it must reach half a pixel.")
    least, most = math.ceil(low), math.floor(high)
    return (max(1, least), most) if 1 <= most >= least else (max(1, round((low + high) / 2)),) * 2


def _grow(mask: np.ndarray, least: int, random_state: np.random.RandomState) -> None:
    """Add pixels beside the mask until it has ``least``: pieces that are drawn need not meet a narrow range."""
    if not mask.any():
        mask[random_state.randint(mask.shape[0]), random_state.randint(mask.shape[1])] = True
    while (missing := least - int(mask.sum())) > 0:
        around = np.pad(mask, 1)
        beside = around[:-2, 1:-1] | around[2:, 1:-1] | around[1:-1, :-2] | around[1:-1, 2:]
        mask.flat[np.flatnonzero(beside & ~mask)[:missing]] = True


def _add_box(mask: np.ndarray, area: int, most: int, random_state: np.random.RandomState) -> None:
    aspect = 1 + (_WORST_ASPECT - 1) * float(random_state.random_sample())
    aspect = aspect if random_state.random_sample() < 0.5 else 1 / aspect
    rows = min(max(1, int(math.sqrt(area * aspect))), mask.shape[0], most)
    columns = min(max(1, area // rows), mask.shape[1])
    top = random_state.randint(mask.shape[0] - rows + 1)
    left = random_state.randint(mask.shape[1] - columns + 1)
    mask[top : top + rows, left : left + columns] = True


def _add_stroke(mask: np.ndarray, area: int, most: int, random_state: np.random.RandomState) -> None:
    """Stamp discs along a line that wanders, until it covers ``area`` more pixels or would exceed ``most``."""
    radius = max(1.0, math.sqrt(area) * (0.1 + 0.15 * float(random_state.random_sample())))
    place = np.array([random_state.randint(n) for n in mask.shape], dtype=np.float64)
    direction = _unit(random_state.standard_normal(2))
    covered = 0
    for _ in range(_STEPS):
        window, disc = _disc(mask, place, radius)
        added = int((disc & ~mask[window]).sum())
        if covered + added > most:
            return
        mask[window] |= disc
        covered += added
        if covered >= area:
            return
        direction = _unit(direction + 0.35 * random_state.standard_normal(2))
        place = place + direction * radius
        for axis, n in enumerate(mask.shape):  # a line that meets the edge turns back
            if not 0 <= place[axis] <= n - 1:
                place[axis] = min(max(place[axis], 0.0), n - 1.0)
                direction[axis] = -direction[axis]


def _unit(vector: np.ndarray) -> np.ndarray:
    length = math.sqrt(float(vector[0]) ** 2 + float(vector[1]) ** 2)  # a root is rounded alike everywhere
    return vector / length if length > 0 else np.array([1.0, 0.0])


def _disc(mask: np.ndarray, place: np.ndarray, radius: float) -> tuple[tuple[slice, slice], np.ndarray]:
    """A disc around a place, in the window that holds it."""
    first = [max(0, math.ceil(p - radius)) for p in place]
    last = [min(n, math.floor(p + radius) + 1) for p, n in zip(place, mask.shape)]
    rows, columns = np.ogrid[first[0] : last[0], first[1] : last[1]]
    window = (slice(first[0], last[0]), slice(first[1], last[1]))
    return window, (rows - place[0]) ** 2 + (columns - place[1]) ** 2 <= radius**2
