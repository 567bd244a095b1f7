"""Merges the objects of single tiles into the objects of the area: each once, in level-0 pixels."""

from dataclasses import replace
from typing import Final

import numpy as np

from worker.geometry.frame import Floats
from worker.geometry.roi import inside
from worker.geometry.tile_grid import Grid, Tile
from worker.inference.merging.merger import SeamState
from worker.results.objects import Objects, outlines

SEAM_PX: Final = 2.0
"""The distance, in pixels of a tile, by which two tiles may disagree about one centre.

Resampling is exact to a grey value, so a peak on a flat top may move."""

_Cell = tuple[int, int]
_NEIGHBOURS: Final = [(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)]


class SeamMerger:
    """Takes the tiles of a grid in order and drops objects that an earlier tile has already.

    It remembers only the objects that lie on seams to tiles yet to come.
    """

    def __init__(self, grid: Grid, seams: SeamState = (), *, classes_apart: bool = False) -> None:
        """`seams` is the state of the merger that this one takes over from.

        With `classes_apart` objects of two classes are never the same. Else they may be: two tiles
        may disagree about the class of one object.
        """
        self._grid = grid
        self._classes_apart = classes_apart
        self._downsample = np.array([grid.downsample_x, grid.downsample_y])
        # Seen objects are looked up in cells as large as two tiles may disagree, in level-0 pixels.
        self._cell = 2 * SEAM_PX * self._downsample
        self._seen: dict[_Cell, list[tuple[int, Floats, int]]] = {}
        self._row_top = -np.inf
        for tile, x, y, kind in seams:
            self._remember(np.array([x, y]), tile, kind)

    @property
    def seams(self) -> SeamState:
        """What a merger that takes over from this one must know."""
        state: list[tuple[int, float, float, int]] = []
        for objects in self._seen.values():
            state.extend((tile, float(x), float(y), kind) for tile, (x, y), kind in objects)
        return state

    def add(self, found: Objects, tile: Tile) -> Objects:
        """Return the tile's objects in level-0 pixels, without those that belong to other tiles.

        `found` is in pixels of the tile as it was read. An object is the tile's own where its
        centre lies in the area and in the tile's core, or within a seam of the core and no earlier
        tile has it.
        """
        self._forget_rows_above(tile)
        grid = self._grid
        in_core = found.centres - grid.halo_px
        centres = self.level0(found.centres, tile)
        on_tile = ((in_core >= -SEAM_PX) & (in_core < grid.tile_px + SEAM_PX)).all(axis=1)
        off_seams = ((in_core >= SEAM_PX) & (in_core < grid.tile_px - SEAM_PX)).all(axis=1)
        own = on_tile & inside(centres, grid.area)
        for number in np.flatnonzero(own & ~off_seams):
            kind = int(found.classes[number])
            own[number] = self._is_new(centres[number], tile.index, kind)
        selected = found.selected(own)
        # all points at once: there are hundreds of outlines in a tile
        points = self.level0(np.concatenate([np.empty((0, 2)), *selected.outlines]), tile)
        rings = tuple(outlines(points, map(len, selected.outlines)))
        return replace(selected, centres=centres[own], outlines=rings)

    def level0(self, points: Floats, tile: Tile) -> Floats:
        """Return points of the tile as it was read, (N, 2), in level-0 pixels."""
        in_core = points - self._grid.halo_px
        return np.asarray(in_core * self._downsample + (tile.x, tile.y))

    def _is_new(self, centre: Floats, tile: int, kind: int) -> bool:
        """Return whether no other tile has an object at this place; if so, remember it."""
        column, row = self._cell_of(centre)
        for x, y in _NEIGHBOURS:
            for other_tile, other, other_kind in self._seen.get((column + x, row + y), ()):
                if other_tile == tile or (self._classes_apart and other_kind != kind):
                    continue
                if (np.abs(other - centre) < self._cell / 2).all():
                    return False
        self._remember(centre, tile, kind)
        return True

    def _remember(self, centre: Floats, tile: int, kind: int) -> None:
        self._seen.setdefault(self._cell_of(centre), []).append((tile, centre, kind))

    def _cell_of(self, centre: Floats) -> _Cell:
        column, row = centre // self._cell
        return int(column), int(row)

    def _forget_rows_above(self, tile: Tile) -> None:
        """At a new row of tiles forget the objects that no tile to come can reach."""
        if tile.y <= self._row_top:
            return
        self._row_top = tile.y
        first_row = (tile.y - SEAM_PX * self._grid.downsample_y) // self._cell[1] - 1
        self._seen = {cell: seen for cell, seen in self._seen.items() if cell[1] >= first_row}
