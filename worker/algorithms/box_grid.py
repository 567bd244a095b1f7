"""The algorithm `grid`: divides the area into equal boxes. Reads no pixels."""

from typing import Literal

import numpy as np

from broker.orders.algorithm_card import AlgorithmCard
from worker.algorithms.builtin_cards import GridParameters
from worker.geometry.frame import Area, Floats, Frame
from worker.geometry.roi import inside
from worker.results.objects import Objects
from worker.results.result import Findings


class BoxGrid:
    """Rows times columns of boxes that cover the area without gap or overlap."""

    works_on: Literal["area"] = "area"

    def __init__(self, card: AlgorithmCard, parameters: GridParameters) -> None:
        self.card = card
        self._rows = parameters.rows
        self._columns = parameters.columns

    def report(self, frame: Frame, area: Area) -> Findings:
        """Return the boxes row by row, in level-0 pixels, exact also where they are fractions.

        Boxes whose centre lies outside the area's polygon are left out.
        """
        xs = area.x + area.width * np.arange(self._columns + 1) / self._columns
        ys = area.y + area.height * np.arange(self._rows + 1) / self._rows
        boxes = [
            _box(xs[column], ys[row], xs[column + 1], ys[row + 1])
            for row in range(self._rows)
            for column in range(self._columns)
        ]
        centres = np.array([box.mean(axis=0) for box in boxes])
        is_inside = inside(centres, area)
        count = int(is_inside.sum())
        objects = Objects(
            centres=centres[is_inside],
            outlines=tuple(boxes[number] for number in np.flatnonzero(is_inside)),
            classes=np.zeros(count, np.int64),
            scores=np.ones(count),
        )
        summary = {"boxes": count, "rows": self._rows, "columns": self._columns}
        headline = f"{count:,} boxes ({self._rows} x {self._columns})"
        return Findings(frame, area, objects, summary, headline)


def _box(left: float, top: float, right: float, bottom: float) -> Floats:
    """Return the corners, clockwise on the screen from the top left one."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], dtype=np.float64)
