"""What an algorithm is to the pipeline, which does geometry, batching, halo and merge: an algorithm sees pixels."""

from typing import Any, Protocol

from broker.card import Card
from worker.values import Area, Findings, Frame, Objects, Pixels


class TileClassifier(Protocol):
    """An algorithm that has seen samples of the scan and is ready for its tiles."""

    def classify(self, batch: Pixels) -> list[Objects]:
        """For each tile of `batch` (N, E, E, 3; halo included) what is on it, in the tile's own pixels."""

    def summarise(self, objects: Objects, frame: Frame, area: Area) -> tuple[dict[str, Any], str]:
        """All of the scan's objects (level-0 pixels) in numbers, and in one line."""


class TileAlgorithm(Protocol):
    """Finds objects tile by tile. An object's centre must depend on nothing farther away than the card's halo."""

    card: Card

    def calibrate(self, samples: Pixels) -> TileClassifier:
        """Set what the whole scan decides (thresholds) from samples (N, E, E, 3), N >= 0."""


class ReportAlgorithm(Protocol):
    """Answers for an area as a whole."""

    card: Card

    def report(self, frame: Frame, area: Area) -> Findings:
        """What there is to say of `area`, level-0 pixels."""


Algorithm = TileAlgorithm | ReportAlgorithm
