"""The stored tiles of one page of a TIFF: read by their offsets, decoded, in RGB.

Owns which compressions are read and how large a codec's answer may be; knows nothing of pyramids and regions.
"""

import io
import os
import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tifffile import TIFF, TiffPage
from tifffile.tifffile import jpeg_shape

from worker.geometry.frame import Pixels
from worker.slides.reader import BLOCK_PX
from worker.slides.tiff.color import Colour
from worker.slides.tiff.jpeg_tiles import is_plain_jpeg, jpeg_level
from worker.slides.tiff.pages import forget_places, grid, planes, tile_size, unreadable
from worker.slides.tiled_pyramid import TiledLevel

COMPRESSIONS: Final = {
    1: "uncompressed", 5: "LZW", 6: "old-style JPEG", 7: "JPEG", 8: "Deflate", 32946: "Deflate", 32773: "PackBits",
    33003: "JPEG 2000, YCbCr", 33004: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000",
    34925: "LZMA", 34926: "Zstd", 50000: "Zstd", 34927: "WebP", 50001: "WebP", 34933: "PNG",
    22610: "JPEG XR", 34934: "JPEG XR", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
"""Which are read, by the number in the file; the words are what people call them."""

_JPEG: Final = frozenset({6, 7})
_JPEG_2000: Final = frozenset({33003, 33004, 33005, 34712})
_WEBP: Final = frozenset({34927, 50001})
_PICTURES: Final = frozenset(
    {22610, 34927, 34933, 34934, 50001, 50002, 52546}
)  # they know their own size
_JPEG_2000_SIZE: Final = b"\xff\x4f\xff\x51"  # start of codestream, then the size marker
_TILE_BYTES: Final = 2**29  # the most that is read for one tile


def tiled_level(page: TiffPage, file: io.FileIO) -> TiledLevel:
    """The page as a level whose tiles are read from the open `file`. Raises `OrderError` `slide_unreadable`."""
    if page.compression not in COMPRESSIONS:
        name = getattr(page.compression, "name", "")
        raise unreadable(
            f"its compression, {name} ({int(page.compression)}), is not among those that are read"
        )
    if page.is_subsampled and page.compression not in {*_JPEG, *_JPEG_2000, *_PICTURES}:
        raise unreadable("its colours are subsampled without JPEG compression")
    tiles = _Tiles(page, file)
    if is_plain_jpeg(page):
        return jpeg_level(page, tiles.stored)
    return TiledLevel(page.imagewidth, page.imagelength, *tile_size(page), tiles.load)


class _Tiles:
    """The tiles of one page. Threads may load them at the same time."""

    def __init__(self, page: TiffPage, file: io.FileIO) -> None:
        self._page, self._file, self._jpegheader = page, file, page.jpegheader
        self._offsets = np.array(page.dataoffsets, np.int64)
        self._sizes = np.array(page.databytecounts, np.int64)
        self._across, self._down = grid(page)
        self._colour = Colour(page)
        page.init_decode()
        forget_places(page)

    def load(self, column: int, row: int) -> Pixels | None:
        """One tile in RGB or RGBA; None where the file leaves it out."""
        plane = self._across * self._down
        stored = []
        for index in range(row * self._across + column, plane * planes(self._page), plane):
            data = self._data(index)
            if data is None:
                return None
            stored.append(self._decoded(data, index))
        return self._colour(np.concatenate(stored, axis=2) if len(stored) > 1 else stored[0])

    def stored(self, column: int, row: int) -> bytes | None:
        """The bytes of one tile; None where the file leaves it out."""
        return self._data(row * self._across + column)

    def _data(self, index: int) -> bytes | None:
        offset, size = int(self._offsets[index]), int(self._sizes[index])
        if offset == 0 or size == 0:
            return None
        if size > _TILE_BYTES:
            raise unreadable(f"tile {index} has {size} bytes; at most {_TILE_BYTES} are read")
        data = os.pread(self._file.fileno(), size, offset)
        if len(data) < size:
            raise unreadable(
                f"the file ends {size - len(data)} bytes before the end of tile {index}"
            )
        return data

    def _decoded(self, data: bytes, index: int) -> NDArray[Any]:
        """(height, width, samples) as stored; of tiles at the edge maybe only what lies in the picture."""
        page = self._page
        if page.compression in _PICTURES:
            return self._picture(data, index)
        if page.compression in _JPEG and not self._jpegheader:
            _refuse_huge(*jpeg_shape(data)[2:0:-1])
        elif page.compression in _JPEG_2000:
            at = data.index(_JPEG_2000_SIZE)
            _refuse_huge(*struct.unpack_from(">2I", data, at + 8))
        decoded: NDArray[Any] = np.asarray(
            page.decode(data, index, jpegtables=page.jpegtables, jpegheader=self._jpegheader)[0]
        )[0]
        if decoded.dtype != page.dtype:
            raise unreadable(
                f"tile {index} holds {decoded.dtype} where {page.bitspersample} bits are said"
            )
        return decoded

    def _picture(self, data: bytes, index: int) -> NDArray[Any]:
        """Decode into memory of the expected size, so that a codec refuses a larger picture before it decodes it."""
        page = self._page
        width, height = tile_size(page)
        row, column = divmod(index % (self._across * self._down), self._across)
        inside = (
            min(height, page.imagelength - row * height),
            min(width, page.imagewidth - column * width),
        )
        samples = (
            () if page.samplesperpixel == 1 or page.planarconfig == 2 else (page.samplesperpixel,)
        )
        said = {"hasalpha": True} if page.compression in _WEBP and samples == (4,) else {}
        for size in ((height, width), inside):
            try:
                out = np.zeros((*size, *samples), page.dtype)
                TIFF.DECOMPRESSORS[page.compression](data, out=out, **said)
            except ValueError:  # of another size
                continue
            return out.reshape(*size, -1)
        raise unreadable(f"tile {index} is not a picture of {width} x {height} px")


def _refuse_huge(width: int, height: int) -> None:
    if width * height > BLOCK_PX:
        raise unreadable(
            f"a tile holds {width} x {height} px; at most {BLOCK_PX} can be decoded at a time"
        )
