"""Runs a function on tiles in several threads, each of which reads tiles and works on them.

There is no queue between decoding and computing, so neither waits for the other and no pixel is
copied. With as many threads as cores each always has something to do: a pool of decoders that
feeds one model thread was half as fast on CPUs. On a GPU some threads decode while others take
their turn on it. One call for tiles costs as much as decoding one tile, so a thread takes several
batches at a time where they are quick.
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
from worker.slides.sandbox.shared_memory import SLOT_BYTES

MAX_BATCH_BYTES: Final = SLOT_BYTES
"""A larger batch does not fit into the memory shared with the decoder, and would be copied."""

# Shares per thread that are submitted at a time: one that the thread works on, and one that waits
# for the thread or for its result to be taken.
_SHARES_AHEAD: Final = 2
# The time that a share should take: progress is visible, and the last threads end together.
_SHARE_S: Final = 0.05
# The most pixels of a share: what the processor's caches may still hold when they are used.
_SHARE_BYTES: Final = 8 * 2**20

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MappedTiles(Generic[T]):
    """The result for one batch, and the seconds that its thread spent reading and computing."""

    tiles: tuple[Tile, ...]
    value: T
    read_s: float
    compute_s: float


def workers(slide: ReadableSlide, tiles: int, batch_tiles: int) -> int:
    """Return how many threads work on this number of tiles."""
    return max(1, min(slide.threads, -(-tiles // batch_tiles)))


def share_tiles(batch_tiles: int, tile_s: float, most_tiles: int) -> int:
    """Return how many tiles a thread takes at a time, in whole batches, at `tile_s` per tile."""
    tiles = min(_SHARE_S / max(tile_s, 1e-9), most_tiles)
    return batch_tiles * max(1, int(tiles / batch_tiles))


def map_tiles(
    slide: ReadableSlide,
    grid: Grid,
    batch_tiles: int,
    function: Callable[[Pixels], T],
    *,
    by_share: bool = False,
) -> Iterator[MappedTiles[T]]:
    """Yield `function`'s result for every batch of tiles, in the order of the grid.

    `function` gets the pixels of at most `batch_tiles` tiles with their halo, (N, read_px, read_px,
    3). They are overwritten once it returns. With `by_share` it gets several whole batches at a
    time, all that a thread has read, and divides them by itself.

    Raises whatever reading or `function` raises, in the turn of its batch. Closing the iterator
    waits for the batches that have begun and drops the others.
    """
    threads = workers(slide, len(grid.tiles), batch_tiles)
    shares = _Shares(slide, grid, batch_tiles, threads, by_share=by_share)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="tiles")
    pending: deque[Future[list[MappedTiles[T]]]] = deque()
    total = len(grid.tiles)
    start = 0
    tile_s = _SHARE_S
    try:
        while start < total or pending:
            if start == total or len(pending) == _SHARES_AHEAD * threads:
                done = pending.popleft().result()
                yield from done
                tile_s = (done[-1].read_s + done[-1].compute_s) / len(done[-1].tiles)
            else:
                # towards the end shares get smaller, so that every thread has some
                most_tiles = min(shares.most_tiles, (total - start) // (_SHARES_AHEAD * threads))
                stop = min(total, start + share_tiles(batch_tiles, tile_s, most_tiles))
                tiles = tuple(grid.tiles[start:stop])
                pending.append(pool.submit(shares.run, tiles, function))
                start = stop
    finally:
        shares.closed.set()
        pool.shutdown(cancel_futures=True)


class _Shares:
    """Reads and maps shares of the tiles; the threads share it and its memory."""

    def __init__(
        self, slide: ReadableSlide, grid: Grid, batch_tiles: int, threads: int, *, by_share: bool
    ) -> None:
        self._slide = slide
        self._grid = grid
        self._batch_tiles = batch_tiles
        self._by_share = by_share
        self.closed = Event()
        fitting_tiles = min(len(grid.tiles), _SHARE_BYTES // (3 * grid.read_px**2))
        self.most_tiles = max(batch_tiles, fitting_tiles)
        shape = (self.most_tiles, grid.read_px, grid.read_px, 3)
        self._workspaces: SimpleQueue[Pixels] = SimpleQueue()
        for number in range(threads):
            self._workspaces.put(slide.workspace(number, shape))

    def run(self, tiles: tuple[Tile, ...], function: Callable[[Pixels], T]) -> list[MappedTiles[T]]:
        """Read the tiles and return `function`'s results, batch by batch; fewer once closed."""
        workspace = self._workspaces.get()
        try:
            started_at = monotonic()
            pixels = workspace[: len(tiles)]
            self._read(tiles, pixels)
            tile_read_s = (monotonic() - started_at) / len(tiles)
            return list(self._batches(tiles, pixels, function, tile_read_s))
        finally:
            self._workspaces.put(workspace)

    def _read(self, tiles: tuple[Tile, ...], pixels: Pixels) -> None:
        grid = self._grid
        halo_x = grid.halo_px * grid.downsample_x
        halo_y = grid.halo_px * grid.downsample_y
        corners = [(tile.x - halo_x, tile.y - halo_y) for tile in tiles]
        self._slide.fill_tiles(pixels, corners, grid.downsample_x, grid.downsample_y)

    def _batches(
        self,
        tiles: tuple[Tile, ...],
        pixels: Pixels,
        function: Callable[[Pixels], T],
        tile_read_s: float,
    ) -> Iterator[MappedTiles[T]]:
        step = self._batch_tiles
        if self._by_share:
            step = len(tiles)
        for start in range(0, len(tiles), step):
            if self.closed.is_set():
                return
            batch = tiles[start : start + step]
            started_at = monotonic()
            value = function(pixels[start : start + len(batch)])
            compute_s = monotonic() - started_at
            yield MappedTiles(batch, value, tile_read_s * len(batch), compute_s)
