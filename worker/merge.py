"""From what was found tile by tile to what there is in the area: each object once, in level-0 pixels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.values import Floats, Grid, Objects, Tile

SEAM_PX = 2.0
"""How far, in pixels of the working grid, two tiles may disagree about one centre: resampling is exact to a grey value,
and a peak on a flat top may move."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one tile has, in level-0 pixels, and which of it lies so near its edge that a neighbour may have it too."""

    objects: Objects
    on_seam: NDArray[np.bool_]


def owned(found: Objects, tile: Tile, grid: Grid) -> Part:
    """The objects whose centre lies in the tile's core or within a seam of it, and in the half-open area."""
    core = found.centres - grid.halo_px
    centres = _level0(found.centres, tile, grid)
    area = grid.area
    low, high = np.array([area.x, area.y]), np.array([area.x + area.width, area.y + area.height])
    near = (core >= -SEAM_PX) & (core < grid.tile_px + SEAM_PX)
    mine = (near & (centres >= low) & (centres < high)).all(axis=1)
    inner = (core >= SEAM_PX) & (core < grid.tile_px - SEAM_PX)
    outlines = tuple(_level0(found.outlines[n], tile, grid) for n in np.flatnonzero(mine))
    objects = Objects(centres[mine], outlines, found.classes[mine], found.scores[mine])
    return Part(objects, np.logical_not(inner[mine].all(axis=1)).astype(bool))


def merged(parts: Sequence[Part], grid: Grid) -> Objects:
    """All parts as one, in the order of their tiles; of objects that two tiles have, the first one's."""
    all_objects = _joined([part.objects for part in parts])
    on_seam = np.concatenate([np.empty(0, bool), *(part.on_seam for part in parts)])
    tiles = np.repeat(np.arange(len(parts)), [len(part.objects) for part in parts])
    reach = 2 * SEAM_PX * np.array([grid.downsample_x, grid.downsample_y])
    doubles = set(_doubles(all_objects.centres, tiles, np.flatnonzero(on_seam), reach))
    if not doubles:
        return all_objects
    kept = np.array([n for n in range(len(all_objects)) if n not in doubles])
    outlines = tuple(all_objects.outlines[n] for n in kept)
    return Objects(all_objects.centres[kept], outlines, all_objects.classes[kept], all_objects.scores[kept])


def _doubles(centres: Floats, tiles: NDArray[np.int64], candidates: NDArray[np.int64], reach: Floats) -> Iterable[int]:
    """Which candidates a tile before had already, within `reach`; looked up in cells of that size."""
    cells: dict[tuple[int, int], list[int]] = {}
    for number in map(int, candidates):
        column, row = (int(c) for c in centres[number] // reach)
        around = [n for x in (-1, 0, 1) for y in (-1, 0, 1) for n in cells.get((column + x, row + y), ())]
        if any(tiles[n] != tiles[number] and (np.abs(centres[n] - centres[number]) < reach / 2).all() for n in around):
            yield number
        else:
            cells.setdefault((column, row), []).append(number)


def _joined(parts: Sequence[Objects]) -> Objects:
    return Objects(
        np.concatenate([np.empty((0, 2)), *(part.centres for part in parts)]),
        tuple(outline for part in parts for outline in part.outlines),
        np.concatenate([np.empty(0, np.int64), *(part.classes for part in parts)]),
        np.concatenate([np.empty(0), *(part.scores for part in parts)]),
    )


def _level0(points: Floats, tile: Tile, grid: Grid) -> Floats:
    return (points - grid.halo_px) * (grid.downsample_x, grid.downsample_y) + (tile.x, tile.y)
