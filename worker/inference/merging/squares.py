"""Turns classified tiles into square objects."""

from collections.abc import Sequence

import numpy as np

from worker.geometry.frame import Floats
from worker.geometry.tile_grid import Grid, Tile
from worker.inference.merging.merger import Merged, SeamState
from worker.results.object_store import ObjectStore
from worker.results.objects import Objects


class TileSquares:
    """Makes a square of each tile. It remembers nothing, since no tile depends on another."""

    seams: SeamState = ()

    def __init__(self, grid: Grid) -> None:
        size = (grid.tile_px * grid.downsample_x, grid.tile_px * grid.downsample_y)
        self._corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * size

    def place(self, tiles: Sequence[Tile], probabilities: Floats) -> Objects:
        """Return one square in level-0 pixels for each tile, of its likeliest class.

        `probabilities` has shape (N, classes).
        """
        top_left = np.array([(tile.x, tile.y) for tile in tiles])
        outlines = top_left[:, None] + self._corners
        return Objects(
            centres=outlines.mean(axis=1),
            outlines=tuple(outlines),
            classes=probabilities.argmax(axis=1),
            scores=probabilities.max(axis=1),
            probabilities=probabilities,
        )

    def finish(self, found: ObjectStore) -> Merged:
        """Return the squares as they were placed."""
        return Merged(found)
