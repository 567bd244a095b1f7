"""Encoded tiles in memory, within a budget of bytes; the least recently used go first."""

from collections import OrderedDict
from typing import Final

_ENTRY_BYTES: Final = 400
"""What a tile takes beside its bytes: its key, and its place in the tables."""
_LARGEST_SHARE: Final = 8
"""A picture of more than this part of the budget is not kept."""


class EncodedTiles:
    """The tiles by their ETags. One thread uses it."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._tiles: OrderedDict[str, bytes] = OrderedDict()

    def get(self, etag: str) -> bytes | None:
        """Return the tile, None where it is not kept."""
        tile = self._tiles.get(etag)
        if tile is not None:
            self._tiles.move_to_end(etag)
        return tile

    def put(self, etag: str, tile: bytes) -> None:
        """Keep the tile, and forget others until all are within the budget."""
        size_bytes = len(tile) + _ENTRY_BYTES
        if size_bytes > self._max_bytes // _LARGEST_SHARE or etag in self._tiles:
            return
        self._tiles[etag] = tile
        self._bytes += size_bytes
        while self._bytes > self._max_bytes:
            _, forgotten = self._tiles.popitem(last=False)
            self._bytes -= len(forgotten) + _ENTRY_BYTES
