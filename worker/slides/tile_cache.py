"""A cache of decoded tiles, limited in bytes. Each tile is decoded once, however many threads ask.

Most regions read few tiles twice, and those soon. So the limit is low at first, and grows whenever
a tile is requested that was evicted before. A large slide then fills no memory with tiles that are
never read again. The cache does not know what a tile is a part of.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Final

from worker.geometry.frame import Pixels

_FIRST_LIMIT_BYTES: Final = 8 * 2**20  # a row of tiles across an overview


class TileCache:
    """The tiles used last, of at most `max_bytes`. Threads may share it."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._limit_bytes = min(_FIRST_LIMIT_BYTES, max_bytes)
        self._bytes = 0
        self._tiles: OrderedDict[Hashable, Future[Pixels | None]] = OrderedDict()
        self._unread_px: dict[Hashable, int] = {}
        self._evicted: OrderedDict[Hashable, int] = OrderedDict()
        """Sizes in bytes of tiles that a cache of `max_bytes` would still hold."""
        self._evicted_bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, decode: Callable[[], Pixels | None]) -> Pixels | None:
        """Return the tile, decoded by the first thread that asks while others wait for it.

        Raises what `decode` raises.
        """
        with self._lock:
            cached = self._tiles.get(key)
            if cached is None:
                self._raise_limit_if_evicted(key)
                future = Future[Pixels | None]()
                self._tiles[key] = future
            else:
                self._tiles.move_to_end(key)
        if cached is not None:
            return cached.result()
        return self._decode(key, future, decode)

    def mark_read(self, key: Hashable, pixels: int) -> None:
        """Count pixels of a tile that were read. A tile that was read completely is removed.

        It is hardly ever read again.
        """
        with self._lock:
            tile = self._tiles.get(key)
            if tile is None or not tile.done():
                return
            unread_px = self._unread_px.get(key)
            if unread_px is None:
                unread_px = _size_px(tile.result())
            self._unread_px[key] = unread_px - pixels
            if self._unread_px[key] <= 0:
                self._remove(key)

    def _decode(
        self,
        key: Hashable,
        future: "Future[Pixels | None]",
        decode: Callable[[], Pixels | None],
    ) -> Pixels | None:
        try:
            tile = decode()
        except BaseException as error:
            with self._lock:
                self._tiles.pop(key, None)
            future.set_exception(error)
            raise
        future.set_result(tile)
        with self._lock:
            size_bytes = _size_bytes(tile)
            self._bytes += size_bytes
            if size_bytes <= self._max_bytes:
                self._limit_bytes = max(self._limit_bytes, size_bytes)
            self._evict()
        return tile

    def _raise_limit_if_evicted(self, key: Hashable) -> None:
        """Double the limit, or raise it by the tile's size, if the tile was evicted before."""
        size_bytes = self._evicted.pop(key, None)
        if size_bytes is None:
            return
        self._evicted_bytes -= size_bytes
        raised_bytes = max(2 * self._limit_bytes, self._limit_bytes + size_bytes)
        self._limit_bytes = min(raised_bytes, self._max_bytes)

    def _evict(self) -> None:
        """Remove the least recently used tiles; one that is being decoded stays."""
        while self._bytes > self._limit_bytes:
            key = next((key for key, tile in self._tiles.items() if tile.done()), None)
            if key is None:
                return
            size_bytes = self._remove(key)
            if size_bytes:  # a tile that the file leaves out takes no memory
                self._evicted[key] = size_bytes
                self._evicted_bytes += size_bytes
        while self._evicted_bytes > self._max_bytes - self._bytes:
            _, size_bytes = self._evicted.popitem(last=False)
            self._evicted_bytes -= size_bytes

    def _remove(self, key: Hashable) -> int:
        """Remove a decoded tile. Return its size in bytes."""
        size_bytes = _size_bytes(self._tiles.pop(key).result())
        self._bytes -= size_bytes
        self._unread_px.pop(key, None)
        return size_bytes


def _size_px(tile: Pixels | None) -> int:
    if tile is None:
        return 0
    height, width = tile.shape[:2]
    return int(height * width)


def _size_bytes(tile: Pixels | None) -> int:
    if tile is None:
        return 0
    size_bytes: int = tile.nbytes
    return size_bytes
