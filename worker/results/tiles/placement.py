"""Finds the tile of each object, and counts the objects by place, class and score."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from worker.geometry.frame import Ints
from worker.results.objects import CHUNK
from worker.results.tiles.drawn_values import BINS, DrawnValues
from worker.results.tiles.levels import Keys, Levels, tile_of, tile_part
from worker.results.tiles.stored_outlines import StoredOutlines, boxes, twice_areas

_NOWHERE: Final = 2**64 - 1
"""The key of an object without an area, which no tile holds. It sorts behind all others."""


@dataclass(frozen=True, slots=True)
class ObjectTile:
    """A tile that holds the objects `order[start:stop]` of a placement."""

    zoom: int
    x: int
    y: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the objects of a scan lie.

    `order`: the numbers of all objects that have an area, tile by tile; in a tile by class, then by
    number. `cells`: the sorted keys of their cells and classes at the finest zoom that is counted,
    see `Levels.cell_keys`; empty where none is. `histograms`: (classes, 32), how many objects of
    each class have a score in each 32nd of 0 to 1. `are_clockwise`: whether all outlines turn
    clockwise on the screen.
    """

    order: Ints
    tiles: Sequence[ObjectTile]
    cells: Keys
    histograms: Ints
    are_clockwise: bool


def place(outlines: StoredOutlines, values: DrawnValues, levels: Levels) -> Placement:
    """Look at all objects once, block by block, holding 24 bytes for each of them."""
    count = len(outlines)
    keys = np.full(count, _NOWHERE, np.uint64)
    cells = np.empty(count, np.uint64)
    histograms = np.zeros((values.classes, BINS), np.int64)
    placed = 0
    clockwise = True
    for start in range(0, count, CHUNK):
        stop = min(start + CHUNK, count)
        rings = outlines.block(start, stop)
        areas = twice_areas(rings)
        has_area = areas != 0
        if not has_area.any():
            continue
        clockwise = clockwise and bool(areas.min() >= 0)
        low, high = boxes(rings.only(has_area))
        centres = (low + high) / 2
        classes = values.classes_of(slice(start, stop))[has_area]
        bins = classes * BINS + values.bins_of(slice(start, stop))[has_area]
        histograms += np.bincount(bins, minlength=histograms.size).reshape(histograms.shape)
        keys[start:stop][has_area] = levels.keys(centres, (high - low).max(axis=1), classes)
        cells[placed : placed + len(classes)] = levels.cell_keys(centres, classes)
        placed += len(classes)
    cells = cells[:placed]
    cells.sort()
    order = np.argsort(keys, kind="stable")[:placed]
    return Placement(order, _tiles(keys, order), cells, histograms, clockwise)


def _tiles(keys: Keys, order: Ints) -> list[ObjectTile]:
    """Return the tiles of objects that are sorted by their keys."""
    starts = [np.zeros(min(1, len(order)), np.int64)]
    for first in range(0, len(order), CHUNK):
        tile_keys = tile_part(keys[order[first : first + CHUNK + 1]])
        starts.append(first + 1 + np.flatnonzero(np.diff(tile_keys)))
    bounds = [*np.concatenate(starts).tolist(), len(order)]
    tiles = []
    for start, stop in pairwise(bounds):
        zoom, x, y = tile_of(int(tile_part(keys[order[start : start + 1]])[0]))
        tiles.append(ObjectTile(zoom, x, y, start, stop))
    return tiles
