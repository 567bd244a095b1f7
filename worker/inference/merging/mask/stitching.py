"""Joins the connected parts of the blocks of a mask into those of the whole mask.

Blocks come row by row. In memory are the parts that reach the last row of pixels so far, with
their corners, and one block.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from worker.geometry.frame import Floats, Ints
from worker.inference.merging.mask.blending import Values
from worker.inference.merging.mask.blocks import totals
from worker.inference.merging.mask.outlines import Corners, PixelRings, corners, traced
from worker.inference.merging.mask.pixel_grid import PixelGrid


@dataclass(frozen=True, slots=True)
class LabelledBlock:
    """A block with the number of each pixel's part, `labels` (H, W), 0 for the background.

    `value_of`, `known` and `sums`, (P,) each: the value of each part, its pixels with a
    probability, and the sum of these.
    """

    row: int
    column: int
    values: Values
    labels: NDArray[np.int32]
    value_of: Values
    known: Ints
    sums: Floats


@dataclass(frozen=True, slots=True)
class Parts:
    """P whole connected parts, by their first pixel: `values`, `known`, `sums`, (P,) each.

    The owners of `rings` are their numbers.
    """

    values: Values
    known: Ints
    sums: Floats
    rings: PixelRings


def stitched(blocks: Iterable[LabelledBlock], pixels: PixelGrid) -> Iterator[Parts]:
    """Yield the parts of the mask as soon as no further block can belong to them.

    Blocks that are missing are background.
    """
    stitcher = _Stitcher(pixels)
    next_row = 0
    for row, in_row in groupby(blocks, attrgetter("row")):
        if row > next_row:
            yield stitcher.empty_row(next_row)
        yield stitcher.row(row, in_row)
        next_row = row + 1
    yield stitcher.empty_row(next_row)


class _Stitcher:
    """The parts that the next row of blocks may continue.

    They have the numbers 1 and on; 0 is the background. `_line` is the last row of pixels.
    """

    def __init__(self, pixels: PixelGrid) -> None:
        self._pixels = pixels
        self._line = _Line(pixels.width)
        self._values = np.zeros(1, np.uint16)
        self._known = np.zeros(1, np.int64)
        self._sums = np.zeros(1)
        self._corners = Corners.joined([])

    def empty_row(self, row: int) -> Parts:
        """Return the parts that end above a row of blocks without any part."""
        return self.row(row, ())

    def row(self, row: int, blocks: Iterable[LabelledBlock]) -> Parts:
        """Return the parts that do not reach the last row of pixels of this row of blocks."""
        work = _RowOfBlocks(self._pixels, row, self._line, len(self._values))
        for block in blocks:
            work.add(block)
        work.end()
        numbers = _joined_numbers(work.pairs(), work.numbers)
        count = int(numbers.max()) + 1
        values = np.zeros(count, np.uint16)
        values[numbers] = np.concatenate([self._values, *work.values])
        known = totals(numbers, np.concatenate([self._known, *work.known]), count)
        sums = totals(numbers, np.concatenate([self._sums, *work.sums]), count)
        is_open = np.zeros(count, np.bool_)
        work.line.owners = numbers[work.line.owners]
        is_open[work.line.owners] = True
        is_open[0] = False
        found = Corners.joined([self._corners, *work.corners])
        found = replace(found, owner=numbers[found.owner])
        is_closed = ~is_open
        is_closed[0] = False
        rings = traced(found.selected(is_closed[found.owner]))
        rings = replace(rings, owners=(np.cumsum(is_closed) - 1)[rings.owners])
        closed = Parts(values[is_closed], known[is_closed].astype(np.int64), sums[is_closed], rings)
        self._keep(found, is_open, work.line)
        kept = np.append(0, np.flatnonzero(is_open))
        self._values = values[kept]
        self._known = known[kept].astype(np.int64)
        self._sums = sums[kept]
        return closed

    def _keep(self, found: Corners, is_open: NDArray[np.bool_], line: "_Line") -> None:
        """Keep the corners of open parts and the last row of pixels, with new numbers."""
        numbers = np.where(is_open, np.cumsum(is_open), 0)
        kept = found.selected(is_open[found.owner])
        self._corners = replace(kept, owner=numbers[kept.owner])
        line.owners = numbers[line.owners]
        self._line = line


class _Line:
    """Part and value of a row of pixels, after one that stands for what lies left of the mask."""

    def __init__(self, width: int) -> None:
        self.owners: Ints = np.zeros(width + 2, np.int64)
        self.values: Values = np.zeros(width + 2, np.uint16)


class _RowOfBlocks:
    """Collects the parts of the blocks in one row, from left to right.

    `values`, `known` and `sums` are those of the parts in these blocks, which have the numbers
    after the first `numbers`. `line` becomes their last row of pixels.
    """

    def __init__(self, pixels: PixelGrid, row: int, above: _Line, numbers: int) -> None:
        self._pixels = pixels
        self._above = above
        self._top = min(row * pixels.step, pixels.height)
        self._x = 0
        self._left_values = np.zeros(0, np.uint16)
        self._left_owners = np.zeros(0, np.int64)
        self._pairs: list[NDArray[np.int64]] = [np.empty((0, 2), np.int64)]
        self.numbers = numbers
        self.line = _Line(pixels.width)
        self.values: list[Values] = []
        self.known: list[Ints] = []
        self.sums: list[Floats] = []
        self.corners: list[Corners] = []

    def pairs(self) -> Ints:
        """Return the numbers of parts that touch one another, (N, 2)."""
        return np.concatenate(self._pairs)

    def add(self, block: LabelledBlock) -> None:
        """Add the next block; what lies between is background."""
        left = block.column * self._pixels.step
        if left > self._x:
            self._skip_to(left)
        height, width = block.values.shape
        values = np.zeros((height + 1, width + 1), np.uint16)
        owners = np.zeros((height + 1, width + 1), np.int64)
        values[0] = self._above.values[left : left + width + 1]
        owners[0] = self._above.owners[left : left + width + 1]
        if len(self._left_values):
            values[1:, 0] = self._left_values
            owners[1:, 0] = self._left_owners
        values[1:, 1:] = block.values
        np.add(block.labels, self.numbers - 1, out=owners[1:, 1:], where=block.labels > 0)
        self.corners.append(corners(values, owners, left, self._top))
        self._touch(values[0, 1:], owners[0, 1:], values[1, 1:], owners[1, 1:])
        self._touch(values[1:, 0], owners[1:, 0], values[1:, 1], owners[1:, 1])
        self.numbers += len(block.value_of)
        self.values.append(block.value_of)
        self.known.append(block.known)
        self.sums.append(block.sums)
        self.line.values[left + 1 : left + width + 1] = values[-1, 1:]
        self.line.owners[left + 1 : left + width + 1] = owners[-1, 1:]
        self._left_values = values[1:, -1].copy()
        self._left_owners = owners[1:, -1].copy()
        self._x = left + width

    def end(self) -> None:
        """Add the background at the right of the last block."""
        self._skip_to(self._pixels.width + 1)

    def _skip_to(self, x: int) -> None:
        """Add background up to x: it has corners at its upper and its left edge only."""
        values = np.zeros((2, x - self._x + 1), np.uint16)
        owners = np.zeros(values.shape, np.int64)
        values[0] = self._above.values[self._x : x + 1]
        owners[0] = self._above.owners[self._x : x + 1]
        height = len(self._left_values)
        if height:
            values[1, 0] = self._left_values[0]
            owners[1, 0] = self._left_owners[0]
            side_values = np.zeros((height, 2), np.uint16)
            side_owners = np.zeros((height, 2), np.int64)
            side_values[:, 0] = self._left_values
            side_owners[:, 0] = self._left_owners
            self.corners.append(corners(side_values, side_owners, self._x, self._top + 1))
        self.corners.append(corners(values, owners, self._x, self._top))
        self._left_values = np.zeros(0, np.uint16)
        self._left_owners = np.zeros(0, np.int64)
        self._x = x

    def _touch(self, values: Values, owners: Ints, next_values: Values, next_owners: Ints) -> None:
        """Remember which parts touch across a seam, pixel by pixel."""
        is_same = (values == next_values) & (next_owners > 0)
        if is_same.any():
            pairs = np.stack([owners[is_same], next_owners[is_same]], axis=1)
            is_new = np.append(True, (pairs[1:] != pairs[:-1]).any(axis=1))
            self._pairs.append(pairs[is_new])


def _joined_numbers(pairs: Ints, count: int) -> Ints:
    """Return for each of `count` numbers the number of its set, from 0, by the first of each set.

    Each pair joins the sets of two numbers.
    """
    first = list(range(count))
    for one, other in pairs.tolist():
        one_first = _first_of(first, one)
        other_first = _first_of(first, other)
        first[max(one_first, other_first)] = min(one_first, other_first)
    roots = np.array(first, np.int64)
    while (further := roots[roots]).tobytes() != roots.tobytes():
        roots = further
    return np.asarray(np.unique(roots, return_inverse=True)[1], np.int64)


def _first_of(first: list[int], number: int) -> int:
    """Return the first number of the set, and shorten the way to it."""
    while first[number] != number:
        first[number] = first[first[number]]
        number = first[number]
    return number
