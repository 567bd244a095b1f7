"""Regions of levels that are stored as grids of tiles.

Finds the tiles of a region, puts them together and caches some of them decoded. Knows no file
format: a level is given functions that load its tiles.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor
from typing import Final

import numpy as np
from PIL import Image

from worker.geometry.frame import Pixels
from worker.slides.tile_cache import TileCache

# An image of 30,000 px in strips is read across many times. A row of large tiles of it fits.
_CACHE_BYTES: Final = 96 * 2**20
_ROUNDING_PX: Final = 1e-6  # how much floating point arithmetic may be off
_LevelKey = tuple[int, int]
"""A level's number and the reduction of its tiles."""
_Box = tuple[slice, slice]
"""Rows and columns."""


@dataclass(frozen=True, slots=True)
class TiledLevel:
    """One level in pixels, divided into equal tiles from its top left corner on.

    `load(column, row)` returns a decoded tile as (height, width, 3 or 4), at least as large as the
    part of it that lies in the level, or None where the file stores no tile.
    `load_into(column, row, pixels)`, where it is given, decodes a whole tile into contiguous
    `pixels`, (tile_height, tile_width, 3), and returns whether the file stores it.
    Threads may call both at the same time.

    `reduced` holds the same level, decoded directly at 1/n of its size, for some n.
    """

    width: int
    height: int
    tile_width: int
    tile_height: int
    load: Callable[[int, int], Pixels | None]
    load_into: Callable[[int, int, Pixels], bool] | None = None
    reduced: tuple[tuple[int, "TiledLevel"], ...] = ()


@dataclass(frozen=True, slots=True)
class _TilePosition:
    """A stored tile, and where its corner lies in the region that is read, in pixels."""

    column: int
    row: int
    x: int
    y: int


class TiledPyramid:
    """A `TileReader` over levels that are grids of tiles, level 0 first. Threads may share it."""

    def __init__(self, levels: Sequence[TiledLevel], cache_bytes: int = _CACHE_BYTES) -> None:
        self._cache = TileCache(cache_bytes)
        self._levels: dict[_LevelKey, TiledLevel] = {}
        reductions = []
        for number, level in enumerate(levels):
            self._levels[number, 1] = level
            for reduction, reduced_level in level.reduced:
                self._levels[number, reduction] = reduced_level
            reductions.append(tuple(reduction for reduction, _ in level.reduced))
        full = levels[0]
        self.reductions = tuple(reductions)
        self.level_dimensions = tuple((level.width, level.height) for level in levels)
        self.level_downsamples = tuple(
            (full.width / level.width + full.height / level.height) / 2 for level in levels
        )

    def read_region(
        self, location: tuple[int, int], level: int, size: tuple[int, int]
    ) -> Image.Image:
        """Return `size` pixels of a level from a level-0 location on, in RGBA.

        Pixels that are not stored are transparent. A location between two pixels of the level is
        interpolated, as OpenSlide does.
        """
        x = location[0] / self.level_downsamples[level]
        y = location[1] / self.level_downsamples[level]
        left = floor(x + _ROUNDING_PX)
        top = floor(y + _ROUNDING_PX)
        width, height = size
        if x - left < _ROUNDING_PX and y - top < _ROUNDING_PX:
            return self._read_rgba(level, left, top, width, height)
        block = self._read_rgba(level, left, top, width + 1, height + 1)
        box = (x - left, y - top, x - left + width, y - top + height)
        return block.resize(size, Image.Resampling.BILINEAR, box=box)

    def fill(self, region: Pixels, level: int, left: int, top: int, reduction: int = 1) -> None:
        """Write the pixels from (left, top) on into `region`, (height, width, 3).

        `left` and `top` count pixels of the reduced level. Pixels that are not stored are white.
        Tiles that lie partly outside of the region are cached, because neighbouring regions need
        the rest of them.
        """
        height, width, _ = region.shape
        key = (level, reduction)
        tiled_level = self._levels[key]
        if not _contains(tiled_level, left, top, width, height):
            region[...] = 255
        for position in _tiles_of_region(tiled_level, left, top, width, height):
            is_whole = _is_whole_in_region(position, tiled_level, width, height)
            if is_whole and _decode_in_place(region, tiled_level, position):
                continue
            if is_whole:
                tile = self._load(key, position.column, position.row)
            else:
                tile = self._load_cached(key, position.column, position.row)
            self._copy_tile(region, key, position, tile)

    def _copy_tile(
        self, region: Pixels, key: _LevelKey, position: _TilePosition, tile: Pixels | None
    ) -> None:
        """Copy a tile on white into its place in the region."""
        if tile is None:
            level = self._levels[key]
            in_region, _ = _overlap(region, position, level.tile_height, level.tile_width)
            region[in_region] = 255
            return
        in_region, in_tile = _overlap(region, position, *tile.shape[:2])
        part = tile[in_tile]
        if part.shape[2] == 3:
            region[in_region] = part
        else:
            region[in_region] = on_white(Image.fromarray(part))
        pixels = part.shape[0] * part.shape[1]
        self._cache.mark_read((*key, position.column, position.row), pixels)

    def _read_rgba(self, number: int, left: int, top: int, width: int, height: int) -> Image.Image:
        key = (number, 1)
        region = np.zeros((height, width, 4), np.uint8)
        for position in _tiles_of_region(self._levels[key], left, top, width, height):
            tile = self._load_cached(key, position.column, position.row)
            if tile is None:
                continue
            in_region, in_tile = _overlap(region, position, *tile.shape[:2])
            region[in_region][..., 3] = 255
            region[in_region][..., : tile.shape[2]] = tile[in_tile]
        return Image.fromarray(region)

    def _load_cached(self, key: _LevelKey, column: int, row: int) -> Pixels | None:
        return self._cache.get((*key, column, row), lambda: self._load(key, column, row))

    def _load(self, key: _LevelKey, column: int, row: int) -> Pixels | None:
        """Return the part of a tile that lies in the level, None where no tile is stored."""
        level = self._levels[key]
        tile = level.load(column, row)
        if tile is None:
            return None
        height = level.height - row * level.tile_height
        width = level.width - column * level.tile_width
        return tile[:height, :width]


