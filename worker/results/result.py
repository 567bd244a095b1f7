"""The result of one scan, as it is saved, encoded and delivered. Knows no file and no format."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.order import ScanWarning
from worker.geometry.frame import Area, Frame
from worker.results.embeddings import Embeddings
from worker.results.objects import ObjectSource


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that an algorithm states about one scan, in level-0 pixels.

    `summary` holds figures fit for JSON, `headline` one line for people. `embeddings` are the
    vectors of the tiles where the algorithm computes some.
    """

    frame: Frame
    area: Area
    objects: ObjectSource
    summary: dict[str, Any]
    headline: str
    embeddings: Embeddings | None = None


MAX_POSTED_BYTES: Final = 256 * 2**20
"""How large an entry in a post to Techcyte may be that code of the site wrote."""


@dataclass(frozen=True, slots=True)
class FailedScan:
    """A scan that has no result, in an order whose other results are delivered all the same."""

    id: str
    code: str
    detail: str

    @property
    def summary(self) -> str:
        """The line that people read in place of a result."""
        return f"FAILED {self.code}: {self.detail}"


@dataclass(frozen=True)
class Result:
    """The findings of one scan, with what identifies their origin.

    `provenance` names the reader and the slide's digest and size in bytes. `produced` says when,
    by which versions and on which device the result was made. `slide_name` is the file name of the
    slide without its suffix, or the id of the scan where it is ordered by no single file.
    """

    order_id: str
    scan_id: str
    card: AlgorithmCard
    parameters: dict[str, Any]
    findings: Findings
    provenance: dict[str, Any]
    warnings: tuple[ScanWarning, ...] = ()
    produced: dict[str, Any] = field(default_factory=dict)
    slide_name: str = ""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Further files, by their name in the folder of the result, which they are moved into."""
    posted: Path | None = None
    """A file with a post to Techcyte, of this scan alone, that a program or code of the site wrote;
    None for other algorithms, and where it is not at hand."""

    def counts(self) -> dict[str, int]:
        """Return how many objects each class of the card has, in the card's order.

        It is empty where the objects have no class.
        """
        names = [entry.name for entry in self.card.object_classes]
        counts = self.findings.objects.counts(len(names))
        return dict(zip(names, counts, strict=True))
