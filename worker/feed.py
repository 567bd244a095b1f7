"""Tiles through an algorithm: every thread reads a batch into memory of its own, works on it and takes the next.

No queue lies between those who decode and those who compute, so none waits for the other and no pixel is copied; with
as many threads as there are cores, each always has something to do. (A pool of decoders that feeds one model thread was
half as fast on CPUs.) On a GPU some threads decode while others have their turn there.

Owns threads and what is in flight; knows no device.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from time import monotonic
from typing import Final, Generic, TypeVar

from worker.grid import Grid, Tile
from worker.values import Pixels, Readable

T = TypeVar("T")
_AHEAD: Final = 2  # batches in hand for every thread: the one it is at, and one that waits for it or for the reader


@dataclass(frozen=True, slots=True)
class Worked(Generic[T]):
    """What came of one batch, and the seconds that its thread read and worked."""

    tiles: tuple[Tile, ...]
    value: T
    read_s: float
    work_s: float


def workers(slide: Readable, tiles: int, batch_tiles: int) -> int:
    """How many threads work on so many tiles."""
    return max(1, min(slide.threads, -(-tiles // batch_tiles)))


def worked(slide: Readable, grid: Grid, batch_tiles: int, work: Callable[[Pixels], T]) -> Iterator[Worked[T]]:
    """`work` on the tiles with their halo, in order: pixels of shape (N, read_px, read_px, 3), N at most `batch_tiles`.

    The pixels are overwritten afterwards. Whatever reading or `work` raises comes out in its turn. Closing the iterator
    waits for the batches that have begun and drops the others.
    """
    threads = workers(slide, len(grid.tiles), batch_tiles)
    spaces: SimpleQueue[Pixels] = SimpleQueue()
    for number in range(threads):
        spaces.put(slide.workspace(number, (batch_tiles, grid.read_px, grid.read_px, 3)))

    def one(tiles: tuple[Tile, ...]) -> Worked[T]:
        space, began = spaces.get(), monotonic()
        try:
            pixels = space[: len(tiles)]
            slide.fill_tiles(pixels, [_corner(grid, tile) for tile in tiles], grid.downsample_x, grid.downsample_y)
            read = monotonic()
            value = work(pixels)
            return Worked(tiles, value, read - began, monotonic() - read)
        finally:
            spaces.put(space)

    pool = ThreadPoolExecutor(threads, thread_name_prefix="tiles")
    ahead: deque[Future[Worked[T]]] = deque()
    try:
        for start in range(0, len(grid.tiles), batch_tiles):
            if len(ahead) == _AHEAD * threads:
                yield ahead.popleft().result()
            ahead.append(pool.submit(one, tuple(grid.tiles[start : start + batch_tiles])))
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _corner(grid: Grid, tile: Tile) -> tuple[float, float]:
    return tile.x - grid.halo_px * grid.downsample_x, tile.y - grid.halo_px * grid.downsample_y
