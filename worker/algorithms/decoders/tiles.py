"""Makes probabilities of the classes of tiles, of what a network answers for each tile."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from broker.orders.algorithm_card import AlgorithmCard
from worker.algorithms.answer_error import AlgorithmAnswerError
from worker.algorithms.decoders.interface import Answers
from worker.algorithms.decoders.probabilities import (
    TOLERANCE,
    Activation,
    activated,
    check_range,
    float_tensor,
)
from worker.algorithms.output_settings import TilesSettings
from worker.geometry.frame import Area, Floats, Frame
from worker.geometry.roi import size_mm2
from worker.results.words import counted

_ROLE = "logits"


class TilesDecoder:
    """The answers of a network that says how likely each class is for a tile."""

    def __init__(
        self,
        card: AlgorithmCard,
        settings: TilesSettings,
        activation: Activation,
        precision: str,
    ) -> None:
        self._card = card
        self._classes = len(card.classes)
        self._has_sum = self._classes > 1 and not settings.multi_label
        self._activation = activation
        if settings.multi_label and activation == "auto":
            self._activation = "sigmoid"
        self._precision = precision

    def decode(self, answers: Answers, tiles: int) -> Floats:
        """Return how likely each class is for each tile: (tiles, classes)."""
        scores = self._shaped(float_tensor(_ROLE, answers[_ROLE]), tiles)
        likely = activated(scores, self._activation)
        check_range(_ROLE, likely)
        probabilities: Floats = likely.double().cpu().numpy()
        if self._has_sum and tiles:
            worst = float(np.abs(probabilities.sum(axis=1) - 1).max())
            if worst > TOLERANCE:
                raise AlgorithmAnswerError(
                    f"outputs.{_ROLE}: the probabilities of a tile are {worst:g} off a sum of 1; "
                    'state another activation, or "multi_label": true'
                )
        return probabilities

    def _shaped(self, scores: Tensor, tiles: int) -> Tensor:
        """Return the scores as (tiles, classes), without further dimensions of length 1."""
        shape = tuple(scores.shape)
        required = (tiles, self._classes)
        if shape == (tiles,) and self._classes == 1:
            return scores.reshape(required)
        if shape[:2] != required or any(length != 1 for length in shape[2:]):
            raise AlgorithmAnswerError(
                f"outputs.{_ROLE} has shape {shape}; classes says {self._classes}, so "
                f"{required} is needed"
            )
        return scores.reshape(required)

    def summarise(
        self, counts: Sequence[int], frame: Frame, area: Area
    ) -> tuple[dict[str, Any], str]:
        """Return how many tiles with tissue are likeliest of each class, and their shares.

        A number after those of the classes counts tiles that are of none: shares are of all.
        """
        total = sum(counts)
        names = [entry.name for entry in self._card.classes]
        by_class = dict(zip(names, counts[: len(names)], strict=True))
        shares: dict[str, float | None] = dict.fromkeys(names)
        if total:
            shares = {name: count / total for name, count in by_class.items()}
        summary = {
            "tiles": total,
            "tiles_by_class": by_class,
            "share_by_class": shares,
            "area_mm2": size_mm2(area, frame),
            "precision": self._precision,
        }
        if not total:
            return summary, "no tissue found"
        percents = [f"{name} {100 * count / total:.1f} %" for name, count in by_class.items()]
        return summary, f"{counted(total, 'tile')}: {', '.join(percents)}"
