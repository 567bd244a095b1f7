"""From what was found tile by tile to what there is in the area: each object once, in level-0 pixels."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from worker.geometry.frame import Floats
from worker.geometry.roi import inside
from worker.geometry.tile_grid import Grid, Tile
from worker.results.objects import Objects

SEAM_PX: Final = 2.0
"""How far, in pixels of the working grid, two tiles may disagree about one centre: resampling is exact to a grey value,
and a peak on a flat top may move."""

_Seen = list[tuple[int, Floats]]
SeamState = Sequence[tuple[int, float, float]]


class SeamMerger:
    """Takes the tiles of a grid in their order. Remembers only what lies on the seams to tiles yet to come."""

    def __init__(self, grid: Grid, seams: SeamState = ()) -> None:
        self._grid = grid
        self._reach = 2 * SEAM_PX * np.array([grid.downsample_x, grid.downsample_y])
        self._seen: dict[tuple[int, int], _Seen] = {}
        self._top = -np.inf
        for tile, x, y in seams:
            self._remember(np.array([x, y]), tile)

    @property
    def seams(self) -> SeamState:
        """What a merger that takes over must know: the tile, x and y of every object on a seam that is still open."""
        return [(tile, *place.tolist()) for seen in self._seen.values() for tile, place in seen]

    def place(self, tiles: Sequence[Tile], found: Sequence[Objects]) -> Objects:
        """`add` for each of the tiles, in their order."""
        return joined([self.add(objects, tile) for objects, tile in zip(found, tiles, strict=True)])

    def add(self, found: Objects, tile: Tile) -> Objects:
        """What this tile has in level-0 pixels: centres in its core or within a seam of it, in the area, and not those
        that a tile before it has already.
        """
        self._forget_above(tile)
        core = found.centres - self._grid.halo_px
        centres = self._level0(found.centres, tile)
        near = (core >= -SEAM_PX) & (core < self._grid.tile_px + SEAM_PX)
        mine = near.all(axis=1) & inside(centres, self._grid.area)
        inner = ((core >= SEAM_PX) & (core < self._grid.tile_px - SEAM_PX)).all(axis=1)
        for number in np.flatnonzero(mine & ~inner):
            mine[number] = self._is_new(centres[number], tile.index)
        outlines = tuple(self._level0(found.outlines[n], tile) for n in np.flatnonzero(mine))
        return Objects(centres[mine], outlines, found.classes[mine], found.scores[mine])

    def _is_new(self, centre: Floats, tile: int) -> bool:
        """Whether no other tile has an object here; looked up in cells as large as tiles may disagree."""
        column, row = (int(c) for c in centre // self._reach)
        around = [
            n
            for x in (-1, 0, 1)
            for y in (-1, 0, 1)
            for n in self._seen.get((column + x, row + y), ())
        ]
        if any(
            other != tile and (np.abs(place - centre) < self._reach / 2).all()
            for other, place in around
        ):
            return False
        self._remember(centre, tile)
        return True

    def _remember(self, centre: Floats, tile: int) -> None:
        column, row = (int(c) for c in centre // self._reach)
        self._seen.setdefault((column, row), []).append((tile, centre))

    def _forget_above(self, tile: Tile) -> None:
        """A new row of tiles: what lies above the seam to the row before it is out of reach."""
        if tile.y > self._top:
            self._top = tile.y
            first = (tile.y - SEAM_PX * self._grid.downsample_y) // self._reach[1] - 1
            self._seen = {cell: seen for cell, seen in self._seen.items() if cell[1] >= first}

    def _level0(self, points: Floats, tile: Tile) -> Floats:
        grid = self._grid
        return (points - grid.halo_px) * (grid.downsample_x, grid.downsample_y) + (tile.x, tile.y)


def joined(parts: Sequence[Objects]) -> Objects:
    """All objects of the parts, in their order."""
    return Objects(
        np.concatenate([np.empty((0, 2)), *(part.centres for part in parts)]),
        tuple(outline for part in parts for outline in part.outlines),
        np.concatenate([np.empty(0, np.int64), *(part.classes for part in parts)]),
        np.concatenate([np.empty(0), *(part.scores for part in parts)]),
        np.concatenate([part.probabilities for part in parts if len(part)] or [np.empty((0, 0))]),
    )


class TileSquares:
    """Turns tiles into objects. Tiles know nothing of each other, so that it remembers none."""

    seams: SeamState = ()

    def __init__(self, grid: Grid, _seams: SeamState = ()) -> None:
        size = grid.tile_px * grid.downsample_x, grid.tile_px * grid.downsample_y
        self._corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * size

    def place(self, tiles: Sequence[Tile], probabilities: Floats) -> Objects:
        """One square for each tile; `probabilities` has shape (N, classes)."""
        corners = np.array([(tile.x, tile.y) for tile in tiles])
        outlines = corners[:, None] + self._corners
        classes = probabilities.argmax(axis=1)
        return Objects(
            outlines.mean(axis=1),
            tuple(outlines),
            classes,
            probabilities.max(axis=1),
            probabilities,
        )
