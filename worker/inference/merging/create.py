"""Chooses how the answers of an algorithm are merged."""

from worker.algorithms.interface import TileAlgorithm
from worker.geometry.tile_grid import Grid
from worker.inference.merging.merger import AnswerMerger, SeamState
from worker.inference.merging.seams import SeamMerger
from worker.inference.merging.squares import TileSquares


def create_merger(algorithm: TileAlgorithm, grid: Grid, seams: SeamState) -> AnswerMerger:
    """Return the merger for the algorithm's output.

    `seams` is the state of the merger that this one takes over from.
    """
    output = algorithm.card.output
    if output == "tiles":
        return TileSquares(grid)
    if output == "objects":
        return SeamMerger(grid, seams)
    raise NotImplementedError(f"nothing merges the output {output}")
