"""A slide: its frame, its levels, its pixels at any resolution. The only door to OpenSlide.

Owns what a pixel is worth in microns and exact resampling; knows nothing of tiles, tissue, algorithms or sources.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import openslide
import PIL
from PIL import Image

from broker.errors import OrderError
from broker.request import Rectangle
from worker.levels import Span, levels, nearest_finer, span
from worker.picture import open_picture
from worker.spacing import spacing
from worker.values import Area, Frame, Pixels

_CACHE_BYTES: Final = 64 * 2**20
_BLOCK_PX: Final = 4096  # edge of what is read from a level at a time
_REGION_PX: Final = 2**26  # the most that is decoded at a time; 256 MiB


class Slide:
    """An open slide. Threads may share it; after `slide_unreadable` it answers nothing else."""

    def __init__(
        self, path: Path, handle: openslide.AbstractSlide, reader: str, properties: Mapping[str, str], mpp: float | None
    ):
        self._path = path
        self._handle = handle
        self._levels = levels(handle.level_dimensions, handle.level_downsamples)
        self.reader = reader
        self.frame = _frame(handle.dimensions, properties, mpp)

    @classmethod
    def open(cls, path: Path, mpp: float | None = None) -> Self:
        """Open a slide or a plain picture; `mpp` is believed only where the file does not say.

        A slide of unknown mpp opens all the same and its frame says so. Raises `OrderError`: `not_a_slide`,
        `slide_unreadable`.
        """
        with _told(path):
            vendor = openslide.OpenSlide.detect_format(path)
        if vendor is None:
            picture, properties = open_picture(path)
            return cls(path, openslide.ImageSlide(picture), f"Pillow {PIL.__version__}", properties, mpp)
        with _told(path):
            handle = openslide.OpenSlide(path)
            _refuse_huge_tiles(handle.properties)
            handle.set_cache(openslide.OpenSlideCache(_CACHE_BYTES))
            return cls(path, handle, f"OpenSlide {openslide.__library_version__} ({vendor})", handle.properties, mpp)

    def close(self) -> None:
        """Close the file. Nothing may be read any more."""
        self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def area(self, roi: Rectangle | None) -> Area:
        """The whole slide, or the part of `roi` that lies on it. Raises `OrderError`: `roi_outside_slide`."""
        width, height = self.frame.width, self.frame.height
        if roi is None:
            return Area(0, 0, width, height)
        if roi.x >= width or roi.y >= height:
            raise OrderError(
                "roi_outside_slide",
                f"The region of {roi.width} x {roi.height} px at ({roi.x}, {roi.y}) lies outside the slide, "
                f"which is {width} x {height} px",
                hint="give x, y, width and height in level-0 pixels from the slide's top left corner",
                field="roi",
            )
        return Area(roi.x, roi.y, min(roi.width, width - roi.x), min(roi.height, height - roi.y))

    def read(
        self, x: float, y: float, width_px: int, height_px: int, downsample_x: float, downsample_y: float
    ) -> Pixels:
        """The region whose top left corner is level-0 (x, y), as (height_px, width_px, 3).

        Pixel (row, column) covers the level-0 box of downsample_x by downsample_y at
        (x + column * downsample_x, y + row * downsample_y), resampled by the exact ratio from the nearest finer level.
        White where the slide is transparent or ends. Raises `OrderError`: `slide_unreadable`.
        """
        level = nearest_finer(self._levels, downsample_x, downsample_y)
        edge_x = max(1, int(_BLOCK_PX * level.scale_x / downsample_x))
        edge_y = max(1, int(_BLOCK_PX * level.scale_y / downsample_y))
        region = np.empty((height_px, width_px, 3), np.uint8)
        for row in range(0, height_px, edge_y):
            rows = min(edge_y, height_px - row)
            high = span(y + row * downsample_y, rows, downsample_y, level.scale_y, level.located_by)
            for column in range(0, width_px, edge_x):
                columns = min(edge_x, width_px - column)
                wide = span(x + column * downsample_x, columns, downsample_x, level.scale_x, level.located_by)
                block = self._block(level.number, wide, high).resize(
                    (columns, rows), Image.Resampling.BILINEAR, box=(wide.start, high.start, wide.stop, high.stop)
                )
                region[row : row + rows, column : column + columns] = np.asarray(block)
        return region

    def overview(self, area: Area, max_px: int) -> Pixels:
        """A picture of exactly `area`, its longer side `max_px` or, where the area has fewer pixels, all of them."""
        downsample = max(1.0, area.width / max_px, area.height / max_px)
        width_px, height_px = max(1, round(area.width / downsample)), max(1, round(area.height / downsample))
        return self.read(area.x, area.y, width_px, height_px, area.width / width_px, area.height / height_px)

    def _block(self, level: int, wide: Span, high: Span) -> Image.Image:
        size = wide.extent_px, high.extent_px
        if size[0] * size[1] > _REGION_PX:
            raise _unreadable("no level of it is coarse enough for so small a picture")
        with _told(self._path):
            return _on_white(self._handle.read_region((wide.location, high.location), level, size))


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


def _refuse_huge_tiles(properties: Mapping[str, str]) -> None:
    """A stored tile is decoded whole, and OpenSlide ends the process where memory for it is short."""
    width_px = int(properties.get("openslide.level[0].tile-width", 0))
    height_px = int(properties.get("openslide.level[0].tile-height", 0))
    if width_px * height_px > _REGION_PX:
        raise _unreadable(
            f"its tiles are {width_px} x {height_px} px; at most {_REGION_PX} pixels can be decoded at a time"
        )


def _frame(dimensions: tuple[int, int], properties: Mapping[str, str], ordered_mpp: float | None) -> Frame:
    mpp_x, mpp_y, source = spacing(properties, ordered_mpp)
    bounds_x, bounds_y = (int(properties.get(f"openslide.bounds-{axis}", 0)) for axis in "xy")
    return Frame(*dimensions, mpp_x, mpp_y, source, bounds_x, bounds_y)


def _on_white(picture: Image.Image) -> Image.Image:
    alpha = picture.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return picture.convert("RGB")
    paper = Image.new("RGB", picture.size, "white")
    paper.paste(picture, mask=alpha)
    return paper
