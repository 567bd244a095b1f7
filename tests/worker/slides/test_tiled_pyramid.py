"""Which tiles a region loads, and how many of them are cached."""

from collections import Counter
from collections.abc import Mapping
from functools import partial

import numpy as np
import pytest

from tests.support.slides import a_picture
from worker.geometry.frame import Pixels
from worker.slides.reader import SlideWarning
from worker.slides.slide import Slide
from worker.slides.tile_cache import TileCache
from worker.slides.tiled_pyramid import TiledLevel, TiledPyramid

PIXELS = a_picture(100, 70)
TILE_BYTES = 16 * 16 * 3


class CountedLevel:
    """A level of 16 px tiles that counts which of them are loaded."""

    def __init__(self) -> None:
        self.seen: Counter[tuple[int, int]] = Counter()

    def load(self, column: int, row: int) -> Pixels:
        self.seen[column, row] += 1
        padded = np.pad(PIXELS, ((0, 16), (0, 16), (0, 0)), constant_values=9)
        return padded[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16]

    def pyramid(self, cache_bytes: int) -> TiledPyramid:
        """Return a pyramid of this level alone."""
        return TiledPyramid([TiledLevel(100, 70, 16, 16, self.load)], cache_bytes)


@pytest.mark.parametrize(
    ("location", "size", "tiles"),
    [
        ((0, 0), (16, 16), {(0, 0)}),
        ((15, 16), (2, 1), {(0, 1), (1, 1)}),
        ((-30, -30), (31, 31), {(0, 0)}),
        ((96, 64), (50, 50), {(6, 4)}),
        ((100, 0), (9, 9), set()),
    ],
)
def test_only_tiles_that_a_region_touches_are_loaded(
    location: tuple[int, int], size: tuple[int, int], tiles: set[tuple[int, int]]
) -> None:
    """No neighbouring tile is loaded, none outside of the level, and padding is not shown."""
    level = CountedLevel()
    region = np.asarray(level.pyramid(2**20).read_region(location, 0, size))
    assert set(level.seen) == tiles
    inside = np.pad(
        np.dstack([PIXELS, np.full((70, 100), 255, np.uint8)]), ((60, 60), (60, 60), (0, 0))
    )
    x, y = location[0] + 60, location[1] + 60
    assert np.array_equal(region, inside[y : y + size[1], x : x + size[0]])


def test_the_tile_used_longest_ago_is_dropped_first() -> None:
    """The cache holds two tiles: the first is used again, so the third evicts the second."""
    level = CountedLevel()
    pyramid = level.pyramid(2 * TILE_BYTES)
    for column in (0, 1, 0, 2, 0, 1):
        pyramid.read_region((column * 16, 0), 0, (16, 16))
    assert level.seen == {(0, 0): 1, (1, 0): 2, (2, 0): 1}


def test_a_tile_larger_than_the_room_is_read_all_the_same() -> None:
    """A tile larger than the cache is read, but not cached."""
    level = CountedLevel()
    pyramid = level.pyramid(TILE_BYTES - 1)
    for _ in range(2):
        region = pyramid.read_region((0, 0), 0, (16, 16)).convert("RGB")
        assert np.array_equal(np.asarray(region), PIXELS[:16, :16])
    assert level.seen == {(0, 0): 2}


MEGABYTE = 2**20


class Megabytes:
    """Tiles of this many megabytes in a cache, and how often each was decoded."""

    def __init__(self, megabytes: int = 1) -> None:
        self.cache = TileCache(96 * MEGABYTE)
        self.decoded = Counter[int]()
        self._size_bytes = megabytes * MEGABYTE

    def request(self, number: int) -> None:
        self.cache.get(number, partial(self._decode, number))

    def _decode(self, number: int) -> Pixels:
        self.decoded[number] += 1
        return np.broadcast_to(np.uint8(0), (1, self._size_bytes, 1))


def test_tiles_that_nobody_comes_back_for_do_not_pile_up() -> None:
    """Of a hundred tiles read in part, only the last few are cached, although more would fit."""
    tiles = Megabytes()
    for number in range(100):
        tiles.request(number)
        tiles.cache.mark_read(number, 5)
    for number in reversed(range(91, 100)):
        tiles.request(number)
    assert [number for number, times in tiles.decoded.items() if times > 1] == [91]


def test_there_is_room_for_tiles_that_are_wanted_again() -> None:
    """Ninety tiles are read in turn, many times: from the second time on all are cached."""
    tiles = Megabytes()
    for number in list(range(90)) * 10:
        tiles.request(number)
    assert max(tiles.decoded.values()) == 2


@pytest.mark.parametrize(("megabytes", "tiles", "most"), [(75, 1, 1), (40, 2, 2), (23, 4, 2)])
def test_tiles_larger_than_the_first_room_are_soon_kept(
    megabytes: int, tiles: int, most: int
) -> None:
    """An image in a few large strips: each of them is read for block after block."""
    large = Megabytes(megabytes)
    for number in list(range(tiles)) * 10:
        large.request(number)
    assert max(large.decoded.values()) <= most


class Striped:
    """An image 30,000 px wide in strips of 16 rows, without smaller levels."""

    name = "striped"
    properties: Mapping[str, str] = {}
    level_dimensions = ((30_000, 4096),)
    level_downsamples = (1.0,)
    warnings: tuple[SlideWarning, ...] = ()

    def __init__(self) -> None:
        self.seen: Counter[int] = Counter()
        self.tile_reader = TiledPyramid([TiledLevel(30_000, 4096, 30_000, 16, self.load)])
        self.read_region = self.tile_reader.read_region

    def close(self) -> None:
        """Do nothing: there is no file."""

    def load(self, _column: int, row: int) -> Pixels:
        self.seen[row] += 1
        return np.broadcast_to(np.uint8(row), (16, 30_000, 3))


def test_wide_strips_are_not_decoded_for_every_block_of_a_read() -> None:
    """A read of the full width consists of thirty blocks, which raise the cache's limit."""
    striped = Striped()
    region = Slide(striped).read(0, 0, 3750, 512, 8, 8)
    assert len(striped.seen) == 256
    assert striped.seen.total() < 3 * 256
    assert (region[10, 1:-1] == 5).all()
