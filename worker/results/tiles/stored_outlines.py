"""Reads outlines of stored objects, many at once, from the mapped files of their store."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.geometry.frame import Floats, Frame, Ints
from worker.results.object_store import ObjectStore
from worker.results.polygons import STEPS_PER_PX


@dataclass(frozen=True, slots=True)
class RingBatch:
    """Rings of objects, one behind another, inside the canvas.

    `steps`: (2, sum of lengths), x and y of open rings in whole tenths of a level-0 pixel, as
    features.geojson has them. `lengths`: (R,). `owners`: (R,), the position of each ring's object
    in the request; the rings after the first of an object are its holes.
    """

    steps: Floats
    lengths: Ints
    owners: Ints

    def only(self, which: NDArray[np.bool_]) -> "RingBatch":
        """Return the rings for which the mask, (R,), is True."""
        if which.all():
            return self
        steps = self.steps[:, np.repeat(which, self.lengths)]
        return RingBatch(steps, self.lengths[which], self.owners[which])


class StoredOutlines:
    """The outlines of a store. Holds 8 bytes for each object; the points stay in their files."""

    def __init__(self, store: ObjectStore, frame: Frame) -> None:
        self.lengths = store.mapped("lengths")
        corner = np.array((frame.width, frame.height), np.float64)
        self._far_corner = corner[:, None] * STEPS_PER_PX
        self._points = store.mapped("points").reshape(-1, 2)
        self._starts = _starts(self.lengths)
        self._holes = store.mapped("holes")
        self._hole_lengths = store.mapped("hole_lengths")
        self._hole_points = store.mapped("hole_points").reshape(-1, 2)
        self._first_holes = _starts(self._holes)
        self._hole_starts = _starts(self._hole_lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def block(self, start: int, stop: int) -> RingBatch:
        """Return the outlines, without holes, of the objects from `start` up to `stop`."""
        lengths = self.lengths[start:stop].astype(np.int64)
        first = self._starts[start]
        points = self._points[first : first + lengths.sum()]
        return RingBatch(self._stepped(points), lengths, np.arange(stop - start))

    def outer(self, numbers: Ints) -> RingBatch:
        """Return the outlines of these objects without their holes."""
        lengths = self.lengths[numbers].astype(np.int64)
        points = self._points[_spans(self._starts[numbers], lengths)]
        return RingBatch(self._stepped(points), lengths, np.arange(len(numbers)))

    def of(self, numbers: Ints, *, are_clockwise: bool) -> RingBatch:
        """Return the rings of these objects, those of holes behind that of their object.

        All outlines turn clockwise on the screen, with y down, and all holes the other way. Holes
        that have no area once their points are rounded are left out. `are_clockwise`: whether
        all outlines turn so in the store already.
        """
        outer = self.outer(numbers)
        if not are_clockwise:
            outer = _turned(outer, 1)
        if not len(self._holes):
            return outer
        return _merged(outer, _turned(self._holes_of(numbers), -1))

    def _holes_of(self, numbers: Ints) -> RingBatch:
        counts = self._holes[numbers].astype(np.int64)
        holes = _spans(self._first_holes[numbers], counts)
        lengths = self._hole_lengths[holes].astype(np.int64)
        points = self._hole_points[_spans(self._hole_starts[holes], lengths)]
        owners = np.repeat(np.arange(len(numbers)), counts)
        rings = RingBatch(self._stepped(points), lengths, owners)
        return rings.only(twice_areas(rings) != 0)

    def _stepped(self, points: Floats) -> Floats:
        steps = np.empty(points.T.shape)
        np.multiply(points.T, STEPS_PER_PX, out=steps)
        np.rint(steps, out=steps)
        np.maximum(steps, 0, out=steps)
        np.minimum(steps, self._far_corner, out=steps)
        return steps


def boxes(rings: RingBatch) -> tuple[Floats, Floats]:
    """Return the lowest and the highest x and y of each ring in level-0 pixels, (R, 2) each.

    None may be without points.
    """
    starts = rings.lengths.cumsum() - rings.lengths
    low = np.minimum.reduceat(rings.steps, starts, axis=1)
    high = np.maximum.reduceat(rings.steps, starts, axis=1)
    return low.T / STEPS_PER_PX, high.T / STEPS_PER_PX


def twice_areas(rings: RingBatch) -> Floats:
    """Return twice the signed area of each ring in square steps.

    It is exact, as whole numbers below 2**53 are, so it is 0 for the same rings as in
    `worker.results.polygons`. A ring without points has none.
    """
    areas = np.zeros(len(rings.lengths))
    filled = np.flatnonzero(rings.lengths)
    if not len(filled):
        return areas
    ends = rings.lengths.cumsum()[filled]
    starts = ends - rings.lengths[filled]
    x, y = rings.steps
    cross = np.empty(len(x))
    np.multiply(x[:-1], y[1:], out=cross[1:])
    cross[1:] -= x[1:] * y[:-1]
    cross[starts] = x[ends - 1] * y[starts] - x[starts] * y[ends - 1]
    areas[filled] = np.add.reduceat(cross, starts)
    return areas


def _starts(lengths: Ints) -> Ints:
    """Return where each part begins of a column that holds them one behind another."""
    starts = np.cumsum(lengths, dtype=np.int64)
    starts -= lengths
    return starts


def _spans(starts: Ints, lengths: Ints) -> Ints:
    """Return the numbers from each start on, as many as its length, one behind another."""
    ends = lengths.cumsum()
    numbers: Ints = np.arange(lengths.sum()) + np.repeat(starts - ends + lengths, lengths)
    return numbers


def _turned(rings: RingBatch, sign: int) -> RingBatch:
    """Return the rings with areas of this sign; others are read backwards."""
    is_wrong = twice_areas(rings) * sign < 0
    if not is_wrong.any():
        return rings
    lasts = rings.lengths.cumsum() - 1
    order = np.arange(rings.steps.shape[1])
    mirror = 2 * lasts - rings.lengths + 1  # first + last point of the ring
    backwards = np.repeat(mirror, rings.lengths) - order
    order = np.where(np.repeat(is_wrong, rings.lengths), backwards, order)
    return RingBatch(rings.steps[:, order], rings.lengths, rings.owners)


def _merged(outer: RingBatch, holes: RingBatch) -> RingBatch:
    """Return both, the holes of each object behind its outline."""
    owners = np.concatenate([outer.owners, holes.owners])
    lengths = np.concatenate([outer.lengths, holes.lengths])
    order = np.argsort(owners, kind="stable")
    starts = lengths.cumsum() - lengths
    steps = np.concatenate([outer.steps, holes.steps], axis=1)
    taken = _spans(starts[order], lengths[order])
    return RingBatch(steps[:, taken], lengths[order], owners[order])
