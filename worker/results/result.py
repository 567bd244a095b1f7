"""What came of one scan: the one value that is kept, encoded and delivered. It knows no file and no format."""

from dataclasses import dataclass
from typing import Any

from broker.orders.algorithm_card import AlgorithmCard
from worker.geometry.frame import Area, Frame
from worker.results.objects import ObjectSource


@dataclass(frozen=True, slots=True)
class Findings:
    """All that an algorithm says of one scan, in level-0 pixels."""

    frame: Frame
    area: Area
    objects: ObjectSource
    summary: dict[str, Any]
    headline: str


@dataclass(frozen=True)
class Result:
    """One scan's findings with everything needed to say where they come from."""

    order_id: str
    scan_id: str
    card: AlgorithmCard
    parameters: dict[str, Any]
    findings: Findings
    provenance: dict[str, Any]

    def counts(self) -> dict[str, int]:
        """How many objects each class of the card has, in the card's order."""
        counts = self.findings.objects.counts(len(self.card.classes))
        return {entry.name: count for entry, count in zip(self.card.classes, counts, strict=True)}
