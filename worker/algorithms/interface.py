"""The interface between the pipeline and an algorithm. Loads no torch, so anybody may import it."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from broker.orders.algorithm_card import AlgorithmCard
from worker.geometry.frame import Area, Floats, Frame, Pixels
from worker.results.objects import Objects
from worker.results.result import Findings


class TileClassifier(Protocol):
    """An algorithm set up for one scan: its thresholds are fixed, so all tiles are judged alike.

    Several threads call it at the same time.
    """

    def classify(self, batch: Pixels) -> list[Objects] | Floats:
        """Return the objects of each tile, or how likely each class is for each tile.

        `batch` has shape (N, E, E, 3), E = tile_px + 2 halo_px; it is overwritten afterwards.

        Objects are in pixels of the tile as it was read: x right, y down, origin at the corner of
        the halo. Objects in the halo count too. An object near the core must have the same centre
        whichever tile shows it.

        Where the card's output is `tiles`, the answer has shape (N, classes), and each row adds up
        to 1.
        """

    def summarise(
        self, counts: Sequence[int], frame: Frame, area: Area
    ) -> tuple[dict[str, Any], str]:
        """Return figures fit for JSON, and a headline of one line.

        `counts` holds the number of objects of each class in the whole area.
        """


class TileAlgorithm(Protocol):
    """An algorithm that works on a slide tile by tile."""

    works_on: Literal["tiles"]
    card: AlgorithmCard
    batch_tiles: int
    """The number of tiles that it prefers to get at a time."""

    def calibrate(self, samples: Pixels) -> TileClassifier:
        """Fix what depends on the scan's stain, from N sample tiles (N, H, W, 3); N may be 0."""


class ReportAlgorithm(Protocol):
    """An algorithm that answers for a whole area at once, without reading tiles."""

    works_on: Literal["area"]
    card: AlgorithmCard

    def report(self, frame: Frame, area: Area) -> Findings:
        """Return all findings of the area, in level-0 pixels."""


Algorithm = TileAlgorithm | ReportAlgorithm
