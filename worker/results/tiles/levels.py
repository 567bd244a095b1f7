"""The zoom levels of a slide's tiles: which there are, and which tile an object lies in."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.geometry.frame import Floats, Frame, Ints

TILE_PX: Final = 1024
"""Edge of a tile in pixels of its zoom: level-0 pixels at the finest, twice as many at the next."""
CELLS: Final = 64
"""Cells of a count along the edge of a tile."""
_ZOOM_SHIFT: Final = 58
_Y_SHIFT: Final = 37
_X_SHIFT: Final = 16
_COORDINATE: Final = 2**21 - 1
MAX_CLASSES: Final = 2**_X_SHIFT

Keys = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Levels:
    """The zooms 0 to `finest` of a canvas of `width` x `height` level-0 pixels.

    At zoom 0 one tile holds the whole canvas; at the finest a tile is 1,024 level-0 pixels wide.
    """

    width: int
    height: int

    @classmethod
    def of(cls, frame: Frame) -> "Levels":
        """Return the zooms of a slide."""
        return cls(frame.width, frame.height)

    @property
    def finest(self) -> int:
        """The last zoom."""
        tiles = -(-max(self.width, self.height) // TILE_PX)
        return (tiles - 1).bit_length()

    def tile_px(self, zoom: int) -> int:
        """Return the edge of a tile in level-0 pixels."""
        return TILE_PX << (self.finest - zoom)

    def zooms_of(self, extents_px: Floats) -> Ints:
        """Return the finest zoom whose tile is no smaller than each extent in level-0 pixels."""
        coarser = np.ceil(np.log2(np.maximum(extents_px / TILE_PX, 1))).astype(np.int64)
        return np.maximum(self.finest - coarser, 0)

    @property
    def finest_counted(self) -> int:
        """The last zoom at which objects are counted in cells; negative where there is none."""
        return self.finest - 2

    def cell_keys(self, centres: Floats, classes: Ints) -> Keys:
        """Return a number for each object that sorts by row and column of its cell, and class.

        The cells are those of `finest_counted`: the edge of a tile in them is `CELLS` cells.
        """
        edge_px = TILE_PX * 2**2 // CELLS
        columns, rows = np.floor(centres / edge_px).astype(np.uint64).T
        return _packed(columns, rows, classes)

    def keys(self, centres: Floats, extents_px: Floats, classes: Ints) -> Keys:
        """Return a number for each object that sorts by zoom, row, column and class.

        `centres`: (N, 2), those of the bounding boxes in level-0 pixels, inside the canvas.
        """
        zooms = self.zooms_of(extents_px)
        edges_px = TILE_PX * np.exp2(self.finest - zooms)
        columns, rows = np.floor(centres / edges_px[:, None]).astype(np.uint64).T
        keys = _packed(columns, rows, classes)
        keys |= zooms.astype(np.uint64) << np.uint64(_ZOOM_SHIFT)
        return keys


def _packed(columns: Keys, rows: Keys, classes: Ints) -> Keys:
    keys: Keys = rows << np.uint64(_Y_SHIFT)
    keys |= columns << np.uint64(_X_SHIFT)
    keys |= classes.astype(np.uint64)
    return keys


def tile_part(keys: Keys) -> Keys:
    """Return the keys without their class: equal for objects of the same tile."""
    return keys >> np.uint64(_X_SHIFT)


def cells_of(keys: Keys) -> tuple[Ints, Ints, Ints]:
    """Return column, row and class of keys of cells."""
    columns = (keys >> np.uint64(_X_SHIFT)) & np.uint64(_COORDINATE)
    rows = (keys >> np.uint64(_Y_SHIFT)) & np.uint64(_COORDINATE)
    classes = keys & np.uint64(MAX_CLASSES - 1)
    return columns.astype(np.int64), rows.astype(np.int64), classes.astype(np.int64)


def tile_of(key: int) -> tuple[int, int, int]:
    """Return zoom, x and y of a key without its class."""
    shift = _ZOOM_SHIFT - _X_SHIFT
    return key >> shift, key & _COORDINATE, (key >> (_Y_SHIFT - _X_SHIFT)) & _COORDINATE
