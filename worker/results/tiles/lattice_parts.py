"""Draws tiles that an algorithm classified as a lattice of their probabilities: SLG1, which
docs/formats.md describes."""

import gzip
import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.geometry.frame import Floats, Ints
from worker.results.objects import CHUNK
from worker.results.tiles.drawn_values import DrawnValues
from worker.results.tiles.levels import TILE_PX, Levels
from worker.results.tiles.outline_part import GZIP_LEVEL, VERSION
from worker.results.tiles.stored_outlines import StoredOutlines, boxes

_CELLS_PER_SQUARE: Final = 8
"""A cell is at most an eighth of a square wide: the lattice shows its place to a sixteenth."""
_LEAST_CELLS: Final = 8
_MOST_CELLS: Final = 64

Place = tuple[int, int, int]
"""Zoom, x and y of a tile."""
Grid = NDArray[np.float32]
"""(classes + 1, cells, cells): for each class the mean probability times the part of the cell that
was looked at, and last that part."""


class LatticeParts:
    """Makes the lattices of all tiles, from the finest zoom to the coarsest.

    A cell shows the mean of the squares that cover its centre; a cell of a coarser zoom the mean of
    its four, weighed by how much of each was looked at.
    """

    def __init__(
        self, outlines: StoredOutlines, values: DrawnValues, levels: Levels, order: Ints
    ) -> None:
        self._outlines = outlines
        self._values = values
        self._levels = levels
        self._cells = _MOST_CELLS
        self._numbers = np.sort(order)
        self._parts: dict[Place, bytes] = {}
        self._codes = np.empty(0, np.uint64)
        self._bounds = np.empty(0, np.int64)

    def make(self) -> dict[Place, bytes]:
        """Return the packed lattice of each tile that has any square.

        Holds 16 bytes for each square in each finest tile that it touches.
        """
        if not len(self._numbers):
            return {}
        self._cells = self._cells_along_a_tile()
        codes, numbers = self._touched()
        order = np.argsort(codes, kind="stable")
        codes = codes[order]
        self._numbers = numbers[order]
        starts = np.flatnonzero(np.diff(codes, prepend=codes[0] + np.uint64(1)))
        self._codes = codes[starts]
        self._bounds = np.append(starts, len(codes))
        self._make((0, 0, 0), 0, (0, len(starts)))
        return self._parts

    def _cells_along_a_tile(self) -> int:
        """Return how many cells a tile has along its edge, for squares of the size of the first."""
        rings = self._outlines.outer(self._numbers[:1])
        low, high = boxes(rings)
        wanted = _CELLS_PER_SQUARE * TILE_PX / float((high - low).min())
        cells = _LEAST_CELLS
        while cells < wanted and cells < _MOST_CELLS:
            cells *= 2
        return cells

    def _touched(self) -> tuple[NDArray[np.uint64], Ints]:
        """Return the code of each finest tile that a square touches, and the square's number."""
        codes = []
        numbers = []
        for start in range(0, len(self._numbers), CHUNK):
            some = self._numbers[start : start + CHUNK]
            first, stop = self._covered(some)
            from_tile = first // self._cells
            across, down = ((stop - 1) // self._cells - from_tile + 1).T
            owners = np.repeat(np.arange(len(some)), across * down)
            ends = (across * down).cumsum()
            step = np.arange(len(owners)) - np.repeat(ends - across * down, across * down)
            x = from_tile[owners, 0] + step % across[owners]
            y = from_tile[owners, 1] + step // across[owners]
            codes.append(_codes(x, y))
            numbers.append(some[owners])
        return np.concatenate(codes), np.concatenate(numbers)

    def _covered(self, numbers: Ints) -> tuple[Ints, Ints]:
        """Return the first cell (x, y) that each square covers, and the one behind the last.

        Cells are counted from the corner of the canvas. A square covers at least one.
        """
        rings = self._outlines.outer(numbers)
        low, high = boxes(rings)
        cell_px = TILE_PX / self._cells
        first = np.ceil(low / cell_px - 0.5).astype(np.int64)
        stop = np.ceil(high / cell_px - 0.5).astype(np.int64)
        is_thin = stop <= first
        middle = np.floor((low + high) / 2 / cell_px).astype(np.int64)
        return np.where(is_thin, middle, first), np.where(is_thin, middle + 1, stop)

    def _make(self, place: Place, code: int, span: tuple[int, int]) -> Grid:
        """Make the tile and all below it; `span` is that of their codes. Return its lattice."""
        zoom, x, y = place
        if zoom == self._levels.finest:
            grid = self._finest(x, y, span[0])
            self._parts[place] = _encode(grid)
            return grid
        cells = self._cells
        whole = np.zeros((self._values.classes + 1, 2 * cells, 2 * cells), np.float32)
        below = 2 * (self._levels.finest - zoom - 1)
        limits = [np.uint64((4 * code + child) << below) for child in range(5)]
        bounds = np.searchsorted(self._codes, np.array(limits)).tolist()
        for child in range(4):
            if bounds[child] == bounds[child + 1]:
                continue
            right, lower = child % 2, child // 2
            part = self._make(
                (zoom + 1, 2 * x + right, 2 * y + lower),
                4 * code + child,
                (bounds[child], bounds[child + 1]),
            )
            rows = slice(lower * cells, (lower + 1) * cells)
            whole[:, rows, right * cells : (right + 1) * cells] = part
        mean: Grid = whole.reshape(-1, cells, 2, cells, 2).mean(axis=(2, 4))
        self._parts[place] = _encode(mean)
        return mean

    def _finest(self, x: int, y: int, tile: int) -> Grid:
        """Return the lattice of a tile of the finest zoom, the `tile`-th one with squares."""
        cells = self._cells
        numbers = self._numbers[self._bounds[tile] : self._bounds[tile + 1]]
        first, stop = self._covered(numbers)
        corner = np.array((x, y)) * cells
        left, top = np.clip(first - corner, 0, cells).T
        right, bottom = np.clip(stop - corner, 0, cells).T
        rows = np.ones((len(numbers), self._values.classes + 1))
        rows[:, :-1] = self._values.probabilities_of(numbers)
        # The steps at the corners of all squares; their sums along both axes fill the squares.
        steps = np.zeros((cells + 1, cells + 1, self._values.classes + 1))
        np.add.at(steps, (top, left), rows)
        np.add.at(steps, (bottom, right), rows)
        np.add.at(steps, (top, right), -rows)
        np.add.at(steps, (bottom, left), -rows)
        sums: Floats = steps.cumsum(axis=0).cumsum(axis=1)[:cells, :cells].transpose(2, 0, 1)
        covering = np.rint(sums[-1])
        grid: Grid = (sums / np.maximum(covering, 1)).astype(np.float32)
        grid[-1] = covering > 0
        grid[:-1, covering == 0] = 0
        return grid


def _codes(x: Ints, y: Ints) -> NDArray[np.uint64]:
    """Return codes of tiles that sort the four parts of a tile of any zoom together.

    Their bits are those of y and x in turns.
    """
    codes = np.zeros(len(x), np.uint64)
    for bit in range(int(max(x.max(), y.max())).bit_length()):
        pair = ((y >> bit) & 1) << 1 | (x >> bit) & 1
        codes |= pair.astype(np.uint64) << np.uint64(2 * bit)
    return codes


def _encode(grid: Grid) -> bytes:
    looked_at = grid[-1]
    means = grid[:-1] / np.where(looked_at > 0, looked_at, 1)
    values = np.rint(np.clip(means, 0, 1) * 255).astype(np.uint8)
    shares = np.ceil(np.clip(looked_at, 0, 1) * 255).astype(np.uint8)
    cells = grid.shape[1]
    header = struct.pack("<4sIII", b"SLG1", VERSION, cells, cells)
    return gzip.compress(header + values.tobytes() + shares.tobytes(), GZIP_LEVEL, mtime=0)
