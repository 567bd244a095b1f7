"""Runs the built-in `ImageFunction`, which reads no pixels. Loads no torch."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import numpy as np

from broker.orders.algorithm_card import AlgorithmCard
from slidelane.algorithms import Context, Result
from worker.algorithms.builtin.context import BuiltinContext
from worker.algorithms.python.found import objects_of_found
from worker.geometry.frame import Area, Frame
from worker.geometry.scan_roi import ScanRoi
from worker.results.result import Findings


class BuiltinReport:
    """A built-in function with an order's parameters."""

    works_on: Literal["area"] = "area"

    def __init__(
        self,
        card: AlgorithmCard,
        function: Callable[[str, Context], Result],
        parameters: Mapping[str, Any],
    ) -> None:
        self.card = card
        self._function = function
        self._parameters = parameters

    def report(self, frame: Frame, area: Area) -> Findings:
        """Return what the function finds in the area, in level-0 pixels."""
        none = np.empty((0, 0, 0, 3), np.uint8)
        context = BuiltinContext(self._parameters, none, ScanRoi(area), frame.mpp_x, frame.mpp_y)
        result = self._function("", cast("Context", context))
        names = [entry.name for entry in self.card.classes]
        objects = objects_of_found(result.objects, names, (), np.zeros(2))
        return Findings(frame, area, objects, dict(result.summary), result.headline)
