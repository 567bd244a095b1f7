"""`python -m tests.support.gated_worker gpu`: the ordinary worker, whose ki67 passes a gate.

Its tiles are small, so that a small slide has many of them. Every batch of tiles waits at the gate of `tests.support.gate` while that is closed.
Celery's child processes import this module too, because their parent was started with it.
"""

import os
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final, Literal

from broker.orders.algorithm_card import AlgorithmCard
from broker.settings.config import AlgorithmSettings
from tests.support.gate import FOLDER_VARIABLE, Gate
from worker.__main__ import main
from worker.algorithms import registry
from worker.algorithms.interface import TileAlgorithm, TileClassifier
from worker.context import worker_context
from worker.geometry.frame import Area, Floats, Frame, Pixels
from worker.results.objects import Objects

TILE_PX: Final = 256


class GatedAlgorithm:
    """An algorithm whose classifiers pass the gate before every batch."""

    works_on: Literal["tiles"] = "tiles"

    def __init__(self, model: TileAlgorithm, gate: Gate) -> None:
        self.card = model.card.model_copy(update={"tile_px": TILE_PX})
        self.settings = model.settings
        self.batch_tiles = model.batch_tiles
        self._model = model
        self._gate = gate

    def calibrate(self, samples: Pixels) -> TileClassifier:
        return GatedClassifier(self._model.calibrate(samples), self._gate)


class GatedClassifier:
    """The classifier of one attempt at a scan. It counts the batches as they begin."""

    def __init__(self, classifier: TileClassifier, gate: Gate) -> None:
        self._classifier = classifier
        self._gate = gate
        self._numbers = count()

    def classify(self, batch: Pixels) -> list[Objects] | Floats:
        self._gate.pass_through(next(self._numbers), worker_context().leaving.is_set)
        return self._classifier.classify(batch)

    def summarise(
        self, counts: Sequence[int], frame: Frame, area: Area
    ) -> tuple[dict[str, Any], str]:
        return self._classifier.summarise(counts, frame, area)


class GatedKi67Kind(registry._Ki67Kind):
    """The kind ki67, whose algorithm is behind the gate."""

    def load(
        self,
        card: AlgorithmCard,
        parameters: Any,
        entry: AlgorithmSettings,
        device: str,
        max_batch_bytes: int,
    ) -> GatedAlgorithm:
        model: Any = super().load(card, parameters, entry, device, max_batch_bytes)
        return GatedAlgorithm(model, Gate(Path(os.environ[FOLDER_VARIABLE])))


registry._KINDS = {**registry._KINDS, "ki67": GatedKi67Kind()}  # type: ignore[misc]

if __name__ == "__main__":
    main()
