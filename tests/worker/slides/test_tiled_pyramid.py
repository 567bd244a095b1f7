"""Which tiles a region costs, and how many of them are kept."""

from collections import Counter
from collections.abc import Mapping
from functools import partial

import numpy as np
import pytest

from tests.support.slides import a_picture
from worker.geometry.frame import Pixels
from worker.slides.slide import Slide
from worker.slides.tile_cache import TileCache
from worker.slides.tiled_pyramid import Mosaic, TiledLevel

PIXELS = a_picture(100, 70)
TILE_BYTES = 16 * 16 * 3


class Loads:
    """A level of 16 px tiles that counts what is loaded of it."""

    def __init__(self) -> None:
        self.seen: Counter[tuple[int, int]] = Counter()

    def load(self, column: int, row: int) -> Pixels:
        self.seen[column, row] += 1
        padded = np.pad(PIXELS, ((0, 16), (0, 16), (0, 0)), constant_values=9)
        return padded[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16]

    def mosaic(self, cache_bytes: int) -> Mosaic:
        """It alone as a pyramid."""
        return Mosaic([TiledLevel(100, 70, 16, 16, self.load)], cache_bytes)


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
    """No neighbour, and none outside the level; padding beyond the level's edge is not shown."""
    loads = Loads()
    region = np.asarray(loads.mosaic(2**20).read_region(location, 0, size))
    assert set(loads.seen) == tiles
    inside = np.pad(
        np.dstack([PIXELS, np.full((70, 100), 255, np.uint8)]), ((60, 60), (60, 60), (0, 0))
    )
    x, y = location[0] + 60, location[1] + 60
    assert np.array_equal(region, inside[y : y + size[1], x : x + size[0]])


def test_the_tile_used_longest_ago_is_dropped_first() -> None:
    """Room for two: after the first is used again, the second makes room for the third."""
    loads = Loads()
    mosaic = loads.mosaic(2 * TILE_BYTES)
    for column in (0, 1, 0, 2, 0, 1):
        mosaic.read_region((column * 16, 0), 0, (16, 16))
    assert loads.seen == {(0, 0): 1, (1, 0): 2, (2, 0): 1}


def test_a_tile_larger_than_the_room_is_read_all_the_same() -> None:
    """It is only not kept."""
    loads = Loads()
    mosaic = loads.mosaic(TILE_BYTES - 1)
    for _ in range(2):
        region = mosaic.read_region((0, 0), 0, (16, 16)).convert("RGB")
        assert np.array_equal(np.asarray(region), PIXELS[:16, :16])
    assert loads.seen == {(0, 0): 2}


MEGABYTE = 2**20


class Megabytes:
    """Tiles of so many megabytes each through a cache, and how often each was decoded."""

    def __init__(self, megabytes: int = 1) -> None:
        self.cache, self.decoded, self._size = (
            TileCache(96 * MEGABYTE),
            Counter[int](),
            megabytes * MEGABYTE,
        )

    def want(self, number: int) -> None:
        self.cache.get(number, partial(self._decode, number))

    def _decode(self, number: int) -> Pixels:
        self.decoded[number] += 1
        return np.broadcast_to(np.uint8(0), (1, self._size, 1))


def test_tiles_that_nobody_comes_back_for_do_not_pile_up() -> None:
    """A hundred of which only a part was read: the last few are there, however much room there may be."""
    tiles = Megabytes()
    for number in range(100):
        tiles.want(number)
        tiles.cache.used(number, 5)
    for number in reversed(range(91, 100)):
        tiles.want(number)
    assert [number for number, times in tiles.decoded.items() if times > 1] == [91]


def test_there_is_room_for_tiles_that_are_wanted_again() -> None:
    """Ninety, one after another, over and over: from the second time on all are there."""
    tiles = Megabytes()
    for number in list(range(90)) * 10:
        tiles.want(number)
    assert max(tiles.decoded.values()) == 2


@pytest.mark.parametrize(("megabytes", "tiles", "most"), [(75, 1, 1), (40, 2, 2), (23, 4, 2)])
def test_tiles_larger_than_the_first_room_are_soon_kept(
    megabytes: int, tiles: int, most: int
) -> None:
    """A picture in a few large strips: each is wanted for block after block."""
    large = Megabytes(megabytes)
    for number in list(range(tiles)) * 10:
        large.want(number)
    assert max(large.decoded.values()) <= most


class Striped:
    """A picture 30,000 px wide in strips of 16 rows, and no level below it."""

    name = "striped"
    properties: Mapping[str, str] = {}
    level_dimensions, level_downsamples = ((30_000, 4096),), (1.0,)

    def __init__(self) -> None:
        self.seen: Counter[int] = Counter()
        self.stored = Mosaic([TiledLevel(30_000, 4096, 30_000, 16, self.load)])
        self.read_region = self.stored.read_region

    def close(self) -> None:
        """There is no file."""

    def load(self, _column: int, row: int) -> Pixels:
        self.seen[row] += 1
        return np.broadcast_to(np.uint8(row), (16, 30_000, 3))


def test_wide_strips_are_not_decoded_for_every_block_of_a_read() -> None:
    """A read of all the width is made of thirty blocks: the first ones tell how much room is needed."""
    striped = Striped()
    region = Slide(striped).read(0, 0, 3750, 512, 8, 8)
    assert len(striped.seen) == 256
    assert striped.seen.total() < 3 * 256
    assert (region[10, 1:-1] == 5).all()
