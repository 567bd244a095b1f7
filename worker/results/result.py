"""What came of one scan: the one value that is kept, encoded and delivered. It knows no file and no format."""

from dataclasses import dataclass
from typing import Any

from broker.orders.algorithm_card import Card
from worker.geometry.frame import Findings


@dataclass(frozen=True)
class Result:
    """One scan's findings with everything needed to say where they come from."""

    order_id: str
    scan_id: str
    card: Card
    parameters: dict[str, Any]
    findings: Findings
    provenance: dict[str, Any]

    def counts(self) -> dict[str, int]:
        """How many objects each class of the card has, in the card's order."""
        counts = self.findings.objects.counts(len(self.card.classes))
        return {entry.name: count for entry, count in zip(self.card.classes, counts, strict=True)}
