"""From what was found tile by tile to what there is in the area: each object once, in level-0 pixels."""

from collections.abc import Sequence

import numpy as np

from worker.values import Floats, Grid, Objects, Tile


def owned(found: Objects, tile: Tile, grid: Grid) -> Objects:
    """The objects whose centre lies in the tile's half-open core and in the area, moved to level-0 pixels.

    Neighbouring tiles see the same object in their halos; its centre lies in one core only.
    """
    core = found.centres - grid.halo_px
    centres = _level0(found.centres, tile, grid)
    area = grid.area
    low, high = np.array([area.x, area.y]), np.array([area.x + area.width, area.y + area.height])
    mine = ((core >= 0) & (core < grid.tile_px) & (centres >= low) & (centres < high)).all(axis=1)
    return Objects(
        centres[mine],
        tuple(_level0(found.outlines[n], tile, grid) for n in np.flatnonzero(mine)),
        found.classes[mine],
        found.scores[mine],
    )


def merged(parts: Sequence[Objects]) -> Objects:
    """All parts as one, in their order."""
    return Objects(
        np.concatenate([np.empty((0, 2)), *(part.centres for part in parts)]),
        tuple(outline for part in parts for outline in part.outlines),
        np.concatenate([np.empty(0, np.int64), *(part.classes for part in parts)]),
        np.concatenate([np.empty(0), *(part.scores for part in parts)]),
    )


def _level0(points: Floats, tile: Tile, grid: Grid) -> Floats:
    return (points - grid.halo_px) * (grid.downsample_x, grid.downsample_y) + (tile.x, tile.y)
