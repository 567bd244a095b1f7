"""Slides that OpenSlide reads. The only module that imports OpenSlide."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Final

import openslide
from PIL import Image

from worker.slides.errors import SlideDecodingError, UnreadableSlideError
from worker.slides.reader import BLOCK_PX, SlideWarning

_CACHE_BYTES: Final = 64 * 2**20
_GENERIC_TIFF: Final = "generic-tiff"
# Ventana's scanner DP 200 joins its tiles by LEFT or DOWN; OpenSlide knows RIGHT and UP.
_VENTANA_VARIANT: Final = "Bad direction attribute"
_EXPORT_VENTANA: Final = (
    "the file may be whole and open in other viewers: its scanner (Ventana DP 200) describes the "
    "joints of its tiles in a way that no reader here knows; export it as DICOM or pyramidal TIFF"
)


class OpenSlideReader:
    """A `SlideReader` over OpenSlide. After an `UnreadableSlideError` all further reads fail."""

    tile_reader = None
    warnings: tuple[SlideWarning, ...] = ()

    def __init__(self, path: Path, vendor: str) -> None:
        """Open the file. Raises `UnreadableSlideError`."""
        self._path = path
        self._lock = Lock()
        self._is_closed = False
        self._handle: openslide.OpenSlide | None = None
        handle = self._open_handle()
        self.name = f"OpenSlide {openslide.__library_version__} ({vendor})"
        self.properties: Mapping[str, str] = _properties(handle)
        self.level_dimensions = handle.level_dimensions
        self.level_downsamples = handle.level_downsamples

    def read_region(
        self, location: tuple[int, int], level: int, size: tuple[int, int]
    ) -> Image.Image:
        """Return `size` pixels of the level from a level-0 location on, in RGBA.

        Raises `UnreadableSlideError`.
        """
        with _openslide_errors(self._path):
            return self._open_handle().read_region(location, level, size)

    def read_associated(self, name: str) -> Image.Image:
        """Return the label, macro image or thumbnail in RGBA. Raises `UnreadableSlideError`."""
        with _openslide_errors(self._path):
            return self._open_handle().associated_images[name]

    def suspend(self) -> None:
        """Close the file until the next read, which opens it again.

        An open one takes 16 bytes of memory for every stored tile. No thread may be reading.
        """
        with self._lock:
            if self._handle is not None:
                self._handle.close()
            self._handle = None

    def close(self) -> None:
        """Close the file. Nothing may be read afterwards."""
        self.suspend()
        self._is_closed = True

    def _open_handle(self) -> openslide.OpenSlide:
        with self._lock, _openslide_errors(self._path):
            if self._is_closed:
                raise ValueError("the slide is closed")
            if self._handle is None:
                self._handle = openslide.OpenSlide(self._path)
                self._handle.set_cache(openslide.OpenSlideCache(_CACHE_BYTES))
            return self._handle


def vendor_of(path: Path) -> str | None:
    """Return OpenSlide's name for the format's vendor, None where it does not know the format.

    Generic TIFFs count as unknown: of a stack or of many channels OpenSlide would show the first
    image alone, and it does not see SubIFDs. Raises `UnreadableSlideError`.
    """
    with _openslide_errors(path):
        vendor: str | None = openslide.OpenSlide.detect_format(path)
    if vendor == _GENERIC_TIFF:
        return None
    return vendor


def open_openslide(path: Path, vendor: str) -> OpenSlideReader:
    """Open the slide. Raises `UnreadableSlideError`."""
    reader = OpenSlideReader(path, vendor)
    try:
        _refuse_huge_tiles(reader.properties)
    except UnreadableSlideError:
        reader.close()
        raise
    return reader


def _properties(handle: openslide.OpenSlide) -> dict[str, str]:
    properties = {}
    for name in handle.properties:
        # A name that is not UTF-8 is listed, but its value cannot be looked up.
        if name in handle.properties:
            properties[name] = handle.properties[name]
    return properties


def _refuse_huge_tiles(properties: Mapping[str, str]) -> None:
    """Raise `UnreadableSlideError` for tiles that are too large to be decoded.

    A tile is decoded whole, and OpenSlide ends the process where there is no memory for it.
    """
    width_px = int(properties.get("openslide.level[0].tile-width", 0))
    height_px = int(properties.get("openslide.level[0].tile-height", 0))
    if width_px * height_px > BLOCK_PX:
        raise SlideDecodingError(
            f"its tiles are {width_px} x {height_px} px; "
            f"at most {BLOCK_PX} pixels can be decoded at a time"
        )


@contextmanager
def _openslide_errors(path: Path) -> Iterator[None]:
    """Raise errors of OpenSlide as `UnreadableSlideError`."""
    try:
        yield
    except openslide.OpenSlideError as error:
        # The folder of the slides is not to be disclosed. A series names other files in it, too.
        message = str(error).replace(f"{path.parent}{os.sep}", "")
        reason = f"OpenSlide says: {message}"
        if _VENTANA_VARIANT in message:
            raise SlideDecodingError(reason, hint=_EXPORT_VENTANA) from error
        raise SlideDecodingError(reason) from error
