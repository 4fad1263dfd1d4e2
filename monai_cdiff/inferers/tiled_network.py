"""A network that sees one tile at a time and stands where the network of whole images stood."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from monai.data.utils import compute_importance_map
from monai.utils import BlendMode
from torch import nn

from ..utils import check_integer, check_option, check_overlap, check_roi_size, tile_layout, to_device

__all__ = ["TiledNetwork"]


class TiledNetwork(nn.Module):
    """Runs a network tile by tile over images of any size and blends the predictions of the tiles.

    Given to a ``RestorationInferer`` in the network's place, it is called in every step of the chain: predictions are
    fused before each step, and the noise belongs to the voxels of the whole image, not to tiles. Tiles that are
    restored to the end one by one invent different details where they overlap, and a seam forms between them; here
    they share one image all the way, as in Bar-Tal et al., "MultiDiffusion", arXiv:2302.08113, which takes the weighted
    mean of windows after each step instead of before it.

    The tiles lie as those of MONAI's ``SlidingWindowInferer``, but are cut to the image along an axis where it is
    smaller: nothing is padded. A voxel gets the weighted mean of its tiles, updated tile by tile, so a network without
    context gives the very bits of its untiled result, and an image of one tile the network's output. Networks with
    statistics of the whole image (group normalisation, attention) take those of the tile. A network on coarser grids,
    such as ``ConditionalUNet``, sees them begin at the corner of each tile; they fall on one grid if image, tile and
    step, ``roi_size * (1 - overlap)``, are multiples of its ``size_multiple``.

    ``spatial_dims``, ``in_channels`` and ``out_channels`` are the network's where it has them. The parameters are the
    network's, under names that begin with ``network.``: load checkpoints into the network before wrapping it.

    Args:
        network: called ``network(tiles, timesteps, *args, **kwargs)``, or ``network(tiles, **kwargs)`` if neither
            ``timesteps`` nor ``args`` are given; returns the size it was given.
        roi_size: size of a tile in voxels, per axis or one for all.
        overlap: share of a tile that the next one covers too, from 0 to less than 1.
        tile_batch_size: most tiles in one network call.
        mode: weights of a tile, ``"gaussian"`` (falling towards its borders) or ``"constant"``.

    Raises:
        ValueError: for an argument outside what is allowed.

    Example:
        >>> from monai_cdiff.inferers import RestorationInferer
        >>> from monai_cdiff.networks.nets import ConditionalUNet
        >>> from monai_cdiff.networks.schedulers import DDIMScheduler
        >>> network = ConditionalUNet(2, in_channels=2, out_channels=1, size="tiny")
        >>> restore = RestorationInferer(DDIMScheduler(), num_inference_steps=2)
        >>> tuple(restore(torch.zeros(1, 1, 50, 41), TiledNetwork(network, roi_size=(32, 32))).shape)
        (1, 1, 50, 41)
    """

    spatial_dims: int
    in_channels: int
    out_channels: int

    def __init__(
        self,
        network: Callable[..., torch.Tensor],
        roi_size: Sequence[int] | int,
        overlap: float = 0.25,
        tile_batch_size: int = 4,
        mode: str = "gaussian",
    ) -> None:
        super().__init__()
        bare = getattr(network, "module", network)
        self.roi_size = check_roi_size(roi_size, getattr(bare, "spatial_dims", None))
        self.overlap = check_overlap(overlap)
        self.tile_batch_size = check_integer("tile_batch_size", tile_batch_size, low=1)
        self.mode = check_option("mode", mode, list(BlendMode))
        self.network = network
        if isinstance(self.roi_size, tuple):
            self.spatial_dims = len(self.roi_size)
        for name in ("in_channels", "out_channels"):
            if hasattr(bare, name):
                setattr(self, name, getattr(bare, name))

    def forward(
        self, x: torch.Tensor, timesteps: torch.Tensor | float | None = None, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Predict tile by tile.

        Args:
            x: noisy image and condition, shape (B, C, H, W) or (B, C, H, W, D).
            timesteps: tensor of shape (B,), (1,) or (), a number, or ``None``.
            args: passed on to the network. A tensor that is as large as ``x`` in batch and space is cut into tiles
                with it; of another with a first axis of length B each tile gets the entry of its item; the rest,
                lists of tensors among it, is passed on as it is.
            kwargs: passed on in the same way.

        Returns:
            The blended predictions, shape (B, C_out, H, W[, D]), of the type that the network returned.

        Raises:
            ValueError: before the network is called if the shape of ``x`` or ``timesteps`` is wrong; after the first
                call if the network does not return the size of its tiles.
        """
        layout = tile_layout("x", x.shape, self.roi_size, self.overlap)
        if isinstance(timesteps, torch.Tensor) and tuple(timesteps.shape) not in ((), (1,), (len(x),)):
            raise ValueError(f"timesteps has shape {tuple(timesteps.shape)}; expected ({len(x)},), (1,) or ().")
        if timesteps is not None or args:
            args = (timesteps, *args)
        rows = [self._weights(places, length, x.device) for places, length in zip(layout, x.shape[2:])]
        batch = [slice(item, item + 1) for item in range(len(x))]
        places = list(itertools.product(batch, [slice(None)], *layout))
        weights = list(itertools.product(*rows)) * len(x)
        predictions = self._predictions(x, places, args, kwargs)
        first = next(predictions)
        dtype = torch.promote_types(first.dtype, torch.float32)  # sums of half precision would lose digits
        blended = first.new_zeros((len(x), first.shape[1], *x.shape[2:]), dtype=dtype)
        total = first.new_zeros((len(x), 1, *x.shape[2:]), dtype=torch.float32)
        for place, weight, prediction in zip(places, weights, itertools.chain([first], predictions)):
            own = _product(weight)
            total[place] += own
            # where the tiles agree the change is exactly 0, which a sum of weighted predictions would only come near
            blended[place] += own / total[place] * (prediction - blended[place])
        return blended.to(first.dtype)

    def _predictions(self, x: torch.Tensor, places: list[Any], args: tuple, kwargs: dict) -> Iterator[torch.Tensor]:
        """The prediction of each tile, shape (1, C_out, ...); the network is called when one of its tiles is due."""
        for start in range(0, len(places), self.tile_batch_size):
            some = places[start : start + self.tile_batch_size]
            tiles = torch.cat([x[place] for place in some])
            output = self.network(
                tiles,
                *(_of_tiles(value, x, some) for value in args),
                **{name: _of_tiles(value, x, some) for name, value in kwargs.items()},
            )
            if output.shape[:1] + output.shape[2:] != tiles.shape[:1] + tiles.shape[2:]:
                raise ValueError(
                    f"network returned shape {tuple(output.shape)} for tiles of shape {tuple(tiles.shape)}; it must "
                    "keep their number and size."
                )
            yield from output.split(1)

    def _weights(self, places: list[slice], length: int, device: torch.device) -> torch.Tensor:
        """One row of weights per tile along an axis, which add up to 1 in each voxel of the axis.

        A tile weighs the product of its rows. MONAI's map is taken axis by axis because in more dimensions its least
        weight, 1e-3, is more than that of a neighbour near the corners of tiles, which leaves seams there.
        """
        row = compute_importance_map((places[0].stop - places[0].start,), mode=self.mode)
        total = torch.zeros(length)
        for place in places:
            total[place] += row
        return to_device(torch.stack([row / total[place] for place in places]), device)


def _of_tiles(value: Any, x: torch.Tensor, places: list[Any]) -> Any:
    """What the network gets of an argument: cut like ``x``, one entry per tile, or as it is."""
    if not isinstance(value, torch.Tensor) or value.ndim == 0 or len(value) != len(x):
        return value
    cut = value.shape[2:] == x.shape[2:]
    return torch.cat([value[place if cut else place[0]] for place in places])


def _product(rows: Sequence[torch.Tensor]) -> torch.Tensor:
    weight = torch.ones(())
    for axis, row in enumerate(rows):
        weight = weight.to(row.device) * row.view(-1, *[1] * (len(rows) - 1 - axis))
    return weight
