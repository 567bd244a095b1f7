"""TIFFs that OpenSlide does not read: any layout of pages and any compression used in pathology.

Reads them through tifffile and imagecodecs, and translates what those raise.
"""

import io
import logging
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import tifffile
from PIL import Image
from tifffile import TiffPage

from broker.errors import OrderError
from worker.geometry.frame import Pixels
from worker.slides.reader import SlideWarning
from worker.slides.stream_color import StreamHeader
from worker.slides.tiff.color import refuse_unknown_white, stated_white
from worker.slides.tiff.file import LimitedFile, tiff_errors
from worker.slides.tiff.jpeg_tiles import is_plain_jpeg
from worker.slides.tiff.metadata import properties
from worker.slides.tiff.ome import describe_choice, read_images, significant_bits
from worker.slides.tiff.page_color import PageColor, correct_color, read_tile_header
from worker.slides.tiff.pages import levels
from worker.slides.tiff.tiles import COMPRESSIONS, PageTiles, tiled_level
from worker.slides.tiled_pyramid import TiledPyramid


class TiffReader:
    """A `SlideReader` of a TIFF. Threads may share it.

    `is_plain_jpeg` says whether every level stores all of its tiles in JPEG, `has_corrected_color`
    whether OpenSlide would show a level in another color, because it trusts the page and not its
    tiles, `has_deep_color` whether samples have more than 8 bits.
    """

    def __init__(self, path: Path) -> None:
        """Open the file. Raises `NotASlideError`, `UnreadableSlideError`."""
        with ExitStack() as on_error:
            self._file = on_error.enter_context(LimitedFile(path))
            with tiff_errors():
                tiff = tifffile.TiffFile(self._file, is_lsm=False, is_scanimage=False)
                images = read_images(on_error.enter_context(tiff))
                pages = levels(tiff, images)
                self.properties = properties(pages[0], images)
                headers = [read_tile_header(page, self._file) for page in pages]
                colors = list(map(correct_color, pages, headers))
                self.has_corrected_color = any(color.is_false_in_openslide for color in colors)
                self.has_deep_color = pages[0].bitspersample > 8
                self.is_plain_jpeg = all(
                    is_plain_jpeg(page) and all(page.databytecounts) for page in pages
                )
                bits = _fewest_bits(significant_bits(images, pages[0]), headers[0])
                tiles = _page_tiles(pages, colors, self._file, bits)
                self._pyramid = TiledPyramid([tiled_level(level) for level in tiles])
            on_error.pop_all()
        which = describe_choice(images, pages[0])
        self.name = f"tifffile {tifffile.__version__} ({COMPRESSIONS[pages[0].compression]}{which})"
        self.level_dimensions = self._pyramid.level_dimensions
        self.level_downsamples = self._pyramid.level_downsamples
        self.warnings: tuple[SlideWarning, ...] = ()
        self.tile_reader = _TiffTileReader(self._pyramid)

    def read_region(
        self, location: tuple[int, int], level: int, size: tuple[int, int]
    ) -> Image.Image:
        """Return `size` pixels of a level from a level-0 location on, in RGBA.

        Raises `UnreadableSlideError`.
        """
        with tiff_errors():
            return self._pyramid.read_region(location, level, size)

    def close(self) -> None:
        """Close the file. Nothing may be read afterwards."""
        self._file.close()


class _TiffTileReader:
    """A `TileReader` that raises what decoders raise on damaged tiles as `UnreadableSlideError`."""

    def __init__(self, pyramid: TiledPyramid) -> None:
        self._pyramid = pyramid
        self.reductions = pyramid.reductions

    def fill(self, region: Pixels, level: int, left: int, top: int, reduction: int = 1) -> None:
        """Do as `TiledPyramid.fill`. Raises `UnreadableSlideError`."""
        with tiff_errors():
            self._pyramid.fill(region, level, left, top, reduction)


def open_tiff(path: Path) -> TiffReader:
    """Open a TIFF or BigTIFF, tiled or in strips, with its levels in pages or SubIFDs.

    OME-TIFF and Aperio's files are among them. Samples of up to 8 bits are shown as they are, those
    of 9 to 16 bits scaled to the white that the file states, else the high 8 bits of them; grey is
    scaled by MinSampleValue and MaxSampleValue if a page states them. A tile that the file leaves
    out is transparent. Focal stacks, time series, channels of fluorescence, floating point and
    signed samples are refused, and so are 16 bits whose white cannot be known.
    Raises `NotASlideError`, `UnreadableSlideError`.
    """
    # tifffile logs every damaged tag. What matters is raised.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    return TiffReader(path)


def _fewest_bits(stated: int | None, header: StreamHeader | None) -> int | None:
    """Return how many bits of each sample are used, by the file and by its compressed tiles."""
    if header is None:
        return stated
    if stated is None:
        return header.bits
    return min(stated, header.bits)


def _page_tiles(
    pages: Sequence[TiffPage],
    colors: Sequence[PageColor],
    file: io.FileIO,
    significant_bits: int | None,
) -> list[PageTiles]:
    """Return the tiles of every level. Raises `UnreadableSlideError`."""
    white = stated_white(pages[0], significant_bits)
    tiles = [
        PageTiles(page, file, white, is_ycbcr=color.codec_returns_ycbcr)
        for page, color in zip(pages, colors, strict=True)
    ]
    if pages[0].bitspersample > 8:
        refuse_unknown_white(pages[0], white, _largest_sample(tiles[-1]))
    return tiles


def _largest_sample(tiles: PageTiles) -> int:
    """Return the largest value found in some tiles, or the largest possible one if none decodes."""
    found: list[int] = []
    with suppress(OrderError), tiff_errors():
        found.extend(tiles.largest_samples())
    bits: int = tiles.page.bitspersample
    return max(found, default=2**bits - 1)
