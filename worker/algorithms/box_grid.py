"""`grid`: the area divided into equal boxes. Reads no pixels."""

import numpy as np

from broker.orders.algorithm_card import AlgorithmCard
from worker.algorithms.builtin_cards import GridParameters
from worker.geometry.frame import Area, Floats, Frame
from worker.geometry.roi import inside
from worker.results.objects import Objects
from worker.results.result import Findings


class BoxGrid:
    """Rows times columns boxes that cover the area without gap or overlap; those with their centre in its polygon."""

    def __init__(self, card: AlgorithmCard, parameters: GridParameters) -> None:
        self.card = card
        self._rows, self._columns = parameters.rows, parameters.columns

    def report(self, frame: Frame, area: Area) -> Findings:
        """The boxes row by row, corners exact in level-0 pixels (fractions where the area does not divide)."""
        xs = area.x + area.width * np.arange(self._columns + 1) / self._columns
        ys = area.y + area.height * np.arange(self._rows + 1) / self._rows
        every = [
            _box(xs[column], ys[row], xs[column + 1], ys[row + 1])
            for row in range(self._rows)
            for column in range(self._columns)
        ]
        centres = np.array([box.mean(axis=0) for box in every])
        wanted = inside(centres, area)
        count = int(wanted.sum())
        boxes = tuple(every[n] for n in np.flatnonzero(wanted))
        objects = Objects(centres[wanted], boxes, np.zeros(count, np.int64), np.ones(count))
        summary = {"boxes": count, "rows": self._rows, "columns": self._columns}
        return Findings(
            frame, area, objects, summary, f"{count:,} boxes ({self._rows} x {self._columns})"
        )


def _box(left: float, top: float, right: float, bottom: float) -> Floats:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], dtype=np.float64)
