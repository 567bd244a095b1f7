"""Chooses how the answers of an algorithm are merged."""

from worker.algorithms.interface import SlideAlgorithm, TileAlgorithm, TileClassifier
from worker.algorithms.output_settings import EmbeddingsSettings
from worker.geometry.frame import Frame
from worker.geometry.tile_grid import Grid
from worker.inference.merging.embeddings import TileEmbeddings
from worker.inference.merging.merger import AnswerMerger, SeamState
from worker.inference.merging.seams import SeamMerger
from worker.inference.merging.slide import SlideMerger
from worker.inference.merging.squares import TileSquares


def create_merger(
    algorithm: TileAlgorithm,
    classifier: TileClassifier,
    frame: Frame,
    grid: Grid,
    seams: SeamState,
) -> AnswerMerger:
    """Return the merger for the algorithm's output.

    `classifier` is the algorithm set up for the scan; `frame` is the slide's. `seams` is the state
    of the merger that this one takes over from.
    """
    output = algorithm.card.output
    if output == "tiles":
        return TileSquares(grid)
    if output == "objects":
        return SeamMerger(grid, seams)
    settings = algorithm.settings
    if output == "embeddings" and isinstance(settings, EmbeddingsSettings):
        return TileEmbeddings(grid, frame, classifier, settings, algorithm.card.name)
    if output == "slide" and isinstance(algorithm, SlideAlgorithm):
        encoded = TileEmbeddings(
            grid, frame, classifier, algorithm.encoder_settings, algorithm.card.encoder
        )
        return SlideMerger(grid, encoded, algorithm)
    raise NotImplementedError(f"nothing merges the output {output}")
