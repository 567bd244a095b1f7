"""TIFFs that OpenSlide does not read: any layout of pages and any compression used in pathology.

Reads them through tifffile and imagecodecs, and translates what those raise.
"""

import io
import logging
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import tifffile
from PIL import Image
from tifffile import TiffPage

from broker.errors import OrderError
from worker.geometry.frame import Pixels
from worker.slides.errors import UnreadableTiffError
from worker.slides.reader import SlideWarning
from worker.slides.tiff.color import refuse_unknown_white, stated_white
from worker.slides.tiff.jpeg_tiles import is_plain_jpeg
from worker.slides.tiff.metadata import properties
from worker.slides.tiff.ome import describe_choice, read_images, significant_bits
from worker.slides.tiff.pages import levels
from worker.slides.tiff.stream_color import correct_color
from worker.slides.tiff.tiles import COMPRESSIONS, PageTiles, tiled_level
from worker.slides.tiled_pyramid import TiledPyramid

_DIRECTORY_BYTES: Final = 64 * 2**20  # a slide of 200,000 x 200,000 px needs 13 MB
_MESSAGE_CHARS: Final = 200
# What tifffile and imagecodecs raise on damaged files, because they trust the types and counts that
# a file claims.
_DECODING_ERRORS: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


class TiffReader:
    """A `SlideReader` of a TIFF. Threads may share it.

    `is_plain_jpeg` says whether every level stores all of its tiles in JPEG, `has_corrected_color`
    whether the tiles of a level have another color than its page states, `has_deep_color` whether
    samples have more than 8 bits.
    """

    def __init__(self, path: Path) -> None:
        """Open the file. Raises `NotASlideError`, `UnreadableSlideError`."""
        with ExitStack() as on_error:
            self._file = on_error.enter_context(_LimitedFile(path))
            with _tiff_errors():
                tiff = tifffile.TiffFile(self._file, is_lsm=False, is_scanimage=False)
                images = read_images(on_error.enter_context(tiff))
                pages = levels(tiff, images)
                self.properties = properties(pages[0], images)
                corrected = [correct_color(page, self._file) for page in pages]
                self.has_corrected_color = any(corrected)
                self.has_deep_color = pages[0].bitspersample > 8
                self.is_plain_jpeg = all(
                    is_plain_jpeg(page) and all(page.databytecounts) for page in pages
                )
                tiles = _page_tiles(pages, self._file, significant_bits(images, pages[0]))
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
        with _tiff_errors():
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
        with _tiff_errors():
            self._pyramid.fill(region, level, left, top, reduction)


def open_tiff(path: Path) -> TiffReader:
    """Open a TIFF or BigTIFF, tiled or in strips, with its levels in pages or SubIFDs.

    OME-TIFF and Aperio's files are among them. Samples of up to 8 bits are shown as they are, those
    of 9 to 16 bits scaled to the white that the file states, else the high 8 bits of them; grey is
    scaled by MinSampleValue and MaxSampleValue if a page has both. A tile that the file leaves out
    is transparent. Focal stacks, time series, channels of fluorescence, floating point and signed
    samples are refused, and so is color of 16 bits whose white cannot be known.
    Raises `NotASlideError`, `UnreadableSlideError`.
    """
    # tifffile logs every damaged tag. What matters is raised.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    return TiffReader(path)


def _page_tiles(
    pages: Sequence[TiffPage], file: io.FileIO, significant_bits: int | None
) -> list[PageTiles]:
    """Return the tiles of every level. Raises `UnreadableSlideError`."""
    white = stated_white(pages[0], significant_bits)
    tiles = [PageTiles(page, file, white) for page in pages]
    if pages[0].bitspersample > 8:
        refuse_unknown_white(pages[0], white, _largest_sample(tiles[-1]))
    return tiles


def _largest_sample(tiles: PageTiles) -> int:
    """Return the largest value found in some tiles, or the largest possible one if none decodes."""
    found: list[int] = []
    with suppress(OrderError), _tiff_errors():
        found.extend(tiles.largest_samples())
    bits: int = tiles.page.bitspersample
    return max(found, default=2**bits - 1)


class _LimitedFile(io.FileIO):
    """The file as tifffile reads it: its directories, and no more of them than a slide needs."""

    _remaining_bytes = _DIRECTORY_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        limit = self._remaining_bytes + 1
        if size is not None and size >= 0:
            limit = min(size, limit)
        data = super().read(limit)
        self._count(len(data))
        return data

    def readinto(self, buffer: Any, /) -> int:
        self._count(memoryview(buffer).nbytes)
        return super().readinto(buffer)

    def _count(self, size_bytes: int) -> None:
        if size_bytes > self._remaining_bytes:
            raise UnreadableTiffError(f"its directories are larger than {_DIRECTORY_BYTES} bytes")
        self._remaining_bytes -= size_bytes


@contextmanager
def _tiff_errors() -> Iterator[None]:
    """Raise errors of tifffile and its codecs as `UnreadableSlideError`."""
    try:
        yield
    except OrderError:
        raise
    except MemoryError:
        raise UnreadableTiffError("its tiles need more memory than a decoder may use") from None
    except _DECODING_ERRORS as error:
        raise UnreadableTiffError(_describe(error)) from error


def _describe(error: Exception) -> str:
    """Return the error's class and the beginning of its message, on one line."""
    name = type(error).__name__
    message = " ".join(str(error).split())[:_MESSAGE_CHARS]
    if not message:
        return name
    return f"{name}: {message}"
