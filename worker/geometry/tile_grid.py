"""An area is cut into tiles of the size and resolution that an algorithm works at.

Owns the geometry of the grid; knows no pixels and no reader.
"""

import math
from typing import Final

import numpy as np

from broker.errors import OrderError
from broker.orders.algorithm_card import Card
from worker.geometry.frame import Area, Frame, Ints
from worker.geometry.grid import Grid, Tiles
from worker.geometry.region import touching

MAX_TILES: Final = 2**22
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
    tiles = Tiles(area.x, area.y, step_x, step_y, columns, _wanted(area, step_x, step_y, columns, rows))
    return Grid(area, card.tile_px, card.halo_px, downsample_x, downsample_y, tiles)


def _wanted(area: Area, step_x: float, step_y: float, columns: int, rows: int) -> Ints:
    """The numbers of the tiles that have something of the area's polygon, looked at row by row; else all."""
    if not area.polygon:
        return np.arange(columns * rows)
    left = area.x + step_x * np.arange(columns, dtype=np.float64)
    tops = area.y + step_y * np.arange(rows, dtype=np.float64)
    wanted = [
        touching(left, np.full(columns, top), left + step_x, np.full(columns, top + step_y), area) for top in tops
    ]
    return np.flatnonzero(np.concatenate(wanted))


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
