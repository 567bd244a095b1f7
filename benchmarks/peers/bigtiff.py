"""A BigTIFF of JPEG tiles as Aperio lays it out, written from tiles that repeat.

Where tiles share what is stored, many offsets point to the same bytes, so that a slide of any size takes little disk.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

TILE_PX: Final = 256
_SHORT, _LONG, _LONG8, _ASCII = 3, 4, 16, 2
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
    link = _HEADER.size - 8  # where the offset of the next page belongs
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
    count = len(value) if kind == _ASCII else len(value) // struct.calcsize(_FORMATS[kind])
    if len(value) > _INLINE_BYTES:
        file.write(bytes(-file.tell() % 8))
        value, at = struct.pack("<Q", file.tell()), value
        file.write(at)
    return struct.pack("<HHQ", tag, kind, count) + value.ljust(_INLINE_BYTES, b"\0")
