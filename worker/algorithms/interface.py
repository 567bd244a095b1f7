"""The interface between the pipeline and an algorithm. Loads no torch, so anybody may import it."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from broker.orders.algorithm_card import AlgorithmCard
from worker.algorithms.output_settings import OutputSettings
from worker.geometry.frame import Area, Floats, Frame, Ints, Pixels
from worker.results.objects import Objects
from worker.results.result import Findings

TileAnswers = list[Objects] | Floats | NDArray[np.float32] | Ints
"""What an algorithm answers for a batch of N tiles, by the output of its card.

`objects`: the objects of each tile, in pixels of the tile as it was read: x right, y down, origin
at the corner of the halo. Objects in the halo count too. An object near the core must have the same
centre whichever tile shows it.

`tiles`: (N, classes), how likely each class is.

`mask`: (N, classes, h, w), how likely each class is, or (N, h, w), the number of each pixel's
class. h = w = (E - 2 crop) / output_stride: the middle of the tile as it was read.

`embeddings` and `slide`: (N, D), a vector for each tile.
"""


class TileClassifier(Protocol):
    """An algorithm set up for one scan: its thresholds are fixed, so all tiles are judged alike.

    Several threads call it at the same time.
    """

    def classify(self, batch: Pixels) -> TileAnswers:
        """Return the answers for N tiles.

        `batch` has shape (N, E, E, 3), E = tile_px + 2 halo_px; it is overwritten afterwards.
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

    @property
    def settings(self) -> OutputSettings:
        """How its answers become results, with the parameters of the order."""

    def calibrate(self, samples: Pixels) -> TileClassifier:
        """Fix what depends on the scan's stain, from N sample tiles (N, H, W, 3); N may be 0."""


class ReportAlgorithm(Protocol):
    """An algorithm that answers for a whole area at once, without reading tiles."""

    works_on: Literal["area"]
    card: AlgorithmCard

    def report(self, frame: Frame, area: Area) -> Findings:
        """Return all findings of the area, in level-0 pixels."""


Algorithm = TileAlgorithm | ReportAlgorithm
