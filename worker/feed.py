"""Tiles on their way to the device: decoded ahead by threads, handed over in batches, in order.

Owns threads and what is in flight; knows no device.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from worker.values import Grid, Pixels, Readable, Tile

_AHEAD: Final = 2  # batches that are decoded while the device has one


@dataclass(frozen=True, slots=True)
class _Batch:
    tiles: tuple[Tile, ...]
    pixels: Pixels
    reads: tuple[Future[None], ...]


def batches(slide: Readable, grid: Grid, batch_size: int) -> Iterator[tuple[tuple[Tile, ...], Pixels]]:
    """Read the tiles with their halo: (tiles, pixels of shape (N, read_px, read_px, 3)), the last batch may be smaller.

    Whatever `slide.fill` raises comes out in its turn. Closing the iterator waits for the reads that have begun and
    drops the others.
    """
    pool = ThreadPoolExecutor(slide.threads, thread_name_prefix="tiles")
    ahead: deque[_Batch] = deque()
    try:
        for start in range(0, len(grid.tiles), batch_size):
            ahead.append(_begin(pool, slide, grid, grid.tiles[start : start + batch_size]))
            if len(ahead) > _AHEAD:
                yield _finish(ahead.popleft())
        while ahead:
            yield _finish(ahead.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(pool: ThreadPoolExecutor, slide: Readable, grid: Grid, tiles: tuple[Tile, ...]) -> _Batch:
    pixels = np.empty((len(tiles), grid.read_px, grid.read_px, 3), np.uint8)
    return _Batch(
        tiles, pixels, tuple(pool.submit(_read, slide, grid, tile, pixels[n]) for n, tile in enumerate(tiles))
    )


def _read(slide: Readable, grid: Grid, tile: Tile, into: Pixels) -> None:
    x, y = tile.x - grid.halo_px * grid.downsample_x, tile.y - grid.halo_px * grid.downsample_y
    slide.fill(into, x, y, grid.downsample_x, grid.downsample_y)


def _finish(batch: _Batch) -> tuple[tuple[Tile, ...], Pixels]:
    for read in batch.reads:
        read.result()
    return batch.tiles, batch.pixels
