"""Reads single tiles of findings.pmtiles: one look-up in a directory, one range of bytes.

The directories of the archives that were read last stay in memory. What a key of the storage stands
for never changes, so they are not read again.
"""

import json
import zlib
from array import array
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final, NamedTuple

from pmtiles.tile import (
    Compression,
    Entry,
    HeaderDict,
    deserialize_directory,
    deserialize_header,
    zxy_to_tileid,
)

from broker.errors import OrderError, TemporaryError
from broker.file_storage.interface import Storage
from broker.orders.result_files import FINDINGS_PMTILES

_HEADER_BYTES: Final = 127
_BEGINNING_BYTES: Final = 16384
"""The header and the root directory lie in these, by the format."""
_MAX_PART_BYTES: Final = 2**22
"""A directory or the metadata as they are stored; a writer makes leaves of about 40 kB."""
_MAX_UNPACKED_BYTES: Final = 2**20
_MAX_TILE_BYTES: Final = 2**28
_MAX_ZOOM: Final = 24
_ARCHIVES: Final = 128
_LEAVES: Final = 128


class ArchiveDamagedError(Exception):
    """The archive is not what a worker wrote."""


class Span(NamedTuple):
    """A range of bytes of the archive."""

    offset: int
    length: int


class Directory:
    """The entries of a directory, 32 bytes each, sorted by tile id."""

    def __init__(self, entries: list[Entry]) -> None:
        self._ids = array("Q", [entry.tile_id for entry in entries])
        self._runs = array("Q", [entry.run_length for entry in entries])
        self._offsets = array("Q", [entry.offset for entry in entries])
        self._lengths = array("Q", [entry.length for entry in entries])

    def find(self, tile_id: int) -> tuple[Span, bool] | None:
        """Return where the tile lies, or the leaf directory that may name it, and which it is.

        The flag is True for a leaf. None: there is no such tile.
        """
        position = bisect_right(self._ids, tile_id) - 1
        if position < 0:
            return None
        run = self._runs[position]
        if run and tile_id >= self._ids[position] + run:
            return None
        return Span(self._offsets[position], self._lengths[position]), not run


@dataclass(frozen=True, slots=True)
class Archive:
    """What is kept of an archive: where its parts lie, its grid, and its root directory."""

    key: str
    tag: str
    root: Directory
    leaves: Span
    tiles: Span
    width: int
    height: int
    tile_px: int
    finest: int

    def has_place(self, zoom: int, x: int, y: int) -> bool:
        """Return whether the canvas has such a tile, empty or not."""
        if zoom > self.finest:
            return False
        edge_px = self.tile_px << (self.finest - zoom)
        return x * edge_px < self.width and y * edge_px < self.height


