"""The interface between the pipeline and an algorithm. Loads no torch, so anybody may import it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from broker.orders.algorithm_card import AlgorithmCard
from worker.algorithms.output_settings import EmbeddingsSettings, OutputSettings, SlideSettings
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

        `counts` holds the number of objects of each class in the whole area; of tiles, behind them
        the number of those that are of no class, where it is known.
        """


@runtime_checkable
class ShareClassifier(Protocol):
    """A `TileClassifier` that divides many tiles into batches by itself.

    It runs in another process: to ask it once for all tiles that a thread has read costs less.
    """

    def classify_share(self, pixels: Pixels, batch_tiles: int) -> TileAnswers:
        """Return the answers for N tiles, which are classified in batches of `batch_tiles`."""


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


@dataclass(frozen=True, slots=True)
class SlideAnswer:
    """What a network answers for all tiles of a slide.

    `probabilities`: (K,), how likely each class is. `attention`: (R, T), R values for each tile as
    the network answers them, or None where it answers none.
    """

    probabilities: Floats
    attention: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class TilePlaces:
    """Where T tiles of one slide are, in level-0 pixels.

    `corners` (T, 2) are the corners of what was seen of each, x and y, and `patch_px` its edge.
    """

    corners: Ints
    patch_px: int


@runtime_checkable
class SlideAlgorithm(TileAlgorithm, Protocol):
    """An algorithm that encodes tiles and classifies the slide by the vectors of all of them."""

    @property
    def settings(self) -> SlideSettings:
        """How the vectors become a class, with the parameters of the order."""

    @property
    def encoder_settings(self) -> EmbeddingsSettings:
        """How the encoder's answers become vectors."""

    def aggregate(self, features: NDArray[np.float32], places: TilePlaces | None) -> SlideAnswer:
        """Return the answer for T tiles, at least one.

        `features` (T, D) are their vectors. `places` is None where the tiles are of several slides.

        Raises AlgorithmAnswerError for an answer that is none, and TemporaryError, `out_of_memory`,
        where the tiles are too many for the device.
        """


class ReportAlgorithm(Protocol):
    """An algorithm that answers for a whole area at once, without reading tiles."""

    works_on: Literal["area"]
    card: AlgorithmCard

    def report(self, frame: Frame, area: Area) -> Findings:
        """Return all findings of the area, in level-0 pixels."""


@runtime_checkable
class OwnFigures(Protocol):
    """A classifier that states figures of its own, in place of those of its output."""

    def own_summary(self, counts: Sequence[int]) -> tuple[dict[str, Any], str] | None:
        """Return figures fit for JSON and a headline, None for those of its output.

        `counts` is that of `TileClassifier.summarise`.
        """


class ScanAlgorithm(Protocol):
    """An algorithm that runs in a process of its own, which is told about each scan."""

    works_on: Literal["scan"]
    card: AlgorithmCard


class FileAlgorithm(Protocol):
    """A program that is given the slide's file, and posts what it finds."""

    works_on: Literal["program"]
    card: AlgorithmCard


Algorithm = TileAlgorithm | ReportAlgorithm | ScanAlgorithm | FileAlgorithm
