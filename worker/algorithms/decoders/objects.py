"""Makes single objects of label maps, heat maps or boxes that a network answers."""

from collections.abc import Sequence
from typing import Any, Protocol

from broker.orders.algorithm_card import AlgorithmCard
from worker.algorithms.decoders.interface import Answers
from worker.algorithms.decoders.objects_boxes import BoxesDecoder
from worker.algorithms.decoders.objects_centres import CentresDecoder
from worker.algorithms.decoders.objects_labels import LabelsDecoder
from worker.algorithms.decoders.probabilities import Activation
from worker.algorithms.output_settings import ObjectsSettings
from worker.geometry.frame import Area, Frame
from worker.geometry.roi import size_mm2
from worker.results.objects import Objects
from worker.results.words import counted


class _StyleDecoder(Protocol):
    def decode(self, answers: Answers, tiles: int) -> list[Objects]: ...


class ObjectsDecoder:
    """Decodes the answers of one network in the style of its settings. Threads may share it.

    It leaves out what scores below the threshold where that saves work. Everything else that
    decides whether an object is delivered is the business of merging.
    """

    def __init__(
        self, card: AlgorithmCard, settings: ObjectsSettings, activation: Activation, precision: str
    ) -> None:
        """Raises ValueError for settings that do not go with the classes of the card."""
        self._card = card
        self._precision = precision
        self._decoder = _style_decoder(card, settings, activation)

    def decode(self, answers: Answers, tiles: int) -> list[Objects]:
        """Return the objects of each tile, in pixels of the tile as it was read."""
        return self._decoder.decode(answers, tiles)

    def summarise(
        self, counts: Sequence[int], frame: Frame, area: Area
    ) -> tuple[dict[str, Any], str]:
        """Return how many objects there are, in all and of each class, and how many in a mm2."""
        area_mm2 = size_mm2(area, frame)
        by_class: dict[str, int] = {}
        for entry, count in zip(self._card.classes, counts, strict=True):
            if not entry.background:
                by_class[entry.name] = count
        total = sum(by_class.values())
        summary = {
            "objects": total,
            "objects_by_class": by_class,
            "area_mm2": area_mm2,
            "objects_per_mm2": total / area_mm2,
            "objects_per_mm2_by_class": {
                name: count / area_mm2 for name, count in by_class.items()
            },
            "precision": self._precision,
        }
        return summary, self._headline(by_class, area_mm2)

    def _headline(self, by_class: dict[str, int], area_mm2: float) -> str:
        total = sum(by_class.values())
        if not total:
            return "no objects found"
        labels = [entry.label for entry in self._card.classes if not entry.background]
        if len(labels) == 1:
            return f"{labels[0]}: {counted(total, 'object')}, {total / area_mm2:,.1f} per mm²"
        parts = [
            f"{label} {count:,} ({count / area_mm2:,.1f} per mm²)"
            for label, count in zip(labels, by_class.values(), strict=True)
        ]
        return f"{counted(total, 'object')}: {', '.join(parts)}"


def _style_decoder(
    card: AlgorithmCard, settings: ObjectsSettings, activation: Activation
) -> _StyleDecoder:
    if settings.style == "labels":
        return LabelsDecoder(card, settings, activation)
    if settings.style == "centres":
        return CentresDecoder(card, settings, activation)
    if settings.style == "boxes":
        return BoxesDecoder(card, settings, activation)
    raise ValueError('style: give "labels", "centres" or "boxes"')
