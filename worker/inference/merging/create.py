"""Chooses how the answers of an algorithm are merged."""

from worker.algorithms.interface import TileAlgorithm
from worker.algorithms.output_settings import ObjectsSettings, TilesSettings
from worker.geometry.frame import Frame
from worker.geometry.tile_grid import Grid
from worker.inference.merging.merger import AnswerMerger, SeamState
from worker.inference.merging.single_objects import ObjectMerger
from worker.inference.merging.squares import TileSquares


def create_merger(
    algorithm: TileAlgorithm, grid: Grid, frame: Frame, seams: SeamState
) -> AnswerMerger:
    """Return the merger for the algorithm's output.

    `seams` is the state of the merger that this one takes over from.
    """
    card = algorithm.card
    settings = algorithm.settings
    if isinstance(settings, TilesSettings):
        return TileSquares(grid, card, settings)
    if isinstance(settings, ObjectsSettings):
        return ObjectMerger(grid, frame, card, settings, seams)
    raise NotImplementedError(f"nothing merges the output {card.output}")
