"""Reads findings.pmtiles by the published layouts alone: PMTiles by the package's own reader, and
the tiles by docs/formats.md."""

import gzip
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pmtiles.reader import MemorySource, all_tiles

Tile = tuple[int, int, int]
"""Zoom, x and y."""


@dataclass(frozen=True, slots=True)
class DrawnObject:
    """One object of a tile: rings in level-0 pixels, the outline first and then its holes."""

    tile: Tile
    magic: str
    number: int
    kind: int
    score: int
    rings: list[NDArray[np.float64]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Grid:
    """The second part of a tile: counts (SLD1, SLD2) or a lattice of scores (SLG1).

    `values`: (classes, G, G). `looked_at`: (G, G), of a lattice alone. `stated`: the last number of
    the header.
    """

    magic: str
    stated: int
    values: NDArray[np.int64]
    looked_at: NDArray[np.int64] | None = None


class FindingsReader:
    """All tiles of an archive, unpacked."""

    def __init__(self, content: bytes, width: int, height: int) -> None:
        self.tiles = dict(all_tiles(MemorySource(content)))
        self.finest = 0
        while 1024 << self.finest < max(width, height):
            self.finest += 1

    @classmethod
    def of(cls, path: Path, width: int, height: int) -> "FindingsReader":
        return cls(path.read_bytes(), width, height)

    def edge_px(self, zoom: int) -> int:
        """The edge of a tile of this zoom in level-0 pixels."""
        return 1024 << (self.finest - zoom)

    def objects(self) -> Iterator[DrawnObject]:
        """Yield every object of every tile; holes follow the ring of their object."""
        for place, tile in self.tiles.items():
            outlines, _ = parts(tile)
            if outlines:
                yield from self._objects(place, outlines)

    def grids(self) -> dict[Tile, Grid]:
        """The second parts of the tiles that have one."""
        found = {}
        for place, tile in self.tiles.items():
            _, packed = parts(tile)
            if packed:
                found[place] = _grid(packed)
        return found

    def _objects(self, place: Tile, content: bytes) -> Iterator[DrawnObject]:
        magic, version, count, points = struct.unpack_from("<4sIII", content)
        assert version == 1
        reader = _Columns(content, 16)
        numbers = reader.take("<u4", count)
        first = np.stack([reader.take("<i2", count), reader.take("<i2", count)], axis=1)
        lengths = reader.take("<u2", count)
        if magic == b"SLF2":
            kinds = reader.take("<u2", count)
            reader.skip(-2 * count % 4)
        else:
            assert magic == b"SLF1"
            kinds = reader.take("u1", count)
        scores = reader.take("u1", count)
        deltas = reader.take("<i2", 2 * points).reshape(-1, 2)
        reader.end()
        assert (np.diff(kinds) >= 0).all()
        zoom, x, y = place
        edge = self.edge_px(zoom)
        start = 0
        made: DrawnObject | None = None
        for row in range(count):
            stop = start + int(lengths[row])
            steps = first[row] + np.cumsum(deltas[start:stop], axis=0)
            ring = np.array([x, y]) * edge + steps / 4 * (edge / 1024)
            start = stop
            number = int(numbers[row])
            if made is None or made.number != number:
                if made is not None:
                    yield made
                made = DrawnObject(place, magic.decode(), number, int(kinds[row]), int(scores[row]))
            made.rings.append(ring)
        if made is not None:
            yield made


def parts(tile: bytes) -> tuple[bytes, bytes]:
    """Return both parts of a tile, unpacked; nothing for one that it does not have."""
    (length,) = struct.unpack_from("<I", tile)
    packed = tile[4 : 4 + length], tile[4 + length :]
    first, second = (gzip.decompress(part) if part else b"" for part in packed)
    return first, second


def _grid(content: bytes) -> Grid:
    magic, version, edge, stated = struct.unpack_from("<4sIII", content)
    assert version == 1
    reader = _Columns(content, 16)
    if magic == b"SLG1":
        cells = reader.take("u1", len(content) - 16).reshape(-1, stated, edge)
        return Grid("SLG1", stated, cells[:-1], cells[-1])
    kind = {b"SLD1": "<u2", b"SLD2": "<u4"}[magic]
    values = reader.take(kind, (len(content) - 16) // np.dtype(kind).itemsize)
    return Grid(magic.decode(), stated, values.reshape(-1, edge, edge))


class _Columns:
    """Takes columns of numbers from the front of some bytes."""

    def __init__(self, content: bytes, position: int) -> None:
        self._content = content
        self._position = position

    def take(self, kind: str, count: int) -> NDArray[np.int64]:
        values = np.frombuffer(self._content, kind, count, self._position)
        self._position += values.nbytes
        return values.astype(np.int64)

    def skip(self, size_bytes: int) -> None:
        self._position += size_bytes

    def end(self) -> None:
        assert self._position == len(self._content)
