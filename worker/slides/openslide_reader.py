"""Whatever OpenSlide reads: the only door to it.

Owns OpenSlide's faults; knows nothing of resampling, tissue or sources.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Final

import openslide
from PIL import Image

from broker.errors import OrderError
from worker.slides.reader import BLOCK_PX

_CACHE_BYTES: Final = 64 * 2**20
_ANY_TIFF: Final = "generic-tiff"


class OpenSlidePyramid:
    """A file that OpenSlide reads, as a `Pyramid`. After `slide_unreadable` it answers nothing else."""

    stored = None

    def __init__(self, path: Path, vendor: str) -> None:
        self._path = path
        self._lock, self._is_closed = Lock(), False
        self._handle: openslide.OpenSlide | None = None
        handle = self._opened()
        self.name = f"OpenSlide {openslide.__library_version__} ({vendor})"
        said = (
            handle.properties
        )  # a name that is not UTF-8 is listed, but its value cannot be asked for
        self.properties: Mapping[str, str] = {name: said[name] for name in said if name in said}
        self.level_dimensions = handle.level_dimensions
        self.level_downsamples = handle.level_downsamples

    def read_region(
        self, location: tuple[int, int], level: int, size: tuple[int, int]
    ) -> Image.Image:
        """As OpenSlide reads it."""
        with _told(self._path):
            return self._opened().read_region(location, level, size)

    def rest(self) -> None:
        """Close the file until somebody reads again: an open one keeps 16 bytes for every stored tile.

        Nobody may be reading meanwhile.
        """
        with self._lock:
            if self._handle:
                self._handle.close()
            self._handle = None

    def close(self) -> None:
        """Close the file. Nothing may be read any more."""
        self.rest()
        self._is_closed = True

    def _opened(self) -> openslide.OpenSlide:
        with self._lock, _told(self._path):
            if self._is_closed:
                raise ValueError("the slide is closed")
            if self._handle is None:
                self._handle = openslide.OpenSlide(self._path)
                self._handle.set_cache(openslide.OpenSlideCache(_CACHE_BYTES))
            return self._handle


def vendor_of(path: Path) -> str | None:
    """Whose format it is, None where OpenSlide knows none. Raises `OrderError`: `slide_unreadable`.

    Of any other tiled TIFF it would show the first picture, be it one of a stack or of many channels, and no SubIFDs.
    """
    with _told(path):
        vendor: str | None = openslide.OpenSlide.detect_format(path)
    return None if vendor == _ANY_TIFF else vendor


def open_openslide(path: Path, vendor: str) -> OpenSlidePyramid:
    """The slide. Raises `OrderError`: `slide_unreadable`."""
    pyramid = OpenSlidePyramid(path, vendor)
    try:
        _refuse_huge_tiles(pyramid.properties)
    except OrderError:
        pyramid.close()
        raise
    return pyramid


def _refuse_huge_tiles(properties: Mapping[str, str]) -> None:
    """A stored tile is decoded whole, and OpenSlide ends the process where memory for it is short."""
    width_px = int(properties.get("openslide.level[0].tile-width", 0))
    height_px = int(properties.get("openslide.level[0].tile-height", 0))
    if width_px * height_px > BLOCK_PX:
        raise _unreadable(
            f"its tiles are {width_px} x {height_px} px; at most {BLOCK_PX} pixels can be decoded at a time"
        )


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except openslide.OpenSlideError as error:
        # Where we keep slides is nobody's business; a series names its other files in the same folder.
        said = str(error).replace(f"{path.parent}{os.sep}", "")
        raise _unreadable(f"OpenSlide says: {said}") from error


def _unreadable(detail: str) -> OrderError:
    hint = "see that the file opens in a viewer; if it does not, send it or export it again"
    return OrderError("slide_unreadable", f"The slide cannot be read: {detail}", hint=hint)
