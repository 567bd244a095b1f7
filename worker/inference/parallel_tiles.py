"""Tiles through an algorithm: every thread reads some into memory of its own, works on them and takes the next.

No queue lies between those who decode and those who compute, so none waits for the other and no pixel is copied; with
as many threads as there are cores, each always has something to do. (A pool of decoders that feeds one model thread was
half as fast on CPUs.) On a GPU some threads decode while others have their turn there. Asking for tiles costs as
much as decoding one, so that a thread takes several batches at a time where they are quick.

Owns threads and what is in flight; knows no device.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event
from time import monotonic
from typing import Final, Generic, TypeVar

from worker.geometry.frame import Pixels
from worker.geometry.tile_grid import Grid, Tile
from worker.slides.reader import ReadableSlide

T = TypeVar("T")
_AHEAD: Final = 2  # shares in hand for every thread: the one it is at, and one that waits for it or for the reader
_SHARE_S: Final = 0.05  # of work at a time: progress is seen, and the last threads end together
_SHARE_BYTES: Final = (
    8 * 2**20
)  # of pixels at a time: what the processor's caches may still hold when they are used


@dataclass(frozen=True, slots=True)
class MappedTiles(Generic[T]):
    """What came of one batch, and the seconds that its thread read and worked."""

    tiles: tuple[Tile, ...]
    value: T
    read_s: float
    work_s: float


def workers(slide: ReadableSlide, tiles: int, batch_tiles: int) -> int:
    """How many threads work on so many tiles."""
    return max(1, min(slide.threads, -(-tiles // batch_tiles)))


def share_tiles(batch_tiles: int, tile_s: float, most_tiles: int) -> int:
    """How many tiles a thread takes at a time, in whole batches, where one takes `tile_s`."""
    wanted = min(_SHARE_S / max(tile_s, 1e-9), most_tiles)
    return batch_tiles * max(1, int(wanted / batch_tiles))


def map_tiles(
    slide: ReadableSlide, grid: Grid, batch_tiles: int, work: Callable[[Pixels], T]
) -> Iterator[MappedTiles[T]]:
    """`work` on the tiles with their halo, in order: pixels of shape (N, read_px, read_px, 3), N at most `batch_tiles`.

    The pixels are overwritten afterwards. Whatever reading or `work` raises comes out in its turn. Closing the iterator
    waits for the batches that have begun and drops the others.
    """
    threads = workers(slide, len(grid.tiles), batch_tiles)
    hands = _TileWorkers(slide, grid, batch_tiles, threads)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="tiles")
    ahead: deque[Future[list[MappedTiles[T]]]] = deque()
    start, tile_s = 0, _SHARE_S
    try:
        while start < len(grid.tiles) or ahead:
            if start == len(grid.tiles) or len(ahead) == _AHEAD * threads:
                done = ahead.popleft().result()
                yield from done
                tile_s = (done[-1].read_s + done[-1].work_s) / len(done[-1].tiles)
            else:
                left = len(grid.tiles) - start
                share = share_tiles(
                    batch_tiles, tile_s, min(hands.most_tiles, left // (_AHEAD * threads))
                )
                stop = start + min(left, share)
                ahead.append(pool.submit(hands.work_on, tuple(grid.tiles[start:stop]), work))
                start = stop
    finally:
        hands.closed.set()
        pool.shutdown(cancel_futures=True)


class _TileWorkers:
    """What the threads have in common, and what one of them does with its share of the tiles."""

    def __init__(self, slide: ReadableSlide, grid: Grid, batch_tiles: int, threads: int) -> None:
        self._slide, self._grid, self._batch_tiles = slide, grid, batch_tiles
        self.most_tiles = max(
            batch_tiles, min(len(grid.tiles), _SHARE_BYTES // (3 * grid.read_px**2))
        )
        self._spaces: SimpleQueue[Pixels] = SimpleQueue()
        for number in range(threads):
            self._spaces.put(
                slide.workspace(number, (self.most_tiles, grid.read_px, grid.read_px, 3))
            )
        self.closed = Event()

    def work_on(self, tiles: tuple[Tile, ...], work: Callable[[Pixels], T]) -> list[MappedTiles[T]]:
        """`work` on each batch of the share."""
        space, began = self._spaces.get(), monotonic()
        try:
            grid, pixels = self._grid, space[: len(tiles)]
            corners = [_corner(grid, tile) for tile in tiles]
            self._slide.fill_tiles(pixels, corners, grid.downsample_x, grid.downsample_y)
            read_s = (monotonic() - began) / len(tiles)
            return list(self._batches(tiles, pixels, work, read_s))
        finally:
            self._spaces.put(space)

    def _batches(
        self, tiles: tuple[Tile, ...], pixels: Pixels, work: Callable[[Pixels], T], read_s: float
    ) -> Iterator[MappedTiles[T]]:
        for start in range(0, len(tiles), self._batch_tiles):
            if self.closed.is_set():
                return
            stop, began = min(len(tiles), start + self._batch_tiles), monotonic()
            value = work(pixels[start:stop])
            yield MappedTiles(
                tiles[start:stop], value, read_s * (stop - start), monotonic() - began
            )


def _corner(grid: Grid, tile: Tile) -> tuple[float, float]:
    return tile.x - grid.halo_px * grid.downsample_x, tile.y - grid.halo_px * grid.downsample_y
