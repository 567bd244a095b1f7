"""Divides a label map into connected parts and traces their outlines along the edges of pixels.

All steps work on whole arrays: a nuclei network answers hundreds of objects for a tile.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.geometry.frame import Floats, Ints

# The sides of a pixel, as numbers. Along them one walks around a part with the part to the right:
# to the right along the upper side, down along the right one, and so on.
_SIDES: Final = 4
_UPPER: Final = 0
_STARTS: Final = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
"""Where the walk along each side begins, x and y from the pixel's upper left corner."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The 4-connected parts of equal labels in a map (h, w), numbered from 1.

    `numbers`: (h, w), the part of each pixel, 0 where there is no object. `pixels`: the flat
    numbers of all pixels in parts, in reading order, and `owners` the part of each. `first_pixels`
    and `sizes_px`: by number of the part; number 0 is unused.
    """

    numbers: NDArray[np.int32]
    pixels: Ints
    owners: NDArray[np.int32]
    first_pixels: Ints
    sizes_px: Ints

    @classmethod
    def of(cls, labels: NDArray[np.integer[Any]]) -> "Parts":
        """Divide a label map (h, w), in which 0 is no object."""
        count, numbers = _connected(labels)
        flat = numbers.ravel()
        pixels = np.flatnonzero(flat)
        owners = flat[pixels]
        first_pixels = np.zeros(count + 1, np.int64)
        # of repeated indices the last assignment counts, which is the first pixel
        first_pixels[owners[::-1]] = pixels[::-1]
        sizes_px = np.bincount(owners, minlength=count + 1)
        return cls(numbers, pixels, owners, first_pixels, sizes_px)

    def __len__(self) -> int:
        """Return the number of parts and one more, since number 0 is no part."""
        return len(self.sizes_px)

    def largest(self, labels: NDArray[np.integer[Any]]) -> Ints:
        """Return the number of each label's largest part, in reading order of their first pixels.

        Of equally large ones it is the upper, then the left one.
        """
        first_pixels = self.first_pixels[1:]
        ids = labels.ravel()[first_pixels]
        order = np.lexsort((first_pixels, -self.sizes_px[1:], ids))
        is_first = np.append(True, np.diff(ids[order]) != 0)[: len(order)]
        chosen = order[is_first]
        return np.asarray(chosen[np.argsort(first_pixels[chosen])] + 1)

    def means(self, values: NDArray[Any]) -> Floats:
        """Return the mean of a map of values (h, w) over each part, by number of the part."""
        of_pixels = values.ravel()[self.pixels]
        sums = np.bincount(self.owners, of_pixels, len(self))
        return np.asarray(sums / np.maximum(self.sizes_px, 1), np.float64)

    def centroids(self) -> Floats:
        """Return the mean of the centres of each part's pixels, (parts + 1, 2), x and y."""
        rows, columns = np.divmod(self.pixels, self.numbers.shape[1])
        x = np.bincount(self.owners, columns, len(self))
        y = np.bincount(self.owners, rows, len(self))
        sums = np.stack([x, y], axis=1)
        return np.asarray(sums / np.maximum(self.sizes_px, 1)[:, None] + 0.5)

    def at_rim(self) -> NDArray[np.bool_]:
        """Return whether each part touches the left, upper, right and lower rim of the map."""
        sides = np.zeros((len(self), _SIDES), np.bool_)
        numbers = self.numbers
        for side, line in enumerate((numbers[:, 0], numbers[0], numbers[:, -1], numbers[-1])):
            sides[line, side] = True
        return sides

    def outlines(self, chosen: Ints) -> list[Floats]:
        """Return the outer ring of each chosen part, (K, 2), corners of pixels, without holes.

        A ring is open, turns clockwise on the screen and touches itself nowhere. What it encloses
        belongs to it: also a place that is joined to the outside by a corner alone.
        """
        if not len(chosen):
            return []
        edges = _Edges.around(self.numbers)
        width = self.numbers.shape[1]
        rows, columns = np.divmod(self.first_pixels[chosen], width)
        # The upper side of the first pixel in reading order lies on the outer ring.
        first_edges = edges.index[_UPPER, (rows + 1) * (width + 2) + columns + 1]
        order, lengths = edges.ordered(first_edges)
        return _corners(edges, order, lengths)


