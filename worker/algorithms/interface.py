"""What the pipeline asks of an algorithm. Loads no torch, so that everybody may import it."""

from collections.abc import Sequence
from typing import Any, Protocol

from broker.orders.algorithm_card import AlgorithmCard
from worker.geometry.frame import Area, Floats, Frame, Pixels
from worker.results.objects import Objects
from worker.results.result import Findings


class TileClassifier(Protocol):
    """An algorithm set up for one scan: the thresholds are fixed, so that every tile is judged alike.

    Threads call it at the same time. The pixels of a batch are overwritten when it has answered.
    """

    def classify(self, batch: Pixels) -> list[Objects] | Floats:
        """Find the objects of each tile, its halo included; or, where the output is `tiles`, say how likely each of K
        classes is for each of N tiles: (N, K), each row a distribution.

        `batch` has shape (N, E, E, 3), E = tile_px + 2 halo_px; answers are in pixels of the tile read, x right, y
        down, origin at the halo's corner. An object near the core has the same centre whichever tile shows it.
        """

    def summarise(
        self, counts: Sequence[int], frame: Frame, area: Area
    ) -> tuple[dict[str, Any], str]:
        """From how many objects of each class the whole area has: figures fit for JSON, and a headline of one line."""


class TileAlgorithm(Protocol):
    """An algorithm that sees a slide tile by tile."""

    card: AlgorithmCard
    batch_tiles: int
    """Tiles that it likes to be given at a time."""

    def calibrate(self, samples: Pixels) -> TileClassifier:
        """Fix what depends on the scan's stain, from sample tiles of shape (N, H, W, 3); N may be 0."""


class ReportAlgorithm(Protocol):
    """An algorithm that answers for a whole area at once."""

    card: AlgorithmCard

    def report(self, frame: Frame, area: Area) -> Findings:
        """All findings of the area, in level-0 pixels."""


Algorithm = TileAlgorithm | ReportAlgorithm
