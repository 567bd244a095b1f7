"""Chooses how the answers of an algorithm are merged."""

from worker.algorithms.interface import TileAlgorithm
from worker.algorithms.output_settings import MaskSettings
from worker.geometry.frame import Frame
from worker.geometry.tile_grid import Grid
from worker.inference.merging.mask.merger import MaskMerger
from worker.inference.merging.merger import AnswerMerger, MergerFiles, SeamState
from worker.inference.merging.seams import SeamMerger
from worker.inference.merging.squares import TileSquares
from worker.progress import Progress


def create_merger(
    algorithm: TileAlgorithm,
    grid: Grid,
    frame: Frame,
    seams: SeamState,
    files: MergerFiles,
    progress: Progress,
) -> AnswerMerger:
    """Return the merger for the algorithm's output.

    `seams` and `files` are the state of the merger that this one takes over from. `progress`
    hears of work that takes long once all tiles are placed.
    """
    output = algorithm.card.output
    if output == "tiles":
        return TileSquares(grid)
    if output == "objects":
        return SeamMerger(grid, seams)
    if isinstance(algorithm.settings, MaskSettings):
        return MaskMerger(grid, algorithm.card, algorithm.settings, frame, files, progress)
    raise NotImplementedError(f"nothing merges the output {output}")
