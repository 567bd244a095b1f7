"""The working grid: the tiles that an area is cut into. A value; knows no pixels."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import overload

import numpy as np

from worker.geometry.frame import Area, Ints


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
