"""Divides an area into tiles of the size and resolution that an algorithm works at.

Knows no pixels and no reader.
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
_FINEST_DOWNSAMPLE: Final = 0.5  # a pixel of the slide is stretched over two at most


@dataclass(frozen=True, slots=True)
class Tile:
    """One square of a grid. Its core starts at level-0 (x, y); fractions are exact."""

    index: int
    x: float
    y: float


@dataclass(frozen=True, slots=True, eq=False)
class Tiles(Sequence[Tile]):
    """Tiles of a grid of `columns`, row by row, held as their numbers: a slide has millions.

    Tile number 0 starts at level-0 (x, y). The next column is `step_x` and the next row `step_y`
    level-0 pixels away. A tile shares `overlap_x` and `overlap_y` of them with the next one.
    """

    x: float
    y: float
    step_x: float
    step_y: float
    columns: int
    indices: Ints
    overlap_x: float = 0.0
    overlap_y: float = 0.0

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
    def width(self) -> float:
        """The level-0 pixels from the left to the right edge of a tile."""
        return self.step_x + self.overlap_x

    @property
    def height(self) -> float:
        """The level-0 pixels from the upper to the lower edge of a tile."""
        return self.step_y + self.overlap_y

    @property
    def rows(self) -> int:
        """The number of rows, down to the last one that has a tile."""
        if not len(self):
            return 0
        return int(self.indices[-1]) // self.columns + 1

    def by_row(self) -> Iterator[Ints]:
        """Yield the column numbers of the tiles of every row."""
        row_starts = np.arange(self.rows + 1) * self.columns
        bounds = np.searchsorted(self.indices, row_starts).tolist()
        for row, (start, stop) in enumerate(pairwise(bounds)):
            yield self.indices[start:stop] - row * self.columns

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tiles) and self.digest() == other.digest()

    def __hash__(self) -> int:
        return hash(self.digest())

    def digest(self) -> bytes:
        """Return bytes that differ for any other set of tiles."""
        position = np.array(
            [self.x, self.y, self.step_x, self.step_y, self.columns, self.overlap_x, self.overlap_y]
        )
        numbers = hashlib.sha256(np.ascontiguousarray(self.indices).data)
        return position.tobytes() + numbers.digest()


@dataclass(frozen=True, slots=True)
class Grid:
    """An area divided into tiles of `tile_px` with `halo_px` around each.

    Neighbouring tiles share `overlap_px`.
    `downsample_x` and `downsample_y` are the level-0 pixels per pixel of a tile.
    """

    area: Area
    tile_px: int
    halo_px: int
    downsample_x: float
    downsample_y: float
    tiles: Tiles
    overlap_px: int = 0

    @property
    def read_px(self) -> int:
        """The edge of what is read for one tile, halo included."""
        return self.tile_px + 2 * self.halo_px


def tile_grid(area: Area, frame: Frame, card: AlgorithmCard) -> Grid:
    """Return the tiles that cover the area, row by row from its top left corner.

    The tiles of the last row and column may stick out of the area. Tiles that have no point of the
    area's polygons are left out.

    Raises OrderError: `mpp_missing`, `mpp_unfit`, `input_too_large`; ValueError for an algorithm
    that reads no pixels.
    """
    if card.mpp is None:
        raise ValueError(f"{card.name} reads no pixels, so it has no tiles")
    mpp_x, mpp_y = microns(frame)
    downsample_x = card.mpp / mpp_x
    downsample_y = card.mpp / mpp_y
    if min(downsample_x, downsample_y) < _FINEST_DOWNSAMPLE:
        raise _too_coarse(frame, card)
    step_px = card.tile_px - card.overlap_px
    step_x = step_px * downsample_x
    step_y = step_px * downsample_y
    overlap_x = card.overlap_px * downsample_x
    overlap_y = card.overlap_px * downsample_y
    columns = _count(area.width - overlap_x, step_x)
    rows = _count(area.height - overlap_y, step_y)
    if columns * rows > MAX_TILES:
        raise _too_many(columns * rows)
    numbers = np.arange(columns * rows)
    every = Tiles(area.x, area.y, step_x, step_y, columns, numbers, overlap_x, overlap_y)
    tiles = _in_polygons(every, area, rows)
    return Grid(
        area, card.tile_px, card.halo_px, downsample_x, downsample_y, tiles, card.overlap_px
    )


def _in_polygons(every: Tiles, area: Area, rows: int) -> Tiles:
    """Return the tiles that have a point of the area's polygons; all where it has none."""
    if not area.polygons:
        return every
    left = area.x + every.step_x * np.arange(every.columns, dtype=np.float64)
    right = left + every.width
    tops = area.y + every.step_y * np.arange(rows, dtype=np.float64)
    touched = []
    for top in tops:
        upper = np.full(every.columns, top)
        lower = np.full(every.columns, top + every.height)
        touched.append(touching(left, upper, right, lower, area))
    return replace(every, indices=np.flatnonzero(np.concatenate(touched)))


def _count(length: float, step: float) -> int:
    """Return how many steps cover the length; a rounding error makes no further one."""
    return max(1, math.ceil(length / step - 1e-9))


def _too_coarse(frame: Frame, card: AlgorithmCard) -> OrderError:
    field = ""
    if frame.mpp_source == "order":
        field = "mpp"
    return OrderError(
        "mpp_unfit",
        f"The slide has {frame.mpp_x:g} x {frame.mpp_y:g} microns per pixel, "
        f"as the {frame.mpp_source} says; "
        f"{card.name} works at {card.mpp:g} and reads slides up to twice as coarse",
        hint="order a finer scan, or an algorithm that works at this resolution",
        field=field,
    )


def _too_many(tiles: int) -> OrderError:
    return OrderError(
        "input_too_large",
        f"The area makes {tiles} tiles; at most {MAX_TILES} are read",
        hint="order a region of the slide, and see that its mpp is right",
        field="roi",
    )
