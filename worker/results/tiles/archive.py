"""Writes an archive of tiles: PMTiles, version 3, whose tiles are of a type of our own."""

import gzip
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from pmtiles.tile import Compression, Entry, TileType, serialize_header
from pmtiles.writer import optimize_directories

from worker.results.json_text import strict_json

_VERSION: Final = 3
_HEADER_BYTES: Final = 127
_ROOT_BYTES: Final = 16384 - _HEADER_BYTES
"""The header and the root directory must lie in the first 16 KiB."""
_COPY_BYTES: Final = 2**20


class ArchiveWriter:
    """Takes tiles in the order of their ids. Their bytes go to a file beside the archive first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tiles_path = path.with_name(f".{path.name}.tiles")
        self._tiles = self._tiles_path.open("w+b")
        self._entries: list[Entry] = []
        self._offset = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the file with the tiles."""
        self._tiles.close()
        self._tiles_path.unlink(missing_ok=True)

    def add(self, tile_id: int, content: bytes) -> None:
        """Take the next tile. Raise ValueError where its id is not above the one before."""
        if self._entries and tile_id <= self._entries[-1].tile_id:
            raise ValueError(f"tile {tile_id} comes after tile {self._entries[-1].tile_id}")
        self._tiles.write(content)
        self._entries.append(Entry(tile_id, self._offset, len(content), 1))
        self._offset += len(content)

    def finish(self, finest: int, metadata: dict[str, Any]) -> None:
        """Write the archive."""
        root, leaves = _directories(self._entries)
        packed = gzip.compress(strict_json(metadata), mtime=0)
        metadata_offset = _HEADER_BYTES + len(root)
        leaves_offset = metadata_offset + len(packed)
        count = len(self._entries)
        header = serialize_header(
            {
                "version": _VERSION,
                "root_offset": _HEADER_BYTES,
                "root_length": len(root),
                "metadata_offset": metadata_offset,
                "metadata_length": len(packed),
                "leaf_directory_offset": leaves_offset,
                "leaf_directory_length": len(leaves),
                "tile_data_offset": leaves_offset + len(leaves),
                "tile_data_length": self._offset,
                "addressed_tiles_count": count,
                "tile_entries_count": count,
                "tile_contents_count": count,
                "clustered": True,
                "internal_compression": Compression.GZIP,
                "tile_compression": Compression.NONE,
                "tile_type": TileType.UNKNOWN,
                "min_zoom": 0,
                "max_zoom": finest,
                "min_lon_e7": 0,
                "min_lat_e7": 0,
                "max_lon_e7": 0,
                "max_lat_e7": 0,
                "center_zoom": 0,
                "center_lon_e7": 0,
                "center_lat_e7": 0,
            }
        )
        self._tiles.seek(0)
        with self._path.open("wb") as file:
            file.write(header + root + packed + leaves)
            shutil.copyfileobj(self._tiles, file, _COPY_BYTES)


def _directories(entries: list[Entry]) -> tuple[bytes, bytes]:
    """Return the root directory, and all leaf directories where it has no room for all tiles."""
    root, leaves, _ = optimize_directories(entries, _ROOT_BYTES)  # type: ignore[no-untyped-call]
    return root, leaves
