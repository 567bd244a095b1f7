"""Writes a BigTIFF of JPEG tiles with Aperio's layout, from tiles that repeat.

Tiles may share what is stored: then many offsets point to the same bytes, and a slide of any size
takes little disk.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

TILE_PX: Final = 256
# Types of TIFF fields.
_SHORT = 3
_LONG = 4
_LONG8 = 16
_ASCII = 2
_FORMATS: Final = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}
_INLINE_BYTES: Final = 8
_HEADER: Final = struct.Struct("<2sHHHQ")

Kinds = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Level:
    """One level: for each of its tiles (rows, columns) the number of its encoded picture."""

    width_px: int
    height_px: int
    description: str
    kinds: Kinds


def write(path: Path, levels: Sequence[Level], pictures: Sequence[bytes], *, shared: bool) -> None:
    """Write the levels, each a page of complete JPEGs in YCbCr with 4:2:2 chroma."""
    sizes = np.array([len(picture) for picture in pictures], np.int64)
    with path.open("wb") as file:
        file.write(_HEADER.pack(b"II", 43, 8, 0, 0))
        if shared:
            starts = file.tell() + np.cumsum(sizes) - sizes
            file.writelines(pictures)
        pages = []
        for level in levels:
            kinds = level.kinds.ravel()
            if shared:
                offsets = starts[kinds]
            else:
                offsets = file.tell() + np.cumsum(sizes[kinds]) - sizes[kinds]
                file.writelines(pictures[kind] for kind in kinds.tolist())
            pages.append(_tags(level, offsets, sizes[kinds]))
        _write_pages(file, pages)


def _tags(level: Level, offsets: Kinds, sizes: Kinds) -> dict[int, tuple[int, bytes]]:
    def numbers(kind: int, *values: int) -> tuple[int, bytes]:
        return kind, struct.pack(f"<{len(values)}{_FORMATS[kind]}", *values)

    return {
        254: numbers(_LONG, 0),
        256: numbers(_LONG, level.width_px),
        257: numbers(_LONG, level.height_px),
        258: numbers(_SHORT, 8, 8, 8),
        259: numbers(_SHORT, 7),  # JPEG
        262: numbers(_SHORT, 6),  # YCbCr
        270: (_ASCII, level.description.encode("ascii") + b"\0"),
        277: numbers(_SHORT, 3),
        284: numbers(_SHORT, 1),
        322: numbers(_LONG, TILE_PX),
        323: numbers(_LONG, TILE_PX),
        324: (_LONG8, offsets.astype("<u8").tobytes()),
        325: (_LONG, sizes.astype("<u4").tobytes()),
        530: numbers(_SHORT, 2, 1),
    }


def _write_pages(file: BinaryIO, pages: Sequence[dict[int, tuple[int, bytes]]]) -> None:
    # Where the offset of the next page is written.
    link = _HEADER.size - 8
    for page in pages:
        entries = b"".join(_entry(file, tag, *value) for tag, value in page.items())
        file.write(bytes(-file.tell() % 8))
        start = file.tell()
        file.write(struct.pack("<Q", len(page)) + entries + bytes(8))
        end = file.tell()
        file.seek(link)
        file.write(struct.pack("<Q", start))
        file.seek(end)
        link = end - 8


def _entry(file: BinaryIO, tag: int, kind: int, value: bytes) -> bytes:
    """Return the entry of a tag. A value that does not fit in is written to the file."""
    count = len(value)
    if kind != _ASCII:
        count //= struct.calcsize(_FORMATS[kind])
    if len(value) > _INLINE_BYTES:
        file.write(bytes(-file.tell() % 8))
        offset = struct.pack("<Q", file.tell())
        file.write(value)
        value = offset
    return struct.pack("<HHQ", tag, kind, count) + value.ljust(_INLINE_BYTES, b"\0")