@dataclass(frozen=True, slots=True)
class _Edges:
    """All sides of pixels with another part beyond them.

    `pixels`: flat numbers of the pixels in a map with a margin of one pixel, `width` pixels wide.
    `sides`: which side of the pixel each is. `following`: the edge at which the walk goes on.
    `index`: (4, pixels of the map), the edge of each side of each pixel.
    """

    pixels: Ints
    sides: Ints
    following: Ints
    index: Ints
    width: int

    @classmethod
    def around(cls, numbers: NDArray[np.int32]) -> "_Edges":
        """Return the edges of all parts.

        Where two pixels of a part touch at a corner alone, the walk crosses over to the other one.
        """
        padded = np.pad(numbers, 1)
        width = padded.shape[1]
        flat = padded.ravel()
        ahead = np.array([1, width, -1, -width])
        outside = np.array([-width, 1, width, -1])
        found: list[Ints] = []
        inner = flat[width:-width]  # without the rows of the margin
        for offset in outside.tolist():
            beyond = flat[width + offset : len(flat) - width + offset]
            found.append(np.flatnonzero((inner != beyond) & (inner != 0)) + width)
        pixels = np.concatenate(found)
        sides = np.repeat(np.arange(_SIDES), [len(one) for one in found])
        index = np.zeros((_SIDES, flat.size), np.int64)
        index[sides, pixels] = np.arange(len(pixels))
        owner = flat[pixels]
        right = pixels + ahead[sides]
        left = right + outside[sides]
        turns_left = flat[left] == owner
        goes_on = flat[right] == owner
        next_pixels = np.where(turns_left, left, np.where(goes_on, right, pixels))
        turn = np.where(turns_left, -1, np.where(goes_on, 0, 1))
        next_sides = (sides + turn) % _SIDES
        return cls(pixels, sides, index[next_sides, next_pixels], index, width)

    def ordered(self, first_edges: Ints) -> tuple[Ints, Ints]:
        """Return the edges of the rings that begin at these edges, ring by ring, and the lengths.

        Each edge learns by doubling how many steps it is away from the start of its ring, so the
        number of rounds is the logarithm of the longest ring.
        """
        reached = self.following.copy()
        reached[first_edges] = first_edges
        away = np.ones(len(reached), np.int64)
        away[first_edges] = 0
        is_start = np.zeros(len(reached), np.bool_)
        is_start[first_edges] = True
        arrived = 0
        while (now := int(is_start[reached].sum())) > arrived:
            arrived = now
            away += away[reached]
            reached = reached[reached]
        ring_of_start = np.zeros(len(reached), np.int64)
        ring_of_start[first_edges] = np.arange(len(first_edges))
        on_rings = np.flatnonzero(is_start[reached])
        rings = ring_of_start[reached[on_rings]]
        lengths = np.bincount(rings, minlength=len(first_edges))
        starts = lengths.cumsum() - lengths
        steps = (lengths[rings] - away[on_rings]) % lengths[rings]
        order = np.empty(len(on_rings), np.int64)
        order[starts[rings] + steps] = on_rings
        return order, lengths


def _corners(edges: _Edges, order: Ints, lengths: Ints) -> list[Floats]:
    """Return the corners of each ring, given its edges in order."""
    sides = edges.sides[order]
    starts = lengths.cumsum() - lengths
    previous = np.roll(sides, 1)
    previous[starts] = sides[starts + lengths - 1]
    is_corner = sides != previous
    rows, columns = np.divmod(edges.pixels[order[is_corner]], edges.width)
    points = np.stack([columns, rows], axis=1) - 1 + _STARTS[sides[is_corner]]
    ends = np.append(0, is_corner.cumsum()[starts + lengths - 1])
    corners = points.astype(np.float64)
    return [corners[start:stop] for start, stop in pairwise(ends.tolist())]


def _connected(labels: NDArray[np.integer[Any]]) -> tuple[int, NDArray[np.int32]]:
    """Return the number of 4-connected parts of equal labels, and the part of each pixel.

    OpenCV joins whatever is not 0. So the map is drawn at twice the size, with a bridge between
    two pixels where their labels are equal.
    """
    height, width = labels.shape
    filled = labels != 0
    bridged = np.zeros((2 * height - 1, 2 * width - 1), np.uint8)
    bridged[::2, ::2] = filled
    bridged[::2, 1::2] = filled[:, 1:] & (labels[:, 1:] == labels[:, :-1])
    bridged[1::2, ::2] = filled[1:] & (labels[1:] == labels[:-1])
    count, numbers = cv2.connectedComponents(bridged, connectivity=4, ltype=cv2.CV_32S)
    return count - 1, np.ascontiguousarray(numbers[::2, ::2])
