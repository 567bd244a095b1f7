"""The stored JPEG tiles of one page of a TIFF, decoded by libjpeg-turbo straight to where they are wanted, or smaller.

Owns what a TIFF leaves out of its tiles and a JPEG decoder must be told. Must not know pyramids and regions.

Tables that all tiles share stand in the tag JPEGTables, and streams leave them out ("abbreviated", TIFF Technical Note
2); PhotometricInterpretation says whether samples are YCbCr, for which a stream alone has an Adobe marker (ITU-T T.872,
6.5.3). With both put in front, a tile is a JPEG file. A decoder gives 1/2, 1/4 and 1/8 of the size for less work than
the whole, by shorter inverse cosine transforms; each pixel is then about the mean of those it stands for.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import simplejpeg
from tifffile import COMPRESSION, PHOTOMETRIC, TiffPage

from worker.geometry.frame import Pixels
from worker.slides.tiff.pages import tile_size, unreadable
from worker.slides.tiled_pyramid import TiledLevel

REDUCTIONS: Final = (2, 4, 8)
_START: Final = b"\xff\xd8"
_END_BYTES: Final = 2
_ADOBE: Final = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
_ADOBE_YCBCR: Final = 1
_BLOCK_PX: Final = 16  # with halved colours; tiles made of whole ones shrink without a rest
Data = Callable[[int, int], bytes | None]


def is_plain_jpeg(page: TiffPage) -> bool:
    """Whether the page holds 8-bit RGB in tiles of baseline JPEG, as nearly all slides do."""
    width, height = tile_size(page)
    return bool(
        page.is_tiled
        and page.compression == COMPRESSION.JPEG
        and page.photometric in {PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR}
        and (page.samplesperpixel, page.bitspersample, page.planarconfig) == (3, 8, 1)
        and not page.jpegheader
        and width % _BLOCK_PX == height % _BLOCK_PX == 0
    )


def jpeg_level(page: TiffPage, data: Data) -> TiledLevel:
    """The page as a level, whose tiles' bytes are `data(column, row)`; for `is_plain_jpeg` pages alone."""
    tiles = _Tiles(page, data)
    reduced = tuple((reduction, tiles.level(reduction)) for reduction in REDUCTIONS)
    return tiles.level(1, tuple(one for one in reduced if one[1].width and one[1].height))


class _Tiles:
    def __init__(self, page: TiffPage, data: Data) -> None:
        tables = page.jpegtables or b""
        transform = bytes([_ADOBE_YCBCR if page.photometric == PHOTOMETRIC.YCBCR else 0])
        self._head = _START + _ADOBE + transform + tables[len(_START) : -_END_BYTES]
        self._page, self._data = page, data

    def level(self, reduction: int, reduced: tuple[tuple[int, TiledLevel], ...] = ()) -> TiledLevel:
        """Pixels that the slide fills in part only, at its right and lower edge, are left out."""
        width, height = (edge // reduction for edge in tile_size(self._page))
        size = self._page.imagewidth // reduction, self._page.imagelength // reduction

        def load(column: int, row: int) -> Pixels | None:
            return self._decoded(column, row, np.empty((height, width, 3), np.uint8))

        def load_into(column: int, row: int, pixels: Pixels) -> bool:
            return self._decoded(column, row, pixels) is not None

        return TiledLevel(*size, width, height, load, load_into, reduced)

    def _decoded(self, column: int, row: int, into: Pixels) -> Pixels | None:
        data = self._data(column, row)
        if data is None:
            return None
        height, width, _ = into.shape
        stream = self._head + data[len(_START) :]
        # As OpenSlide does, it takes a stream that ends early or has bytes too many: what was decoded is there.
        try:
            decoded = simplejpeg.decode_jpeg(
                stream, "RGB", min_height=height, min_width=width, buffer=into, strict=False
            )
        except ValueError:  # its words are of the buffer; what is wrong is the tile
            self._refuse_larger(*simplejpeg.decode_jpeg_header(stream)[:2])
            raise
        return into if decoded.shape == into.shape else self._smaller(stream, into)

    def _smaller(self, stream: bytes, into: Pixels) -> Pixels:
        """A tile at the edge of which the file holds only what lies in the picture."""
        height, width = simplejpeg.decode_jpeg_header(stream)[:2]
        self._refuse_larger(height, width)
        reduction = tile_size(self._page)[1] // into.shape[0]
        part = simplejpeg.decode_jpeg(
            stream,
            "RGB",
            min_height=-(-height // reduction),
            min_width=-(-width // reduction),
            strict=False,
        )
        into[: part.shape[0], : part.shape[1]] = part[: into.shape[0], : into.shape[1]]
        return into

    def _refuse_larger(self, height: int, width: int) -> None:
        across, down = tile_size(self._page)
        if height > down or width > across:
            raise unreadable(
                f"a tile holds {width} x {height} px; at most {across} x {down} belong there"
            )
