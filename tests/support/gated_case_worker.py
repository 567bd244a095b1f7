"""`python -m tests.support.gated_case_worker gpu`: the ordinary worker, which waits before it judges.

Every call of an aggregator of the kind `weights` waits at the gate of `tests.support.gate` while
that is closed. Celery's child processes import this module too, because their parent was started
with it.
"""

import os
from pathlib import Path
from typing import Any

from broker.orders.algorithm_card import AlgorithmCard
from broker.settings.config import AlgorithmSettings
from tests.support.gate import FOLDER_VARIABLE, Gate
from worker.__main__ import main
from worker.algorithms import registry
from worker.algorithms.interface import SlideAnswer, TilePlaces
from worker.algorithms.networks.slide_network import Aggregator, SlideNetwork
from worker.context import worker_context


class GatedAggregator:
    """An aggregator that passes the gate before it is asked."""

    def __init__(self, aggregator: Aggregator, gate: Gate) -> None:
        self._aggregator = aggregator
        self._gate = gate

    def ask(self, features: Any, places: TilePlaces | None) -> SlideAnswer:
        self._gate.pass_through(0, worker_context().leaving.is_set)
        return self._aggregator.ask(features, places)


class GatedWeightsKind(registry._WeightsKind):
    """The kind weights, whose networks for slides are behind the gate."""

    def load(
        self,
        card: AlgorithmCard,
        parameters: Any,
        entry: AlgorithmSettings,
        device: str,
        max_batch_bytes: int,
    ) -> Any:
        model: Any = super().load(card, parameters, entry, device, max_batch_bytes)
        if isinstance(model, SlideNetwork):
            gated: Any = GatedAggregator(model._aggregator, Gate(Path(os.environ[FOLDER_VARIABLE])))
            model._aggregator = gated
        return model


registry._KINDS = {**registry._KINDS, "weights": GatedWeightsKind()}  # type: ignore[misc]

if __name__ == "__main__":
    main()
