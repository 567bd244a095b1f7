"""Finds the squares of an area that hold most objects."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.geometry.frame import Area, Floats, Frame

_CELLS: Final = 16
"""Cells along the edge of a square: it is placed to a sixteenth of its edge."""
_Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Square:
    """A box in level-0 pixels, square in microns, and how many objects have their centre in it."""

    left: float
    top: float
    width: float
    height: float
    objects: int

    @property
    def ring(self) -> Floats:
        """The closed ring of its corners, clockwise on the screen, (5, 2) in level-0 pixels."""
        right = self.left + self.width
        bottom = self.top + self.height
        corners = [(self.left, self.top), (right, self.top), (right, bottom), (self.left, bottom)]
        return np.array([*corners, corners[0]], np.float64)


def hotspots(
    centres: Floats, area: Area, frame: Frame, size_mm2: float, number: int
) -> list[Square]:
    """Return at most `number` squares of `size_mm2` that hold most of the centres (N, 2).

    The fullest comes first; equally full ones from top to bottom, then from left to right. They lie
    in the box of the area and do not overlap. There is none where the size of a pixel is not
    known, the area is smaller than a square, or no object is left.
    """
    if frame.mpp_x is None or frame.mpp_y is None or not len(centres):
        return []
    edge_um = math.sqrt(size_mm2) * 1000
    width = edge_um / frame.mpp_x
    height = edge_um / frame.mpp_y
    if width > area.width or height > area.height:
        return []
    cell = np.array([width / _CELLS, height / _CELLS])
    columns = math.floor(area.width / cell[0] + 1e-9)
    rows = math.floor(area.height / cell[1] + 1e-9)
    cells = np.floor((centres - (area.x, area.y)) / cell).astype(np.int64)
    counts = np.zeros((rows, columns), np.int64)
    is_inside = (cells >= 0).all(axis=1) & (cells < (columns, rows)).all(axis=1)
    np.add.at(counts, (cells[is_inside, 1], cells[is_inside, 0]), 1)
    found = []
    for _ in range(number):
        square = _fullest(counts)
        if square is None:
            break
        row, column, objects = square
        left = area.x + column * cell[0]
        top = area.y + row * cell[1]
        found.append(Square(float(left), float(top), width, height, objects))
        # A square that overlaps this one must not come next: its cells make any sum negative.
        counts[row : row + _CELLS, column : column + _CELLS] = -len(centres) - 1
    return found


def _fullest(counts: _Counts) -> tuple[int, int, int] | None:
    """Return row, column and objects of the fullest square of cells; None where all are empty."""
    totals = np.pad(counts, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    sums = (
        totals[_CELLS:, _CELLS:]
        - totals[:-_CELLS, _CELLS:]
        - totals[_CELLS:, :-_CELLS]
        + totals[:-_CELLS, :-_CELLS]
    )
    if not sums.size or sums.max() <= 0:
        return None
    row, column = divmod(int(sums.argmax()), sums.shape[1])
    return row, column, int(sums[row, column])
