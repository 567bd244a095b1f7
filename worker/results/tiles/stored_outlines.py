"""Reads outlines of stored objects, many at once, from the mapped files of their store."""

from dataclasses import dataclass

import numpy as np

from worker.geometry.frame import Floats, Frame, Ints
from worker.results.object_store import ObjectStore
from worker.results.polygons import STEPS_PER_PX


@dataclass(frozen=True, slots=True)
class RingBatch:
    """Rings of objects, one behind another, in level-0 pixels to 0.1 and inside the canvas.

    `points`: (sum of lengths, 2), open rings. `lengths`: (R,). `owners`: (R,), the position of each
    ring's object in the request; the rings after the first of an object are its holes.
    """

    points: Floats
    lengths: Ints
    owners: Ints


class StoredOutlines:
    """The outlines of a store. Holds 8 bytes for each object; the points stay in their files."""

    def __init__(self, store: ObjectStore, frame: Frame) -> None:
        self.lengths = store.mapped("lengths")
        self._corner = (frame.width, frame.height)
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
        return RingBatch(self._rounded(points), lengths, np.arange(stop - start))

    def of(self, numbers: Ints) -> RingBatch:
        """Return the rings of these objects, those of holes behind that of their object.

        Holes that have no area once their points are rounded are left out.
        """
        lengths = self.lengths[numbers].astype(np.int64)
        points = self._points[_spans(self._starts[numbers], lengths)]
        outer = RingBatch(self._rounded(points), lengths, np.arange(len(numbers)))
        if not len(self._holes):
            return outer
        return _merged(outer, self._holes_of(numbers))

    def _holes_of(self, numbers: Ints) -> RingBatch:
        counts = self._holes[numbers].astype(np.int64)
        holes = _spans(self._first_holes[numbers], counts)
        lengths = self._hole_lengths[holes].astype(np.int64)
        points = self._hole_points[_spans(self._hole_starts[holes], lengths)]
        owners = np.repeat(np.arange(len(numbers)), counts)
        rings = RingBatch(self._rounded(points), lengths, owners)
        has_area = twice_areas(rings.points, lengths) != 0
        kept = np.repeat(has_area, lengths)
        return RingBatch(rings.points[kept], lengths[has_area], owners[has_area])

    def _rounded(self, points: Floats) -> Floats:
        rounded: Floats = np.rint(np.clip(points, 0, self._corner) * STEPS_PER_PX) / STEPS_PER_PX
        return rounded


def boxes(points: Floats, lengths: Ints) -> tuple[Floats, Floats]:
    """Return the lowest and the highest x and y of each ring, (R, 2) each; none may be empty."""
    starts = lengths.cumsum() - lengths
    return np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)


def twice_areas(points: Floats, lengths: Ints) -> Floats:
    """Return twice the signed area of each ring in square steps of 0.1 px.

    It is exact, as whole numbers below 2**53 are, so it is 0 for the same rings as in
    `worker.results.polygons`. A ring without points has none.
    """
    areas = np.zeros(len(lengths))
    filled = np.flatnonzero(lengths)
    if not len(filled):
        return areas
    starts = (lengths.cumsum() - lengths)[filled]
    lasts = starts + lengths[filled] - 1
    steps = np.rint(points * STEPS_PER_PX)
    previous = np.roll(steps, 1, axis=0)
    previous[starts] = steps[lasts]
    cross = previous[:, 0] * steps[:, 1] - steps[:, 0] * previous[:, 1]
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


def _merged(outer: RingBatch, holes: RingBatch) -> RingBatch:
    """Return both, the holes of each object behind its outline."""
    owners = np.concatenate([outer.owners, holes.owners])
    lengths = np.concatenate([outer.lengths, holes.lengths])
    order = np.argsort(owners, kind="stable")
    starts = lengths.cumsum() - lengths
    points = np.concatenate([outer.points, holes.points])
    taken = _spans(starts[order], lengths[order])
    return RingBatch(points[taken], lengths[order], owners[order])
