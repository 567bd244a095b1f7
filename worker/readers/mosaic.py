"""Regions of levels that are stored as grids of tiles: which tiles a region touches, put together, a few kept decoded.

Owns that geometry and a cache of bounded size; knows no file format, only whoever loads a tile.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor
from typing import Final

import numpy as np
from PIL import Image

from worker.values import Pixels

# A row of large tiles across a striped picture of 60,000 px is read many times over; it fits.
_CACHE_BYTES: Final = 256 * 2**20
_EXACT: Final = 1e-6  # what floating point may lose, in pixels


@dataclass(frozen=True, slots=True)
class TiledLevel:
    """One level in pixels, cut into equal tiles from the top left corner on.

    `load(column, row)` decodes a tile as (height, width, 3 or 4), at least as large as the part of it that lies in the
    level; None where nothing is stored. Threads may call it at the same time.
    """

    width: int
    height: int
    tile_width: int
    tile_height: int
    load: Callable[[int, int], Pixels | None]


class Mosaic:
    """The levels of a pyramid, level 0 first, and any region of them. Threads may share it."""

    def __init__(self, levels: Sequence[TiledLevel], cache_bytes: int = _CACHE_BYTES) -> None:
        self._levels = tuple(levels)
        self._kept = _Kept(cache_bytes)
        full = self._levels[0]
        self.level_dimensions = tuple((level.width, level.height) for level in self._levels)
        self.level_downsamples = tuple(
            (full.width / level.width + full.height / level.height) / 2 for level in self._levels
        )

    def read_region(self, location: tuple[int, int], level: int, size: tuple[int, int]) -> Image.Image:
        """`size` pixels of a level from a level-0 location on, in RGBA; transparent where there is no picture.

        A location between two pixels of the level is interpolated, as OpenSlide does.
        """
        x, y = (at / self.level_downsamples[level] for at in location)
        left, top = floor(x + _EXACT), floor(y + _EXACT)
        if x - left < _EXACT and y - top < _EXACT:
            return self._cut_out(level, left, top, *size)
        width, height = size
        block = self._cut_out(level, left, top, width + 1, height + 1)
        box = x - left, y - top, x - left + width, y - top + height
        return block.resize(size, Image.Resampling.BILINEAR, box=box)

    def _cut_out(self, number: int, left: int, top: int, width: int, height: int) -> Image.Image:
        level = self._levels[number]
        canvas = np.zeros((height, width, 4), np.uint8)
        for row in _touched(top, height, level.tile_height, level.height):
            for column in _touched(left, width, level.tile_width, level.width):
                tile = self._tile(number, column, row)
                if tile is not None:
                    _lay(canvas, tile, column * level.tile_width - left, row * level.tile_height - top)
        return Image.fromarray(canvas)

    def _tile(self, number: int, column: int, row: int) -> Pixels | None:
        key = number, column, row
        kept = self._kept.get(key)
        if kept is not None:
            return kept
        level = self._levels[number]
        tile = level.load(column, row)
        if tile is None:
            return None
        inside = tile[: level.height - row * level.tile_height, : level.width - column * level.tile_width]
        return self._kept.keep(key, inside)


class _Kept:
    """Decoded tiles, the least recently used dropped beyond so many bytes."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._tiles: OrderedDict[tuple[int, int, int], Pixels] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[int, int, int]) -> Pixels | None:
        with self._lock:
            if key in self._tiles:
                self._tiles.move_to_end(key)
            return self._tiles.get(key)

    def keep(self, key: tuple[int, int, int], tile: Pixels) -> Pixels:
        with self._lock:
            if key not in self._tiles:
                self._tiles[key] = tile
                self._bytes += tile.nbytes
            while self._bytes > self._most_bytes:
                self._bytes -= self._tiles.popitem(last=False)[1].nbytes
        return tile


def _touched(start: int, length: int, tile: int, full: int) -> range:
    """Which tiles along one axis have pixels of the level between `start` and `start + length`."""
    first, last = max(start, 0), min(start + length, full) - 1
    return range(first // tile, last // tile + 1) if first <= last else range(0)


def _lay(canvas: Pixels, tile: Pixels, x: int, y: int) -> None:
    """Copy what of the tile lies on the canvas; the tile's corner is canvas (x, y)."""
    part = tile[max(0, -y) : max(0, canvas.shape[0] - y), max(0, -x) : max(0, canvas.shape[1] - x)]
    height, width, channels = part.shape
    place = canvas[max(0, y) : max(0, y) + height, max(0, x) : max(0, x) + width]
    place[..., :channels] = part
    if channels == 3:
        place[..., 3] = 255
