"""An area is cut into tiles of the size and resolution that an algorithm works at.

Owns the geometry of the grid; knows no pixels and no reader.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, overload

import numpy as np

from broker.errors import OrderError
from broker.orders.algorithm_card import AlgorithmCard
from worker.geometry.frame import Area, Frame, Ints, microns
from worker.geometry.roi import touching

MAX_TILES: Final = 2**22
_FINEST_DOWNSAMPLE: Final = 0.5  # a pixel may be stretched over at most two


@dataclass(frozen=True, slots=True)
class Tile:
    """One square of the working grid. Its core starts at (x, y) in level-0 pixels; fractions are exact."""

    index: int
    x: float
    y: float


@dataclass(frozen=True, slots=True, eq=False)
class Tiles(Sequence[Tile]):
    """Tiles of a grid of `columns`, row by row, by their numbers alone: a slide has millions.

    Tile (0, 0) starts at level-0 (x, y), and the next one `step_x` or `step_y` farther on.
    """

    x: float
    y: float
    step_x: float
    step_y: float
    columns: int
    indices: Ints

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, which: int) -> Tile: ...
    @overload
    def __getitem__(self, which: slice) -> "Tiles": ...
    def __getitem__(self, which: int | slice) -> "Tile | Tiles":
        if isinstance(which, slice):
            return replace(self, indices=self.indices[which])
        index = int(self.indices[which])
        row, column = divmod(index, self.columns)
        return Tile(index, self.x + column * self.step_x, self.y + row * self.step_y)

    @property
    def rows(self) -> int:
        """How many rows there are, down to the last one that has a tile."""
        return int(self.indices[-1]) // self.columns + 1 if len(self) else 0

    def by_row(self) -> Iterator[Ints]:
        """The columns of every row's tiles."""
        starts = np.searchsorted(self.indices, np.arange(self.rows + 1) * self.columns).tolist()
        for row, (start, stop) in enumerate(pairwise(starts)):
            yield self.indices[start:stop] - row * self.columns

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tiles) and self.digest() == other.digest()

    def __hash__(self) -> int:
        return hash(self.digest())

    def digest(self) -> bytes:
        """What tells these tiles from others."""
        where = np.array([self.x, self.y, self.step_x, self.step_y, self.columns])
        return where.tobytes() + hashlib.sha256(np.ascontiguousarray(self.indices).data).digest()


@dataclass(frozen=True, slots=True)
class Grid:
    """How an area is cut: tiles of `tile_px` with `halo_px` around them, at `downsample_*` level-0 pixels per pixel."""

    area: Area
    tile_px: int
    halo_px: int
    downsample_x: float
    downsample_y: float
    tiles: Tiles

    @property
    def read_px(self) -> int:
        """Edge of what is read for one tile, halo included."""
        return self.tile_px + 2 * self.halo_px


def tile_grid(area: Area, frame: Frame, card: AlgorithmCard) -> Grid:
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
    tiles = Tiles(
        area.x, area.y, step_x, step_y, columns, _wanted(area, step_x, step_y, columns, rows)
    )
    return Grid(area, card.tile_px, card.halo_px, downsample_x, downsample_y, tiles)


def _wanted(area: Area, step_x: float, step_y: float, columns: int, rows: int) -> Ints:
    """The numbers of the tiles that have something of the area's polygon, looked at row by row; else all."""
    if not area.polygon:
        return np.arange(columns * rows)
    left = area.x + step_x * np.arange(columns, dtype=np.float64)
    tops = area.y + step_y * np.arange(rows, dtype=np.float64)
    wanted = [
        touching(left, np.full(columns, top), left + step_x, np.full(columns, top + step_y), area)
        for top in tops
    ]
    return np.flatnonzero(np.concatenate(wanted))


def _count(length: int, step: float) -> int:
    """How many steps cover the length; floating point alone makes no further one."""
    return max(1, math.ceil(length / step - 1e-9))


def _unfit(frame: Frame, card: AlgorithmCard) -> OrderError:
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
