"""Runs the built-in `TileModel`, which is written against the public interface, in this process.

Code of a site runs in a process of its own; this code is ours.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, cast

import numpy as np

from broker.orders.algorithm_card import AlgorithmCard
from slidelane.algorithms import Context, Roi
from worker.algorithms.builtin.context import BuiltinContext
from worker.algorithms.builtin.ki67.ki67 import Ki67
from worker.algorithms.output_settings import OutputSettings
from worker.algorithms.python.api_card import output_settings
from worker.algorithms.python.found import objects_of_found
from worker.algorithms.torch_device.device import Device
from worker.algorithms.torch_device.memory import sparing
from worker.geometry.frame import Area, Frame, Pixels, microns
from worker.geometry.scan_roi import ScanRoi
from worker.process.freed_memory import keep_freed
from worker.results.objects import Objects

_NO_SQUARE: Final = np.zeros(2)
"""Every object of a built-in algorithm has an outline."""


class BuiltinTiles:
    """A built-in `TileModel` with an order's parameters, on one device. Threads may share it."""

    works_on: Literal["tiles"] = "tiles"

    def __init__(
        self, card: AlgorithmCard, model: Ki67, parameters: Mapping[str, Any], device: Device
    ) -> None:
        self.card = card
        self.settings: OutputSettings = output_settings(model.card)
        self.batch_tiles = device.batch(on_cpu=1, on_gpu=model.card.batch)
        self._model = model
        self._parameters = parameters
        model.load(str(device.torch))
        if not device.is_gpu:
            keep_freed()

    def calibrate(self, samples: Pixels) -> "BuiltinTiles":
        """Let the model prepare itself for a scan."""
        self._model.prepare(self._context(samples))
        return self

    def classify(self, batch: Pixels) -> list[Objects]:
        """Return the objects of each tile."""
        if not len(batch):
            return []
        return sparing(self._classify, batch)

    def summarise(
        self, counts: Sequence[int], frame: Frame, area: Area
    ) -> tuple[dict[str, Any], str]:
        """Return the model's figures and headline.

        Raises OrderError: `mpp_missing` where nobody says how large a pixel is.
        """
        microns(frame)
        names = [entry.name for entry in self._model.card.classes]
        none = np.empty((0, 0, 0, 3), np.uint8)
        context = self._context(none, ScanRoi(area), frame)
        summary, headline = self._model.summarise(dict(zip(names, counts, strict=True)), context)
        return dict(summary), headline

    def _classify(self, batch: Pixels) -> list[Objects]:
        names = [entry.name for entry in self._model.card.classes]
        measured = self._model.card.measurements
        return [
            objects_of_found(found, names, measured, _NO_SQUARE)
            for found in self._model.classify(batch)
        ]

    def _context(
        self, samples: Pixels, roi: Roi | None = None, frame: Frame | None = None
    ) -> Context:
        if frame is None:
            return cast("Context", BuiltinContext(self._parameters, samples))
        context = BuiltinContext(self._parameters, samples, roi, frame.mpp_x, frame.mpp_y)
        return cast("Context", context)
