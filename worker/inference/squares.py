"""From a probability vector for each tile to a square on the slide, of the likeliest class."""

from collections.abc import Sequence

import numpy as np

from worker.geometry.frame import Floats, Objects
from worker.geometry.grid import Grid, Tile
from worker.inference.merge import Seams


class Squares:
    """Turns tiles into objects. Tiles know nothing of each other, so that it remembers none."""

    seams: Seams = ()

    def __init__(self, grid: Grid, _seams: Seams = ()) -> None:
        size = grid.tile_px * grid.downsample_x, grid.tile_px * grid.downsample_y
        self._corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * size

    def place(self, tiles: Sequence[Tile], probabilities: Floats) -> Objects:
        """One square for each tile; `probabilities` has shape (N, classes)."""
        corners = np.array([(tile.x, tile.y) for tile in tiles])
        outlines = corners[:, None] + self._corners
        classes = probabilities.argmax(axis=1)
        return Objects(outlines.mean(axis=1), tuple(outlines), classes, probabilities.max(axis=1), probabilities)
