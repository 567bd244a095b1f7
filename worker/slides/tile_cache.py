"""Decoded tiles that are likely to be wanted again: each decoded once, however many threads ask, a bounded many kept.

Most regions want few of them again, and only soon. So that what nobody comes back for does not pile up on a large
slide, there is little room at first; it grows whenever a tile is wanted that more room would have kept.

Owns that bound. Must not know what a tile is a part of, or how it is decoded.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Final

from worker.geometry.frame import Pixels

_FIRST_ROOM_BYTES: Final = 8 * 2**20  # a row of tiles across an overview


class TileCache:
    """The tiles used last, of at most so many bytes. Threads may share it."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._room_bytes, self._bytes = (
            most_bytes,
            min(_FIRST_ROOM_BYTES, most_bytes),
            0,
        )
        self._tiles: OrderedDict[Hashable, Future[Pixels | None]] = OrderedDict()
        self._unread: dict[Hashable, int] = {}
        self._dropped: OrderedDict[Hashable, int] = OrderedDict()
        self._dropped_bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, decode: Callable[[], Pixels | None]) -> Pixels | None:
        """The tile, decoded by whoever asks first; the others wait for it. Raises whatever `decode` does."""
        with self._lock:
            kept = self._tiles.get(key)
            if kept is None:
                self._make_room(key)
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
            size_bytes = _size_bytes(tile)
            self._bytes += size_bytes
            if size_bytes <= self._most_bytes:
                self._room_bytes = max(self._room_bytes, size_bytes)
            self._drop()
        return tile

    def _make_room(self, key: Hashable) -> None:
        """Twice as much, or as much as it takes, if this tile was dropped for want of it."""
        if key in self._dropped:
            size_bytes = self._dropped.pop(key)
            self._dropped_bytes -= size_bytes
            self._room_bytes = min(
                max(2 * self._room_bytes, self._room_bytes + size_bytes), self._most_bytes
            )

    def _drop(self) -> None:
        """Let the least recently used go; one that is being decoded has no size yet, and stays."""
        while self._bytes > self._room_bytes:
            key = next((key for key, tile in self._tiles.items() if tile.done()), None)
            if key is None:
                return
            if size_bytes := self._forget(key):  # one that the file leaves out takes no room
                self._dropped[key] = size_bytes
                self._dropped_bytes += size_bytes
        while (
            self._dropped_bytes > self._most_bytes - self._bytes
        ):  # the most room would not have kept them either
            self._dropped_bytes -= self._dropped.popitem(last=False)[1]

    def _forget(self, key: Hashable) -> int:
        size_bytes = _size_bytes(self._tiles.pop(key).result())
        self._bytes -= size_bytes
        self._unread.pop(key, None)
        return size_bytes


def _size_px(tile: Pixels | None) -> int:
    return 0 if tile is None else tile.shape[0] * tile.shape[1]


def _size_bytes(tile: Pixels | None) -> int:
    return 0 if tile is None else tile.nbytes
