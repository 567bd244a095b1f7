"""An area is cut into tiles of the size and resolution that an algorithm works at.

Owns the geometry of the grid; knows no pixels and no reader.
"""

import math
from typing import Final

import numpy as np

from broker.card import Card
from broker.errors import OrderError
from worker.region import touching
from worker.values import Area, Frame, Grid, Tile

MAX_TILES: Final = 2**20
_FINEST_DOWNSAMPLE: Final = 0.5  # a pixel may be stretched over at most two


def microns(frame: Frame) -> tuple[float, float]:
    """Microns per level-0 pixel in x and y. Raises `OrderError`: `mpp_missing`."""
    if frame.mpp_x is None or frame.mpp_y is None:
        raise OrderError(
            "mpp_missing",
            "Nothing believable says how large a pixel is: not the slide, not its TIFF resolution, not the order",
            hint="give the scan's `mpp`, microns per level-0 pixel, with the order",
            field="mpp",
        )
    return frame.mpp_x, frame.mpp_y


def cut(area: Area, frame: Frame, card: Card) -> Grid:
    """Cover the area from its top left corner, row by row; tiles of the last row and column may stick out.

    Tiles that have nothing of the area's polygon are left out.

    Raises `OrderError`: `mpp_missing`, `mpp_unfit`, `input_too_large`.
    """
    if card.mpp is None:
        raise ValueError(f"{card.name} reads no pixels: there is nothing to cut for it")
    downsample_x, downsample_y = (card.mpp / mpp for mpp in microns(frame))
    if min(downsample_x, downsample_y) < _FINEST_DOWNSAMPLE:
        raise _unfit(frame, card)
    step_x, step_y = card.tile_px * downsample_x, card.tile_px * downsample_y
    columns, rows = _count(area.width, step_x), _count(area.height, step_y)
    if columns * rows > MAX_TILES:
        raise _too_many(columns * rows)
    tiles = tuple(
        Tile(row * columns + column, area.x + column * step_x, area.y + row * step_y)
        for row in range(rows)
        for column in range(columns)
    )
    return Grid(area, card.tile_px, card.halo_px, downsample_x, downsample_y, _wanted(tiles, step_x, step_y, area))


def _wanted(tiles: tuple[Tile, ...], step_x: float, step_y: float, area: Area) -> tuple[Tile, ...]:
    if not area.polygon:
        return tiles
    left, top = np.array([(tile.x, tile.y) for tile in tiles]).T
    wanted = touching(left, top, left + step_x, top + step_y, area)
    return tuple(tile for tile, has in zip(tiles, wanted, strict=True) if has)


def _count(length: int, step: float) -> int:
    """How many steps cover the length; floating point alone makes no further one."""
    return max(1, math.ceil(length / step - 1e-9))


def _unfit(frame: Frame, card: Card) -> OrderError:
    return OrderError(
        "mpp_unfit",
        f"The slide has {frame.mpp_x:g} x {frame.mpp_y:g} microns per pixel, as the {frame.mpp_source} says; "
        f"{card.name} works at {card.mpp:g} and reads slides up to twice as coarse",
        hint="order a finer scan, or an algorithm that works at this resolution",
        field="mpp" if frame.mpp_source == "order" else "",
    )


def _too_many(tiles: int) -> OrderError:
    return OrderError(
        "input_too_large",
        f"The area makes {tiles} tiles; at most {MAX_TILES} are read",
        hint="order a region of the slide, and see that its mpp is right",
        field="roi",
    )
