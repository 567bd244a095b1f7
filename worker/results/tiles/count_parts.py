"""Counts objects in the cells of coarse tiles: SLD1, or SLD2 where counts need 32 bits.
docs/formats.md describes both."""

import gzip
import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import numpy as np

from worker.geometry.frame import Ints
from worker.results.tiles.levels import CELLS, Keys, Levels, cells_of
from worker.results.tiles.outline_part import GZIP_LEVEL, VERSION

_SHORT: Final = 2**16 - 1


def count_parts(
    cells: Keys, classes: int, levels: Levels
) -> Iterator[tuple[tuple[int, int, int], bytes]]:
    """Yield (zoom, x, y) and the packed counts of each tile that has any, finest zoom first.

    `cells`: the sorted keys of the cells of all objects at the finest zoom that is counted.
    """
    if levels.finest_counted < 0 or not len(cells):
        return
    starts = np.flatnonzero(np.diff(cells, prepend=cells[0] + np.uint64(1)))
    counts = np.diff(starts, append=len(cells))
    columns, rows, kinds = cells_of(cells[starts])
    for zoom in range(levels.finest_counted, -1, -1):
        yield from _of_zoom(zoom, columns, rows, kinds, counts, classes)
        columns = columns // 2
        rows = rows // 2


def _of_zoom(
    zoom: int, columns: Ints, rows: Ints, kinds: Ints, counts: Ints, classes: int
) -> Iterator[tuple[tuple[int, int, int], bytes]]:
    tiles_across = 1 << zoom
    tiles = rows // CELLS * tiles_across + columns // CELLS
    places = (kinds * CELLS + rows % CELLS) * CELLS + columns % CELLS
    order = np.argsort(tiles, kind="stable")
    bounds = np.flatnonzero(np.diff(tiles[order], prepend=-1, append=-1))
    for start, stop in pairwise(bounds.tolist()):
        some = order[start:stop]
        y, x = divmod(int(tiles[some[0]]), tiles_across)
        grid = np.bincount(places[some], counts[some], classes * CELLS * CELLS)
        yield (zoom, x, y), _encode(grid.astype(np.int64))


def _encode(grid: Ints) -> bytes:
    greatest = int(grid.max())
    magic = b"SLD1"
    numbers = grid.astype("<u2")
    if greatest > _SHORT:
        magic = b"SLD2"
        numbers = grid.astype("<u4")
    header = struct.pack("<4sIII", magic, VERSION, CELLS, greatest)
    return gzip.compress(header + numbers.tobytes(), GZIP_LEVEL, mtime=0)
