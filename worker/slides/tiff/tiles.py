"""Tiles of one page of a TIFF: read by their offsets, decoded and converted to RGB.

Decides which compressions are read and how large a decoded tile may be. Knows no pyramids and
regions.
"""

import io
import os
import struct
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tifffile import TIFF, TiffPage
from tifffile.tifffile import jpeg_shape

from worker.geometry.frame import Pixels
from worker.slides import signatures
from worker.slides.errors import UnreadableTiffError
from worker.slides.reader import BLOCK_PX
from worker.slides.tiff.color import ColorConverter
from worker.slides.tiff.jpeg_tiles import is_plain_jpeg, jpeg_level
from worker.slides.tiff.pages import forget_tile_places, grid, planes, tile_size
from worker.slides.tiled_pyramid import TiledLevel

COMPRESSIONS: Final = {
    1: "uncompressed", 5: "LZW", 6: "old-style JPEG", 7: "JPEG", 8: "Deflate", 32946: "Deflate",
    32773: "PackBits", 33003: "JPEG 2000, YCbCr", 33004: "JPEG 2000", 33005: "JPEG 2000",
    34712: "JPEG 2000", 34925: "LZMA", 34926: "Zstd", 50000: "Zstd", 34927: "WebP", 50001: "WebP",
    34933: "PNG", 22610: "JPEG XR", 34934: "JPEG XR", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
"""The compressions that are read, by their number in the file, with their usual names."""

_JPEG: Final = frozenset({6, 7})
_JPEG_2000: Final = frozenset({33003, 33004, 33005, 34712})
_WEBP: Final = frozenset({34927, 50001})
# Their streams contain the size of the image.
_SELF_SIZED: Final = frozenset({22610, 34927, 34933, 34934, 50001, 50002, 52546})
_JPEG_2000_SIZE_OFFSET: Final = 8  # of Xsiz from the start of the codestream; ISO/IEC 15444-1 A.5.1
_MAX_TILE_BYTES: Final = 2**29
_SAMPLED_TILES: Final = 16  # of a page, to find out which values occur


def tiled_level(tiles: "PageTiles") -> TiledLevel:
    """Return the page of these tiles as a level.

    Raises `UnreadableSlideError`.
    """
    page = tiles.page
    if is_plain_jpeg(page):
        return jpeg_level(page, tiles.read)
    tile_width, tile_height = tile_size(page)
    return TiledLevel(page.imagewidth, page.imagelength, tile_width, tile_height, tiles.load)


class PageTiles:
    """The tiles of one page. Threads may load them at the same time."""

    def __init__(
        self,
        page: TiffPage,
        file: io.FileIO,
        white: int | None = None,
        *,
        is_ycbcr: bool = False,
    ) -> None:
        """Read from the open `file`; `white` is the value of white of more than 8 bits, if stated.

        `is_ycbcr` says that decoded samples are YCbCr, although the page states RGB.

        Raises `UnreadableSlideError`.
        """
        _refuse_compression(page)
        self.page = page
        self._file = file
        self._jpegheader = page.jpegheader
        self._offsets = np.array(page.dataoffsets, np.int64)
        self._sizes = np.array(page.databytecounts, np.int64)
        self._columns, self._rows = grid(page)
        self._colors = ColorConverter(page, white, is_ycbcr=is_ycbcr)
        page.init_decode()
        forget_tile_places(page)

    def load(self, column: int, row: int) -> Pixels | None:
        """Return one tile in RGB or RGBA, None where the file leaves it out."""
        plane_tiles = self._columns * self._rows
        all_tiles = plane_tiles * planes(self.page)
        decoded = []
        for index in range(row * self._columns + column, all_tiles, plane_tiles):
            data = self._read_index(index)
            if data is None:
                return None
            decoded.append(self._decode(data, index))
        if len(decoded) == 1:
            return self._colors.convert(decoded[0])
        return self._colors.convert(np.concatenate(decoded, axis=2))

    def largest_samples(self) -> Iterator[int]:
        """Yield the largest stored value of some tiles, from all over the page.

        Tiles that the file leaves out, or that were not fetched with a part of it, are passed over.
        """
        plane_tiles = self._columns * self._rows
        for index in range(0, plane_tiles, max(1, plane_tiles // _SAMPLED_TILES)):
            data = self._read_index(index)
            if data is not None and any(data):
                yield int(self._decode(data, index).max())

    def read(self, column: int, row: int) -> bytes | None:
        """Return the stored bytes of one tile, None where the file leaves it out."""
        return self._read_index(row * self._columns + column)

    def _read_index(self, index: int) -> bytes | None:
        offset = int(self._offsets[index])
        size_bytes = int(self._sizes[index])
        if offset == 0 or size_bytes == 0:
            return None
        if size_bytes > _MAX_TILE_BYTES:
            raise UnreadableTiffError(
                f"tile {index} has {size_bytes} bytes; at most {_MAX_TILE_BYTES} are read"
            )
        data = os.pread(self._file.fileno(), size_bytes, offset)
        if len(data) < size_bytes:
            missing_bytes = size_bytes - len(data)
            raise UnreadableTiffError(
                f"the file ends {missing_bytes} bytes before the end of tile {index}"
            )
        return data

    def _decode(self, data: bytes, index: int) -> NDArray[Any]:
        """Return (height, width, samples) as stored.

        Of tiles at the edge it may be only the part inside of the image.
        """
        page = self.page
        if page.compression in _SELF_SIZED:
            return self._decode_self_sized(data, index)
        if page.compression in _JPEG and not self._jpegheader:
            _, height, width, *_ = jpeg_shape(data)
            _refuse_huge(width, height)
        elif page.compression in _JPEG_2000:
            start = data.index(signatures.JPEG_2000_CODESTREAM)
            _refuse_huge(*struct.unpack_from(">2I", data, start + _JPEG_2000_SIZE_OFFSET))
        segment, *_ = page.decode(
            data, index, jpegtables=page.jpegtables, jpegheader=self._jpegheader
        )
        decoded: NDArray[Any] = np.asarray(segment)[0]
        if decoded.dtype != page.dtype:
            raise UnreadableTiffError(
                f"tile {index} holds {decoded.dtype} where {page.bitspersample} bits are said"
            )
        return decoded

    def _decode_self_sized(self, data: bytes, index: int) -> NDArray[Any]:
        """Decode into memory of the expected size.

        The codec then refuses a larger image before it decodes it.
        """
        page = self.page
        width, height = tile_size(page)
        row, column = divmod(index % (self._columns * self._rows), self._columns)
        inside_height = min(height, page.imagelength - row * height)
        inside_width = min(width, page.imagewidth - column * width)
        samples: tuple[int, ...] = ()
        if page.samplesperpixel > 1 and page.planarconfig != 2:
            samples = (page.samplesperpixel,)
        options = {}
        if page.compression in _WEBP and samples == (4,):
            options["hasalpha"] = True
        for size in ((height, width), (inside_height, inside_width)):
            out = np.zeros((*size, *samples), page.dtype)
            try:
                TIFF.DECOMPRESSORS[page.compression](data, out=out, **options)
            except ValueError:  # the image has another size
                continue
            return out.reshape(*size, -1)
        raise UnreadableTiffError(f"tile {index} is not a picture of {width} x {height} px")


def _refuse_compression(page: TiffPage) -> None:
    if page.compression not in COMPRESSIONS:
        name = getattr(page.compression, "name", "")
        raise UnreadableTiffError(
            f"its compression, {name} ({int(page.compression)}), is not among those that are read"
        )
    if page.is_subsampled and page.compression not in {*_JPEG, *_JPEG_2000, *_SELF_SIZED}:
        raise UnreadableTiffError("its colours are subsampled without JPEG compression")


def _refuse_huge(width: int, height: int) -> None:
    if width * height > BLOCK_PX:
        raise UnreadableTiffError(
            f"a tile holds {width} x {height} px; at most {BLOCK_PX} can be decoded at a time"
        )
