"""Aperio slides with JPEG tiles: opened by OpenSlide, their tiles decoded by libjpeg-turbo.

OpenSlide returns the same pixels, but spends five sixths of its time on other work than JPEG
decoding. It still decides what the slide is, and reads places between two pixels.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from PIL import Image

from broker.errors import OrderError
from worker.slides.openslide_reader import OpenSlideReader
from worker.slides.reader import SlideReader
from worker.slides.tiff.color import AmbiguousColorError
from worker.slides.tiff.openslide_pages import refuse_false_pixels
from worker.slides.tiff.reader import TiffReader, open_tiff

_VENDOR: Final = "aperio"


class AperioReader:
    """A `SlideReader` over OpenSlide whose tiles libjpeg-turbo decodes. Threads may share it."""

    def __init__(self, slide: OpenSlideReader, tiff: TiffReader) -> None:
        self._slide = slide
        self._tiff = tiff
        self.name = f"{slide.name}, tiles by libjpeg-turbo"
        self.properties: Mapping[str, str] = slide.properties
        self.level_dimensions = slide.level_dimensions
        self.level_downsamples = slide.level_downsamples
        self.tile_reader = tiff.tile_reader
        self.warnings = slide.warnings

    def read_region(
        self, location: tuple[int, int], level: int, size: tuple[int, int]
    ) -> Image.Image:
        """Return `size` pixels of the level from a level-0 location on, in RGBA, by OpenSlide.

        Raises `UnreadableSlideError`.
        """
        return self._slide.read_region(location, level, size)

    def read_associated(self, name: str) -> Image.Image:
        """Return the label, macro image or thumbnail in RGBA. Raises `UnreadableSlideError`."""
        return self._slide.read_associated(name)

    def close(self) -> None:
        """Close the file. Nothing may be read afterwards."""
        self._slide.close()
        self._tiff.close()


def with_stored_tiles(slide: OpenSlideReader, path: Path) -> SlideReader:
    """Return a reader that decodes the tiles directly, or `slide` itself if that is not possible.

    It is possible if all levels are plain pages of JPEG tiles. OpenSlide's file is suspended until
    it is needed, which is seldom then. OpenSlide is left out where it would show false colors,
    because it trusts the page and not its tiles, ignores how many bits are used, or uses a level
    whose size contradicts its resolution.
    Raises `UnreadableSlideError` if the colors cannot be known.
    """
    slide.suspend()
    try:
        tiff = open_tiff(path)
    except AmbiguousColorError:
        slide.close()
        raise
    except OrderError:
        return _checked(slide, path)
    if tiff.has_corrected_color or tiff.has_deep_color or _has_false_level(slide, tiff):
        slide.close()
        return tiff
    if tiff.is_plain_jpeg and tiff.level_dimensions == slide.level_dimensions:
        return AperioReader(slide, tiff)
    tiff.close()
    return slide


def _checked(slide: OpenSlideReader, path: Path) -> OpenSlideReader:
    """Return a slide that tifffile refuses, if OpenSlide shows it right."""
    try:
        refuse_false_pixels(path, _VENDOR)
    except BaseException:
        slide.close()
        raise
    return slide


def _has_false_level(slide: OpenSlideReader, tiff: TiffReader) -> bool:
    """Return whether OpenSlide uses a level that is left out or trimmed, because it is padded."""
    if slide.level_dimensions[0] != tiff.level_dimensions[0]:
        return False
    return not set(slide.level_dimensions) <= set(tiff.level_dimensions)
