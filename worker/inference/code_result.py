"""What running an algorithm on a scan gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.order import ScanWarning
from worker.results.result import Findings

Counts = Mapping[str, float]
"""Counts for the record of a scan."""


@dataclass(frozen=True, slots=True)
class CodeResult:
    """The findings of one scan, the card they belong to, counts, warnings, and further files.

    `posted`: a body of a post to Techcyte with this scan alone, where code of the site wrote it.
    """

    findings: Findings
    card: AlgorithmCard
    counts: Counts = field(default_factory=dict)
    warnings: tuple[ScanWarning, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    posted: Path | None = None
