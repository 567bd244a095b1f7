"""Chooses how the answers of an algorithm are merged."""

from worker.algorithms.interface import SlideAlgorithm, TileAlgorithm, TileClassifier
from worker.algorithms.output_settings import (
    EmbeddingsSettings,
    MaskSettings,
    ObjectsSettings,
    TilesSettings,
)
from worker.geometry.frame import Frame
from worker.geometry.tile_grid import Grid
from worker.inference.merging.embeddings import TileEmbeddings
from worker.inference.merging.mask.merger import MaskMerger
from worker.inference.merging.merger import AnswerMerger, MergerState
from worker.inference.merging.single_objects import ObjectMerger
from worker.inference.merging.slide import SlideMerger
from worker.inference.merging.squares import TileSquares
from worker.progress import Progress


def create_merger(
    algorithm: TileAlgorithm,
    classifier: TileClassifier,
    frame: Frame,
    grid: Grid,
    earlier: MergerState,
    progress: Progress,
) -> AnswerMerger:
    """Return the merger for the algorithm's output, which takes over from an earlier one.

    `classifier` is the algorithm set up for the scan; `frame` is the slide's. `progress` hears of
    work that takes long once all tiles are placed.
    """
    output = algorithm.card.output
    settings = algorithm.settings
    if output == "tiles" and isinstance(settings, TilesSettings):
        return TileSquares(grid, algorithm.card, settings)
    if output == "objects" and isinstance(settings, ObjectsSettings):
        return ObjectMerger(grid, frame, algorithm.card, settings, earlier.seams)
    if output == "mask" and isinstance(settings, MaskSettings):
        return MaskMerger(grid, algorithm.card, settings, frame, earlier, progress)
    if output == "embeddings" and isinstance(settings, EmbeddingsSettings):
        encoder = algorithm.card.encoder or algorithm.card.name
        return TileEmbeddings(grid, frame, classifier, settings, encoder)
    if output == "slide" and isinstance(algorithm, SlideAlgorithm):
        encoded = TileEmbeddings(
            grid, frame, classifier, algorithm.encoder_settings, algorithm.card.encoder
        )
        return SlideMerger(grid, encoded, algorithm)
    raise NotImplementedError(f"nothing merges the output {output}")