def on_white(image: Image.Image) -> Pixels:
    """Return an RGBA image blended onto white, (height, width, 3)."""
    alpha = image.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return np.asarray(image.convert("RGB"))
    background = Image.new("RGB", image.size, "white")
    background.paste(image, mask=alpha)
    return np.asarray(background)


def _tiles_of_region(
    level: TiledLevel, left: int, top: int, width: int, height: int
) -> list[_TilePosition]:
    """Return the tiles that have pixels of the level in this region, row by row."""
    positions = []
    columns = _tiles_of_interval(left, width, level.tile_width, level.width)
    for row in _tiles_of_interval(top, height, level.tile_height, level.height):
        y = row * level.tile_height - top
        for column in columns:
            x = column * level.tile_width - left
            positions.append(_TilePosition(column, row, x, y))
    return positions


def _tiles_of_interval(start: int, length: int, tile_length: int, level_length: int) -> range:
    """Return the tiles that have pixels from `start` to `start + length`, along one axis."""
    first_px = max(start, 0)
    last_px = min(start + length, level_length) - 1
    if first_px > last_px:
        return range(0)
    return range(first_px // tile_length, last_px // tile_length + 1)


def _contains(level: TiledLevel, left: int, top: int, width: int, height: int) -> bool:
    """Return whether the region lies in the level completely."""
    return left >= 0 and top >= 0 and left + width <= level.width and top + height <= level.height


def _is_whole_in_region(
    position: _TilePosition, level: TiledLevel, width: int, height: int
) -> bool:
    """Return whether the region contains all pixels that the tile has of the level."""
    tile_width = min(level.tile_width, level.width - position.column * level.tile_width)
    tile_height = min(level.tile_height, level.height - position.row * level.tile_height)
    return (
        position.x >= 0
        and position.y >= 0
        and position.x + tile_width <= width
        and position.y + tile_height <= height
    )


def _decode_in_place(region: Pixels, level: TiledLevel, position: _TilePosition) -> bool:
    """Decode a tile directly into the region, and return whether that was done.

    It is possible where the level can do it, the tile lies in the level completely, and its place
    in the region is contiguous memory.
    """
    if level.load_into is None:
        return False
    if (position.column + 1) * level.tile_width > level.width:
        return False
    if (position.row + 1) * level.tile_height > level.height:
        return False
    pixels = region[
        position.y : position.y + level.tile_height, position.x : position.x + level.tile_width
    ]
    if pixels.shape != (level.tile_height, level.tile_width, 3) or not pixels.flags.c_contiguous:
        return False
    return level.load_into(position.column, position.row, pixels)


def _overlap(region: Pixels, position: _TilePosition, height: int, width: int) -> tuple[_Box, _Box]:
    """Return where a tile of this size and the region overlap, in pixels of both.

    The first box is in pixels of the region, the second in pixels of the tile.
    """
    first_row = max(0, -position.y)
    end_row = min(height, region.shape[0] - position.y)
    first_column = max(0, -position.x)
    end_column = min(width, region.shape[1] - position.x)
    in_tile = (slice(first_row, end_row), slice(first_column, end_column))
    in_region = (
        slice(first_row + position.y, end_row + position.y),
        slice(first_column + position.x, end_column + position.x),
    )
    return in_region, in_tile