class FindingsArchives:
    """The archives in a storage. Raises `OrderError`: `not_found`, `result_damaged`."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._archives: OrderedDict[str, Archive] = OrderedDict()
        self._leaves: OrderedDict[tuple[str, int], Directory] = OrderedDict()
        self._lock = Lock()

    def tile(self, key: str, zoom: int, x: int, y: int) -> tuple[str, bytes]:
        """Return the tag of a tile of the archive at `key`, and its bytes; none where it is empty.

        Raises `TemporaryError` where the storage fails.
        """
        archive = self._archive(key)
        if not archive.has_place(zoom, x, y):
            raise OrderError(
                "not_found",
                f"the slide has no tile {zoom}/{x}/{y}",
                hint=f"{archive.width} x {archive.height} px at zooms 0 to {archive.finest}",
            )
        tile_id = zxy_to_tileid(zoom, x, y)
        tag = f'"{archive.tag.strip(chr(34))}-{tile_id}"'
        try:
            return tag, self._content(archive, tile_id)
        except ArchiveDamagedError as error:
            raise _damaged(error) from None
        except (TemporaryError, FileNotFoundError):
            self._forget(key)
            if self._storage.find(key) is None:
                raise _not_kept() from None
            raise

    def _archive(self, key: str) -> Archive:
        with self._lock:
            known = self._archives.get(key)
            if known is not None:
                self._archives.move_to_end(key)
                return known
        stored = self._storage.find(key)
        if stored is None:
            raise _not_kept()
        try:
            archive = self._opened(key, stored.size_bytes, stored.tag)
        except ArchiveDamagedError as error:
            raise _damaged(error) from None
        except FileNotFoundError:
            raise _not_kept() from None
        with self._lock:
            _keep(self._archives, key, archive, _ARCHIVES)
        return archive

    def _opened(self, key: str, size_bytes: int, tag: str) -> Archive:
        beginning = self._read(key, Span(0, min(size_bytes, _BEGINNING_BYTES)))
        header = _header(beginning)
        root = Span(header["root_offset"], header["root_length"])
        about = Span(header["metadata_offset"], header["metadata_length"])
        leaves = Span(header["leaf_directory_offset"], header["leaf_directory_length"])
        tiles = Span(header["tile_data_offset"], header["tile_data_length"])
        for part in (root, about, leaves, tiles):
            if part.offset + part.length > size_bytes:
                raise ArchiveDamagedError("it ends too early")
        packed = beginning[about.offset : about.offset + about.length]
        if len(packed) < about.length:
            packed = self._read(key, about, _MAX_PART_BYTES)
        grid = _grid(packed)
        return Archive(
            key,
            tag,
            _directory(beginning[root.offset : root.offset + root.length]),
            leaves,
            tiles,
            grid["width"],
            grid["height"],
            grid["T"],
            grid["Z"],
        )

    def _content(self, archive: Archive, tile_id: int) -> bytes:
        found = archive.root.find(tile_id)
        if found is not None and found[1]:
            found = self._leaf(archive, found[0]).find(tile_id)
        if found is None:
            return b""
        span, is_leaf = found
        if is_leaf:
            raise ArchiveDamagedError("its directories are nested too deeply")
        return self._read(archive.key, _inside(archive.tiles, span), _MAX_TILE_BYTES)

    def _leaf(self, archive: Archive, span: Span) -> Directory:
        place = (archive.key, span.offset)
        with self._lock:
            known = self._leaves.get(place)
            if known is not None:
                self._leaves.move_to_end(place)
                return known
        packed = self._read(archive.key, _inside(archive.leaves, span), _MAX_PART_BYTES)
        leaf = _directory(packed)
        with self._lock:
            _keep(self._leaves, place, leaf, _LEAVES)
        return leaf

    def _read(self, key: str, span: Span, most: int = _BEGINNING_BYTES) -> bytes:
        if span.length > most:
            raise ArchiveDamagedError(f"it names a part of {span.length} bytes")
        content = b"".join(self._storage.read(key, span.offset, span.offset + span.length))
        if len(content) != span.length:
            raise ArchiveDamagedError("it ends too early")
        return content

    def _forget(self, key: str) -> None:
        with self._lock:
            self._archives.pop(key, None)
            for place in [place for place in self._leaves if place[0] == key]:
                del self._leaves[place]


def _keep(kept: OrderedDict[Any, Any], key: object, value: object, most: int) -> None:
    kept[key] = value
    if len(kept) > most:
        kept.popitem(last=False)


def _inside(part: Span, span: Span) -> Span:
    """Return a range that is stated from the beginning of a part, from that of the archive."""
    if span.offset + span.length > part.length:
        raise ArchiveDamagedError("a directory points outside of it")
    return Span(part.offset + span.offset, span.length)


def _header(beginning: bytes) -> HeaderDict:
    if len(beginning) < _HEADER_BYTES or beginning[:8] != b"PMTiles\x03":
        raise ArchiveDamagedError("it does not begin like an archive of tiles")
    try:
        header = deserialize_header(beginning[:_HEADER_BYTES])
    except ValueError:
        raise ArchiveDamagedError("its header has unknown values") from None
    if header["internal_compression"] != Compression.GZIP:
        raise ArchiveDamagedError("its directories are not packed by gzip")
    if header["root_offset"] + header["root_length"] > len(beginning):
        raise ArchiveDamagedError("its root directory lies too far inside")
    return header


def _directory(packed: bytes) -> Directory:
    _unpacked(packed)  # bounds what the next line unpacks
    try:
        return Directory(deserialize_directory(packed))
    except (EOFError, OSError, OverflowError, zlib.error):
        raise ArchiveDamagedError("a directory cannot be read") from None


def _unpacked(packed: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        content = unpacker.decompress(packed, _MAX_UNPACKED_BYTES)
    except zlib.error:
        raise ArchiveDamagedError("a directory is no gzip") from None
    if not unpacker.eof or unpacker.unused_data:
        raise ArchiveDamagedError("a directory has no end, or is too large")
    return content


def _grid(packed: bytes) -> dict[str, int]:
    try:
        stated = json.loads(_unpacked(packed))
    except ValueError:
        raise ArchiveDamagedError("its metadata are no JSON") from None
    if not isinstance(stated, dict):
        raise ArchiveDamagedError("its metadata are no JSON object")
    grid: dict[str, int] = {}
    for name in ("width", "height", "T", "Z"):
        value = stated.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ArchiveDamagedError(f"its metadata state no {name}")
        grid[name] = value
    if not grid["T"] or grid["Z"] > _MAX_ZOOM:
        raise ArchiveDamagedError("its metadata state an impossible grid")
    return grid


def _damaged(error: ArchiveDamagedError) -> OrderError:
    return OrderError(
        "result_damaged",
        f"{FINDINGS_PMTILES} is damaged: {error}",
        hint="features.geojson holds the same objects; place the order again for a whole file",
    )


def _not_kept() -> OrderError:
    return OrderError(
        "not_found", f"{FINDINGS_PMTILES} is no longer kept", hint="place the order again"
    )
