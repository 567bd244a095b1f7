"""Aperio's slides in JPEG: what OpenSlide says of them, and their stored tiles decoded without it.

Owns when a file is plain enough for that. OpenSlide reads the same pixels, but spends five sixths of its time on other
things than JPEG; it stays the judge of what the slide is, and reads what lies between two pixels.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from PIL import Image

from broker.errors import OrderError
from worker.slides.openslide_reader import OpenSlidePyramid
from worker.slides.reader import SlideReader
from worker.slides.tiff.reader import TiffPyramid, open_tiff


class AperioPyramid:
    """The slide by OpenSlide, its stored tiles by libjpeg-turbo. Threads may share it."""

    def __init__(self, slide: OpenSlidePyramid, tiff: TiffPyramid) -> None:
        self._slide, self._tiff = slide, tiff
        self.name, self.stored = f"{slide.name}, tiles by libjpeg-turbo", tiff.stored
        self.properties: Mapping[str, str] = slide.properties
        self.level_dimensions, self.level_downsamples = (
            slide.level_dimensions,
            slide.level_downsamples,
        )

    def read_region(
        self, location: tuple[int, int], level: int, size: tuple[int, int]
    ) -> Image.Image:
        """As OpenSlide reads it. Raises `OrderError`: `slide_unreadable`."""
        return self._slide.read_region(location, level, size)

    def close(self) -> None:
        """Close the file."""
        self._slide.close()
        self._tiff.close()


def with_stored_tiles(slide: OpenSlidePyramid, path: Path) -> SlideReader:
    """The slide that OpenSlide has opened; where its levels are plain pages of JPEG tiles, with these tiles at hand.

    It rests until it is asked for pixels, which is seldom where these are there.
    """
    slide.rest()
    with suppress(OrderError):
        tiff = open_tiff(path)
        if tiff.is_plain_jpeg and tiff.level_dimensions == slide.level_dimensions:
            return AperioPyramid(slide, tiff)
        tiff.close()
    return slide
