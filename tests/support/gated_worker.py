"""`python -m tests.support.gated_worker gpu`: the ordinary worker with a gate in its ki67.

It asks the gate before every batch of tiles.
Celery's children import this module too, because their parent was started with it.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from billiard.common import terminate_handler_fired

from broker.orders.algorithm_card import AlgorithmCard
from broker.settings.config import AlgorithmSettings
from tests.support.gate import FOLDER, Gate
from worker.__main__ import main
from worker.algorithms import registry
from worker.algorithms.interface import TileAlgorithm, TileClassifier
from worker.geometry.frame import Area, Floats, Frame, Pixels
from worker.results.objects import Objects

KI67 = registry._KINDS["ki67"]


class Gated:
    """An algorithm whose classifiers ask the gate."""

    def __init__(self, model: TileAlgorithm, gate: Gate) -> None:
        self.card, self.batch_tiles = model.card, model.batch_tiles
        self._model, self._gate = model, gate

    def calibrate(self, samples: Pixels) -> TileClassifier:
        return GatedClassifier(self._model.calibrate(samples), self._gate)


class GatedClassifier:
    """One attempt at a scan. It numbers the batches as they begin."""

    def __init__(self, classifier: TileClassifier, gate: Gate) -> None:
        self._classifier, self._gate, self._numbers = classifier, gate, count()

    def classify(self, batch: Pixels) -> list[Objects] | Floats:
        self._gate.pass_through(next(self._numbers), terminate_handler_fired)
        return self._classifier.classify(batch)

    def summarise(
        self, counts: Sequence[int], frame: Frame, area: Area
    ) -> tuple[dict[str, Any], str]:
        return self._classifier.summarise(counts, frame, area)


def load_gated(
    card: AlgorithmCard, parameters: Any, entry: AlgorithmSettings, device: str
) -> Gated:
    """The ordinary ki67 behind the gate."""
    model: Any = KI67.load(card, parameters, entry, device)
    return Gated(model, Gate(Path(os.environ[FOLDER])))


registry._KINDS = registry._KINDS | {"ki67": replace(KI67, load=load_gated)}  # type: ignore[operator]

if __name__ == "__main__":
    main()
