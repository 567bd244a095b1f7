"""Decoded tiles that are likely to be wanted again: each decoded once, however many threads ask, a bounded many kept.

Owns that bound. Must not know what a tile is a part of, or how it is decoded.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future

from worker.values import Pixels


class TileCache:
    """The tiles used last, of at most so many bytes. Threads may share it."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._tiles: OrderedDict[Hashable, Future[Pixels | None]] = OrderedDict()
        self._unread: dict[Hashable, int] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, decode: Callable[[], Pixels | None]) -> Pixels | None:
        """The tile, decoded by whoever asks first; the others wait for it. Raises whatever `decode` does."""
        with self._lock:
            kept = self._tiles.get(key)
            if kept is None:
                mine = self._tiles[key] = Future[Pixels | None]()
            else:
                self._tiles.move_to_end(key)
        return self._decoded(key, mine, decode) if kept is None else kept.result()

    def used(self, key: Hashable, pixels: int) -> None:
        """So many pixels of the tile were read. One of which all were read once is hardly wanted again, and goes."""
        with self._lock:
            tile = self._tiles.get(key)
            if tile is None or not tile.done():
                return
            self._unread[key] = self._unread.get(key, _size_px(tile.result())) - pixels
            if self._unread[key] <= 0:
                self._forget(key)

    def _decoded(
        self, key: Hashable, mine: "Future[Pixels | None]", decode: Callable[[], Pixels | None]
    ) -> Pixels | None:
        try:
            tile = decode()
        except BaseException as error:
            with self._lock:
                self._tiles.pop(key, None)
            mine.set_exception(error)
            raise
        mine.set_result(tile)
        with self._lock:
            self._bytes += _size_bytes(tile)
            self._drop()
        return tile

    def _drop(self) -> None:
        """Let the least recently used go; one that is being decoded has no size yet, and stays."""
        while self._bytes > self._most_bytes:
            key = next((key for key, tile in self._tiles.items() if tile.done()), None)
            if key is None:
                return
            self._forget(key)

    def _forget(self, key: Hashable) -> None:
        self._bytes -= _size_bytes(self._tiles.pop(key).result())
        self._unread.pop(key, None)


def _size_px(tile: Pixels | None) -> int:
    return 0 if tile is None else tile.shape[0] * tile.shape[1]


def _size_bytes(tile: Pixels | None) -> int:
    return 0 if tile is None else tile.nbytes
