"""TIFF beyond OpenSlide: any layout of pages and any compression that pathology uses, through tifffile and imagecodecs.

Owns the open file and what those libraries raise; knows nothing of resampling, tissue or where the file came from.
"""

import io
import logging
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import tifffile
from PIL import Image

from broker.errors import OrderError
from worker.geometry.frame import Pixels
from worker.slides.tiff.jpeg_tiles import is_plain_jpeg
from worker.slides.tiff.metadata import properties
from worker.slides.tiff.pages import levels, unreadable
from worker.slides.tiff.tiles import COMPRESSIONS, tiled_level
from worker.slides.tiled_pyramid import Mosaic

_DIRECTORY_BYTES: Final = 64 * 2**20  # a slide of 200,000 px a side needs 13 MB
_TOLD_CHARACTERS: Final = 200
# What tifffile and imagecodecs raise on damaged files, for they trust the types and counts that a file claims.
_BROKEN: Final = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError,
    ValueError, struct.error,
)  # fmt: skip


class TiffPyramid:
    """An open TIFF, as a `Pyramid`. Threads may share it."""

    def __init__(self, path: Path) -> None:
        """Raises `OrderError`: `not_a_slide`, `slide_unreadable`."""
        with ExitStack() as on_fault:
            self._file = on_fault.enter_context(_Directory(path))
            with _told():
                pages = levels(
                    on_fault.enter_context(
                        tifffile.TiffFile(self._file, is_lsm=False, is_scanimage=False)
                    )
                )
                self.properties = properties(pages[0])
                self.is_plain_jpeg = all(
                    is_plain_jpeg(page) and all(page.databytecounts) for page in pages
                )
                """Whether every tile of every level is there, in JPEG."""
                self.stored = _Told(Mosaic([tiled_level(page, self._file) for page in pages]))
            on_fault.pop_all()
        self.name = f"tifffile {tifffile.__version__} ({COMPRESSIONS[pages[0].compression]})"
        self.level_dimensions = self.stored.mosaic.level_dimensions
        self.level_downsamples = self.stored.mosaic.level_downsamples

    def read_region(
        self, location: tuple[int, int], level: int, size: tuple[int, int]
    ) -> Image.Image:
        """`size` pixels of a level from a level-0 location on, in RGBA. Raises `OrderError` `slide_unreadable`."""
        with _told():
            return self.stored.mosaic.read_region(location, level, size)

    def close(self) -> None:
        """Close the file. Nothing may be read any more."""
        self._file.close()


class _Told:
    """The levels as stored tiles; what a damaged one raises is told as the slide's fault."""

    def __init__(self, mosaic: Mosaic) -> None:
        self.mosaic, self.reductions = mosaic, mosaic.reductions

    def fill(self, region: Pixels, level: int, left: int, top: int, reduction: int = 1) -> None:
        """As `Mosaic.fill`. Raises `OrderError` `slide_unreadable`."""
        with _told():
            self.mosaic.fill(region, level, left, top, reduction)


def open_tiff(path: Path) -> TiffPyramid:
    """Open a TIFF or BigTIFF, tiled or in strips, its levels in pages or SubIFDs, OME-TIFF and Aperio's among them.

    8 bits or fewer are shown as they are, 9 to 16 bits by their high ones, grey by MinSampleValue and MaxSampleValue
    where both are given. A tile that the file leaves out is transparent. Stacks, times, channels of fluorescence,
    floating point and signed samples are refused. Raises `OrderError`: `not_a_slide`, `slide_unreadable`.
    """
    # Its word on every damaged tag would drown the log; what matters is raised.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    return TiffPyramid(path)


class _Directory(io.FileIO):
    """The file as tifffile reads it: directories alone, and no more of them than a slide needs."""

    _left = _DIRECTORY_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(
            self._left + 1 if size is None or size < 0 else min(size, self._left + 1)
        )
        self._spend(len(data))
        return data

    def readinto(self, buffer: Any, /) -> int:
        self._spend(memoryview(buffer).nbytes)
        return super().readinto(buffer)

    def _spend(self, size_bytes: int) -> None:
        if size_bytes > self._left:
            raise unreadable(f"its directories are larger than {_DIRECTORY_BYTES} bytes")
        self._left -= size_bytes


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OrderError:
        raise
    except MemoryError:
        raise unreadable("its tiles need more memory than a decoder may use") from None
    except _BROKEN as error:
        raise unreadable(_words(error)) from error


def _words(error: Exception) -> str:
    said = " ".join(str(error).split())[:_TOLD_CHARACTERS]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
