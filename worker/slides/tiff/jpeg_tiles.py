"""JPEG tiles of a TIFF page, decoded by libjpeg-turbo into given memory, also at reduced size.

The tables that all tiles share are in the tag JPEGTables and not in the tiles ("abbreviated"
streams, TIFF Technical Note 2). PhotometricInterpretation says whether samples are YCbCr; a JPEG
file has an Adobe marker for that (ITU-T T.872, 6.5.3). With both put in front, a tile is a complete
JPEG file.

A decoder produces 1/2, 1/4 and 1/8 of the size with less work than the whole, by shorter inverse
cosine transforms. Each pixel is then about the mean of those that it stands for.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import simplejpeg
from tifffile import COMPRESSION, PHOTOMETRIC, TiffPage

from worker.geometry.frame import Pixels
from worker.slides.errors import UnreadableTiffError
from worker.slides.tiff.pages import tile_size
from worker.slides.tiled_pyramid import TiledLevel

REDUCTIONS: Final = (2, 4, 8)
_START_OF_IMAGE: Final = b"\xff\xd8"
_END_OF_IMAGE_BYTES: Final = 2
_ADOBE_MARKER: Final = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"  # without its last byte
_ADOBE_RGB: Final = b"\0"
_ADOBE_YCBCR: Final = b"\1"
# The edge of a coding unit with subsampled colors. Tiles of whole units can be reduced evenly.
_CODING_UNIT_PX: Final = 16
ReadTile = Callable[[int, int], bytes | None]
"""Returns the stored bytes of the tile at (column, row), None where the file has none."""


def is_plain_jpeg(page: TiffPage) -> bool:
    """Return whether the page is 8-bit RGB in tiles of baseline JPEG, as nearly all slides are."""
    width, height = tile_size(page)
    return bool(
        page.is_tiled
        and page.compression == COMPRESSION.JPEG
        and page.photometric in {PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR}
        and page.samplesperpixel == 3
        and page.bitspersample == 8
        and page.planarconfig == 1
        and not page.jpegheader
        and width % _CODING_UNIT_PX == 0
        and height % _CODING_UNIT_PX == 0
    )


def jpeg_level(page: TiffPage, read_tile: ReadTile) -> TiledLevel:
    """Return a page as a level whose stored tiles `read_tile` returns.

    It is only for pages that are `is_plain_jpeg`.
    """
    reduced = []
    for reduction in REDUCTIONS:
        level = _JpegTiles(page, read_tile, reduction).level()
        if level.width and level.height:
            reduced.append((reduction, level))
    return _JpegTiles(page, read_tile, 1).level(tuple(reduced))


class _JpegTiles:
    """The tiles of a page, decoded at 1/`reduction` of their size. Threads may share it."""

    def __init__(self, page: TiffPage, read_tile: ReadTile, reduction: int) -> None:
        self._page = page
        self._read_tile = read_tile
        self._reduction = reduction
        tile_width, tile_height = tile_size(page)
        self._width = tile_width // reduction
        self._height = tile_height // reduction
        color_space = _ADOBE_RGB
        if page.photometric == PHOTOMETRIC.YCBCR:
            color_space = _ADOBE_YCBCR
        tables = (page.jpegtables or b"")[len(_START_OF_IMAGE) : -_END_OF_IMAGE_BYTES]
        self._stream_start = _START_OF_IMAGE + _ADOBE_MARKER + color_space + tables

    def level(self, reduced: tuple[tuple[int, TiledLevel], ...] = ()) -> TiledLevel:
        """Return the tiles as a level.

        Reduced pixels that the slide fills only in part, at its right and lower edge, are left out.
        """
        return TiledLevel(
            width=self._page.imagewidth // self._reduction,
            height=self._page.imagelength // self._reduction,
            tile_width=self._width,
            tile_height=self._height,
            load=self._load,
            load_into=self._load_into,
            reduced=reduced,
        )

    def _load(self, column: int, row: int) -> Pixels | None:
        pixels = np.empty((self._height, self._width, 3), np.uint8)
        if not self._load_into(column, row, pixels):
            return None
        return pixels

    def _load_into(self, column: int, row: int, pixels: Pixels) -> bool:
        """Decode a tile into `pixels`. Return whether the file stores it."""
        stored = self._read_tile(column, row)
        if stored is None:
            return False
        height, width, _ = pixels.shape
        stream = self._stream_start + stored[len(_START_OF_IMAGE) :]
        try:
            # Like OpenSlide, accept a stream that ends early or is too long: strict=False.
            decoded = simplejpeg.decode_jpeg(
                stream, "RGB", min_height=height, min_width=width, buffer=pixels, strict=False
            )
        except ValueError:
            # The error is about the size of the buffer. Name the tile's size instead.
            self._refuse_larger(*simplejpeg.decode_jpeg_header(stream)[:2])
            raise
        if decoded.shape != pixels.shape:
            self._decode_smaller(stream, pixels)
        return True

    def _decode_smaller(self, stream: bytes, pixels: Pixels) -> None:
        """Decode a tile at the edge of which the file stores only the part inside of the image."""
        height, width = simplejpeg.decode_jpeg_header(stream)[:2]
        self._refuse_larger(height, width)
        part = simplejpeg.decode_jpeg(
            stream,
            "RGB",
            min_height=-(-height // self._reduction),
            min_width=-(-width // self._reduction),
            strict=False,
        )
        pixels[: part.shape[0], : part.shape[1]] = part[: pixels.shape[0], : pixels.shape[1]]

    def _refuse_larger(self, height: int, width: int) -> None:
        tile_width, tile_height = tile_size(self._page)
        if height > tile_height or width > tile_width:
            raise UnreadableTiffError(
                f"a tile holds {width} x {height} px; "
                f"at most {tile_width} x {tile_height} belong there"
            )
