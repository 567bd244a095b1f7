"""Regions of levels that are stored as grids of tiles: which tiles a region touches, put together, a few kept decoded.

Owns that geometry; knows no file format, only whoever loads a tile.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor
from typing import Final

import numpy as np
from PIL import Image

from worker.geometry.frame import Pixels
from worker.slides.tile_cache import TileCache

# A row of large tiles across a striped picture of 30,000 px is read many times over; it fits.
_CACHE_BYTES: Final = 96 * 2**20
_EXACT: Final = 1e-6  # what floating point may lose, in pixels
_Box = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class TiledLevel:
    """One level in pixels, cut into equal tiles from the top left corner on.

    `load(column, row)` decodes a tile as (height, width, 3 or 4), at least as large as the part of it that lies in the
    level; None where nothing is stored. `load_into(column, row, pixels)`, where there is one, decodes a whole tile into
    (tile_height, tile_width, 3) contiguous pixels, and says whether there was one. Threads may call them at the same
    time. `reduced`: the same level, decoded at once at these fractions of its size.
    """

    width: int
    height: int
    tile_width: int
    tile_height: int
    load: Callable[[int, int], Pixels | None]
    load_into: Callable[[int, int, Pixels], bool] | None = None
    reduced: tuple[tuple[int, "TiledLevel"], ...] = ()


@dataclass(frozen=True, slots=True)
class _Place:
    """A stored tile, and where its corner lies in the region that is read."""

    column: int
    row: int
    x: int
    y: int


class Mosaic:
    """The levels of a pyramid, level 0 first, and any region of them. Threads may share it."""

    def __init__(self, levels: Sequence[TiledLevel], cache_bytes: int = _CACHE_BYTES) -> None:
        self._kept = TileCache(cache_bytes)
        self._levels = {(number, 1): level for number, level in enumerate(levels)} | {
            (number, reduction): smaller
            for number, level in enumerate(levels)
            for reduction, smaller in level.reduced
        }
        full = levels[0]
        self.reductions = tuple(
            tuple(reduction for reduction, _ in level.reduced) for level in levels
        )
        self.level_dimensions = tuple((level.width, level.height) for level in levels)
        self.level_downsamples = tuple(
            (full.width / level.width + full.height / level.height) / 2 for level in levels
        )

    def read_region(
        self, location: tuple[int, int], level: int, size: tuple[int, int]
    ) -> Image.Image:
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

    def fill(self, region: Pixels, level: int, left: int, top: int, reduction: int = 1) -> None:
        """Write what is at (left, top), in pixels of the level so reduced, into `region`, (height, width, 3).

        White where there is no picture. Kept are the tiles that the region cuts, for its neighbours want the rest of
        them.
        """
        height, width, _ = region.shape
        stored = self._levels[level, reduction]
        if not _covered(stored, left, top, width, height):
            region[...] = 255
        for place in _touched(stored, left, top, width, height):
            whole = _is_inside(place, stored, width, height)
            if not (whole and _decoded_there(region, stored, place)):
                self._lay_white(region, (level, reduction), place, keep=not whole)

    def _lay_white(
        self, region: Pixels, which: tuple[int, int], place: _Place, *, keep: bool
    ) -> None:
        tile = (
            self._tile(which, place.column, place.row)
            if keep
            else self._loaded(which, place.column, place.row)
        )
        level = self._levels[which]
        height, width = (level.tile_height, level.tile_width) if tile is None else tile.shape[:2]
        there, of_tile = _common(region, place, height, width)
        if tile is None:
            region[there] = 255
        else:
            part = tile[of_tile]
            region[there] = part if part.shape[2] == 3 else on_white(Image.fromarray(part))
            self._kept.used((*which, place.column, place.row), part.shape[0] * part.shape[1])

    def _cut_out(self, number: int, left: int, top: int, width: int, height: int) -> Image.Image:
        canvas = np.zeros((height, width, 4), np.uint8)
        for place in _touched(self._levels[number, 1], left, top, width, height):
            tile = self._tile((number, 1), place.column, place.row)
            if tile is not None:
                there, of_tile = _common(canvas, place, *tile.shape[:2])
                canvas[there][..., 3] = 255
                canvas[there][..., : tile.shape[2]] = tile[of_tile]
        return Image.fromarray(canvas)

    def _tile(self, which: tuple[int, int], column: int, row: int) -> Pixels | None:
        return self._kept.get((*which, column, row), lambda: self._loaded(which, column, row))

    def _loaded(self, which: tuple[int, int], column: int, row: int) -> Pixels | None:
        level = self._levels[which]
        tile = level.load(column, row)
        if tile is None:
            return None
        return tile[
            : level.height - row * level.tile_height, : level.width - column * level.tile_width
        ]


def on_white(picture: Image.Image) -> Pixels:
    """An RGBA picture as it looks on white paper, (height, width, 3)."""
    alpha = picture.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return np.asarray(picture.convert("RGB"))
    paper = Image.new("RGB", picture.size, "white")
    paper.paste(picture, mask=alpha)
    return np.asarray(paper)


def _touched(level: TiledLevel, left: int, top: int, width: int, height: int) -> list[_Place]:
    """The stored tiles that have pixels of the level in this box, row by row."""
    return [
        _Place(column, row, column * level.tile_width - left, row * level.tile_height - top)
        for row in _along(top, height, level.tile_height, level.height)
        for column in _along(left, width, level.tile_width, level.width)
    ]


def _along(start: int, length: int, tile: int, full: int) -> range:
    """Which tiles along one axis have pixels of the level between `start` and `start + length`."""
    first, last = max(start, 0), min(start + length, full) - 1
    return range(first // tile, last // tile + 1) if first <= last else range(0)


def _covered(level: TiledLevel, left: int, top: int, width: int, height: int) -> bool:
    return left >= 0 and top >= 0 and left + width <= level.width and top + height <= level.height


def _is_inside(place: _Place, level: TiledLevel, width: int, height: int) -> bool:
    """Whether the region shows all that the tile has of the level."""
    across = min(level.tile_width, level.width - place.column * level.tile_width)
    down = min(level.tile_height, level.height - place.row * level.tile_height)
    return place.x >= 0 and place.y >= 0 and place.x + across <= width and place.y + down <= height


def _decoded_there(region: Pixels, level: TiledLevel, place: _Place) -> bool:
    """Decode the tile where it belongs, if it may be: it is whole there, and its rows lie one behind another."""
    there = region[place.y : place.y + level.tile_height, place.x : place.x + level.tile_width]
    fits = there.shape == (level.tile_height, level.tile_width, 3) and there.flags.c_contiguous
    right, bottom = (place.column + 1) * level.tile_width, (place.row + 1) * level.tile_height
    inside = right <= level.width and bottom <= level.height
    return bool(
        level.load_into and fits and inside and level.load_into(place.column, place.row, there)
    )


def _common(region: Pixels, place: _Place, height: int, width: int) -> tuple[_Box, _Box]:
    """What the region and a tile of this size have in common, in the pixels of each."""
    down, across = region.shape[0] - place.y, region.shape[1] - place.x
    of_tile = (
        slice(max(0, -place.y), min(height, down)),
        slice(max(0, -place.x), min(width, across)),
    )
    there = tuple(
        slice(cut.start + at, cut.stop + at)
        for cut, at in zip(of_tile, (place.y, place.x), strict=True)
    )
    return (there[0], there[1]), of_tile
