"""Traces the outlines of connected parts along the edges of their pixels, holes included.

A part is given by the corners of its outlines: the points at which an edge turns. Along every row
of points the corners of one part, from left to right, are the ends of its horizontal edges, two by
two; the same holds for vertical edges. Following horizontal and vertical edges by turns gives the
rings. Where two pixels of a part touch in one point only, two rings touch there, and none touches
itself: rings of valid polygons.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from worker.geometry.frame import Ints
from worker.inference.merging.mask.blending import NO_CLASS

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Corners:
    """N corners of outlines, in pixels of the mask.

    `owner`: the number of the part. `goes_right`, `goes_down`: where the horizontal and the
    vertical edge lead from here. `part_below`: the part lies below the horizontal edge.
    """

    owner: Ints
    x: Ints
    y: Ints
    goes_right: Mask
    goes_down: Mask
    part_below: Mask

    def __len__(self) -> int:
        return len(self.owner)

    def selected(self, which: Mask | Ints) -> "Corners":
        """Return these corners."""
        return Corners(
            self.owner[which],
            self.x[which],
            self.y[which],
            self.goes_right[which],
            self.goes_down[which],
            self.part_below[which],
        )

    @classmethod
    def joined(cls, parts: Sequence["Corners"]) -> Self:
        """Return all corners of the parts."""
        return cls(
            np.concatenate([_NO_NUMBERS, *(part.owner for part in parts)]),
            np.concatenate([_NO_NUMBERS, *(part.x for part in parts)]),
            np.concatenate([_NO_NUMBERS, *(part.y for part in parts)]),
            np.concatenate([_NO_FLAGS, *(part.goes_right for part in parts)]),
            np.concatenate([_NO_FLAGS, *(part.goes_down for part in parts)]),
            np.concatenate([_NO_FLAGS, *(part.part_below for part in parts)]),
        )


@dataclass(frozen=True, slots=True)
class PixelRings:
    """R rings along the edges of pixels, those of one part one behind another.

    `owners`: (R,), the number of the part. `points`: (N, 2), x and y in pixels of the mask, of all
    rings. `starts`: (R,), where each begins; none is closed. `pixels`: (R,), the signed area: that
    of outlines is positive, that of holes negative.
    """

    owners: Ints
    points: Ints
    starts: Ints
    pixels: Ints

    def ring_of_points(self) -> Ints:
        """Return the number of the ring of each point."""
        lengths = np.diff(self.starts, append=len(self.points))
        return np.repeat(np.arange(len(self.starts)), lengths)


_NO_NUMBERS = np.empty(0, np.int64)
_NO_FLAGS = np.empty(0, np.bool_)


def corners(values: NDArray[np.uint16], owners: Ints, left: int, top: int) -> Corners:
    """Return the corners at the points between the pixels of a window, at (left, top) and on.

    `values` and `owners` have shape (H + 1, W + 1): class and part of each pixel, with the row of
    pixels above the window and the column on its left.
    """
    differs_right = values[:, 1:] != values[:, :-1]
    differs_down = values[1:] != values[:-1]
    # a straight edge and the middle of a part have no corner
    turns_right = differs_right[:-1] | differs_right[1:]
    turns_down = differs_down[:, :-1] | differs_down[:, 1:]
    rows, columns = np.nonzero(turns_right & turns_down)
    found: list[Corners] = []
    for below in (0, 1):
        for right in (0, 1):
            pixel = (rows + below, columns + right)
            beside = (rows + below, columns + 1 - right)
            above = (rows + 1 - below, columns + right)
            opposite = (rows + 1 - below, columns + 1 - right)
            value = values[pixel]
            others = values[opposite]
            differs = (value != values[beside]) & (value != values[above])
            convex = differs & (value != NO_CLASS)
            concave = differs & (others != NO_CLASS)
            concave &= (others == values[beside]) & (others == values[above])
            for where, at, part_below in (
                (convex, pixel, bool(below)),
                (concave, opposite, not below),
            ):
                count = int(where.sum())
                found.append(
                    Corners(
                        owners[at][where],
                        left + columns[where],
                        top + rows[where],
                        np.full(count, bool(right)),
                        np.full(count, bool(below)),
                        np.full(count, part_below),
                    )
                )
    return Corners.joined(found)


def traced(found: Corners) -> PixelRings:
    """Return the rings of the parts whose corners are all of `found`, by part.

    The first ring of a part is its outline. With y down, the part lies on the right of each ring.
    """
    by_row = np.lexsort((found.goes_right, found.x, found.y, found.owner))
    corners = found.selected(by_row)
    goes_down = corners.goes_down ^ _is_double(corners)
    left = np.arange(0, len(corners), 2)
    rightwards = corners.part_below[left]
    start = np.where(rightwards, left, left + 1)
    end = np.where(rightwards, left + 1, left)
    by_column = np.lexsort((goes_down, corners.y, corners.x, corners.owner))
    beyond = np.empty(len(corners), np.int64)
    beyond[by_column[0::2]] = by_column[1::2]
    beyond[by_column[1::2]] = by_column[0::2]
    edges, first_edges = _cycles(beyond[end] // 2)
    points = np.empty((2 * len(edges), 2), np.int64)
    for column, values in enumerate((corners.x, corners.y)):
        points[0::2, column] = values[start[edges]]
        points[1::2, column] = values[end[edges]]
    below = (points[0::2, 0] - points[1::2, 0]) * points[0::2, 1]
    pixels = np.empty(0, np.int64)
    if len(first_edges):
        pixels = np.add.reduceat(below, first_edges)
    return PixelRings(corners.owner[start[edges[first_edges]]], points, 2 * first_edges, pixels)


def _is_double(corners: Corners) -> Mask:
    """Return which corners lie where two pixels of one part touch in this point only.

    There the vertical edges change hands, so that each ring goes around a pixel that is no part.
    """
    same = (
        (corners.x[1:] == corners.x[:-1])
        & (corners.y[1:] == corners.y[:-1])
        & (corners.owner[1:] == corners.owner[:-1])
    )
    is_double = np.zeros(len(corners), np.bool_)
    is_double[1:] |= same
    is_double[:-1] |= same
    return is_double


def _cycles(successors: Ints) -> tuple[Ints, Ints]:
    """Return all numbers, cycle by cycle, and where each cycle begins.

    The number after each is its successor. Cycles begin with their smallest number, in order.
    """
    following = successors.tolist()
    is_seen = bytearray(len(following))
    order: list[int] = []
    starts: list[int] = []
    for first in range(len(following)):
        if is_seen[first]:
            continue
        starts.append(len(order))
        number = first
        while not is_seen[number]:
            is_seen[number] = 1
            order.append(number)
            number = following[number]
    return np.array(order, np.int64), np.array(starts, np.int64)
