"""`grid`: the area in equal boxes. Reads no pixels; shows that orders, coordinates and deliveries work."""

import numpy as np

from broker.card import Card
from worker.algorithms.cards import GridParameters
from worker.values import Area, Findings, Floats, Frame, Objects


class Grid:
    """Rows by columns of boxes, row by row."""

    def __init__(self, card: Card, parameters: GridParameters) -> None:
        self.card, self._rows, self._columns = card, parameters.rows, parameters.columns

    def report(self, frame: Frame, area: Area) -> Findings:
        """The boxes in level-0 pixels; fractions where the area does not divide evenly."""
        x = np.linspace(area.x, area.x + area.width, self._columns + 1)
        y = np.linspace(area.y, area.y + area.height, self._rows + 1)
        boxes = tuple(_box(x[c], y[r], x[c + 1], y[r + 1]) for r in range(self._rows) for c in range(self._columns))
        centres = np.array([box.mean(axis=0) for box in boxes])
        objects = Objects(centres, boxes, np.zeros(len(boxes), np.int64), np.ones(len(boxes)))
        return Findings(
            frame, area, objects, {"boxes": len(boxes)}, f"{len(boxes)} boxes, {self._rows} x {self._columns}"
        )


def _box(left: float, top: float, right: float, bottom: float) -> Floats:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
