"""Fills small holes of connected parts with the class around them.

A hole is an inner ring of a part, with everything in it. Its left and right edges go to a file for
each row of blocks; when the blocks are read again, the pixels between such edges are painted.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Final

import numpy as np

from worker.geometry.frame import Floats, Ints
from worker.inference.merging.mask.blending import NO_CLASS, Values
from worker.inference.merging.mask.blocks import Block, labelled, totals
from worker.inference.merging.mask.outlines import PixelRings
from worker.inference.merging.mask.pixel_grid import PixelGrid
from worker.inference.merging.mask.stitching import LabelledBlock, Parts

_EDGE: Final = np.dtype("<i4")


class HoleEdges:
    """The edges of small holes in a folder: x, first and last row and side, by row of blocks."""

    def __init__(self, folder: Path, pixels: PixelGrid, limit_pixels: float) -> None:
        """Holes of fewer pixels than `limit_pixels` are small. The folder must not exist."""
        folder.mkdir(parents=True)
        self._folder = folder
        self._pixels = pixels
        self._limit_pixels = limit_pixels

    def add(self, parts: Parts) -> None:
        """Write the edges of the small holes of these parts."""
        edges = _vertical_edges(parts.rings, self._limit_pixels)
        if not len(edges):
            return
        step = self._pixels.step
        rows = np.unique(np.concatenate([edges[:, 1] // step, (edges[:, 2] - 1) // step]))
        for row in range(int(rows[0]), int(rows[-1]) + 1):
            top = row * step
            in_row = edges[(edges[:, 1] < top + step) & (edges[:, 2] > top)]
            in_row[:, 1:3] = (in_row[:, 1:3] - top).clip(0, step)
            with (self._folder / str(row)).open("ab") as file:
                file.write(in_row.astype(_EDGE).tobytes())

    def in_row(self, row: int) -> Ints:
        """Return the edges in a row of blocks, (N, 4), by x.

        Each is x, the first row of pixels and the one after the last, counted in the block, and 1
        where the hole lies on its right, else -1.
        """
        path = self._folder / str(row)
        if not path.exists():
            return np.empty((0, 4), np.int64)
        edges = np.fromfile(path, _EDGE).reshape(-1, 4).astype(np.int64)
        return edges[np.argsort(edges[:, 0], kind="stable")]


def unfilled(block: Block) -> LabelledBlock:
    """Return a block whose background has no parts, as it is."""
    labels, value_of = labelled(block.values, with_background=False)
    return LabelledBlock(
        block.row, block.column, block.values, labels, value_of, block.known, block.sums[:, 0]
    )


def outlined(block: Block) -> LabelledBlock:
    """Return a block as it is, for its outlines alone: without sums."""
    labels, value_of = labelled(block.values, with_background=False)
    known = np.zeros(len(value_of), np.int64)
    sums = np.zeros(len(value_of))
    return LabelledBlock(block.row, block.column, block.values, labels, value_of, known, sums)


def filled(blocks: Iterable[Block], holes: HoleEdges, pixels: PixelGrid) -> Iterator[LabelledBlock]:
    """Yield the blocks with small holes filled, also those that only a hole makes appear."""
    for row, in_row in groupby(blocks, attrgetter("row")):
        painter = _Painter(pixels, holes.in_row(row), row)
        for block in in_row:
            yield from painter.between(block.column)
            yield painter.painted(block)
        yield from painter.between(pixels.columns)


class _Painter:
    """Paints the blocks of one row from left to right.

    `_depth` is how many holes the pixel left of the next block lies in, row by row; `_around` the
    value of the last pixel that lies in none.
    """

    def __init__(self, pixels: PixelGrid, edges: Ints, row: int) -> None:
        self._pixels = pixels
        self._edges = edges
        self._row = row
        self._column = 0
        height = pixels.block_shape(row, 0)[0]
        self._depth = np.zeros(height, np.int64)
        self._around = np.full(height, NO_CLASS, np.uint16)

    def between(self, column: int) -> Iterator[LabelledBlock]:
        """Yield the missing blocks before this column that a hole fills."""
        while self._column < column:
            shape = self._pixels.block_shape(self._row, self._column)
            nothing = np.full(shape, NO_CLASS, np.uint16)
            sums = np.zeros((1, 1))
            block = Block(self._row, self._column, nothing, np.zeros(1, np.int64), sums)
            if self._depth.any() or len(self._edges_in(block)):
                yield self.painted(block)
            else:
                self._around[:] = NO_CLASS
                self._column += 1

    def painted(self, block: Block) -> LabelledBlock:
        """Return the block with what lies in holes filled."""
        labels, value_of = labelled(block.values, with_background=True)
        values = self._values(block)
        self._column = block.column + 1
        new_labels, new_value_of = labelled(values, with_background=False)
        # A hole holds whole parts of the block, so each of them has one value now.
        new_of = np.zeros(len(value_of) + 1, np.int64)
        new_of[labels.ravel()] = new_labels.ravel()
        new_of = new_of[1:]
        is_kept = new_of > 0
        sums = _own_sums(block, np.append(NO_CLASS, new_value_of)[new_of])
        count = len(new_value_of) + 1
        known = totals(new_of[is_kept], block.known[is_kept], count)[1:]
        new_sums = totals(new_of[is_kept], sums[is_kept], count)[1:]
        return LabelledBlock(
            block.row,
            block.column,
            values,
            new_labels,
            new_value_of,
            known.astype(np.int64),
            new_sums,
        )

    def _edges_in(self, block: Block) -> Ints:
        left = block.column * self._pixels.step
        right = left + block.values.shape[1]
        start, stop = np.searchsorted(self._edges[:, 0], (left, right))
        return self._edges[start:stop]

    def _values(self, block: Block) -> Values:
        edges = self._edges_in(block)
        values = block.values
        if not len(edges) and not self._depth.any():
            self._around = values[:, -1].copy()
            return values
        left = block.column * self._pixels.step
        lengths = edges[:, 2] - edges[:, 1]
        first = np.repeat(edges[:, 1] - (np.cumsum(lengths) - lengths), lengths)
        rows = first + np.arange(len(first))
        changes = np.zeros(values.shape, np.int64)
        columns = np.repeat(edges[:, 0] - left, lengths)
        np.add.at(changes, (rows, columns), np.repeat(edges[:, 3], lengths))
        changes[:, 0] += self._depth
        depth = np.cumsum(changes, axis=1)
        is_inside = depth > 0
        # each pixel inside takes the value of the nearest one on its left that is not
        outside = np.where(is_inside, -1, np.arange(values.shape[1]))
        nearest = np.maximum.accumulate(outside, axis=1)
        from_left = np.take_along_axis(values, nearest.clip(0), axis=1)
        painted = np.where(nearest >= 0, from_left, self._around[:, None]).astype(np.uint16)
        self._depth = depth[:, -1]
        self._around = painted[:, -1].copy()
        return painted


def _own_sums(block: Block, values: Values) -> Floats:
    """Return the sum of each part for its value; of the background it does not matter."""
    if block.sums.shape[1] == 1:
        return block.sums[:, 0]
    columns = values.astype(np.int64) - 1
    return np.asarray(block.sums[np.arange(len(columns)), columns.clip(0)])


def _vertical_edges(rings: PixelRings, limit_pixels: float) -> Ints:
    """Return x, first and last row and side of all vertical edges of small holes, (N, 4)."""
    is_small = (rings.pixels < 0) & (-rings.pixels < limit_pixels)
    ring_of = rings.ring_of_points()
    # a horizontal edge is two points; the vertical one leads from its end to the next ring point
    is_end = np.arange(len(ring_of)) % 2 == 1
    following = np.arange(1, len(ring_of) + 1)
    lengths = np.diff(rings.starts, append=len(ring_of))
    following[rings.starts + lengths - 1] = rings.starts
    ends = np.flatnonzero(is_end & is_small[ring_of])
    x, y = rings.points[ends].T
    next_y = rings.points[following[ends], 1]
    # the part is on the right of a ring: going down, it is in the west and the hole in the east
    side = np.where(next_y > y, 1, -1)
    return np.stack([x, np.minimum(y, next_y), np.maximum(y, next_y), side], axis=1)
