"""A slide: its frame, and its pixels at any resolution.

Resamples by exact ratios. Knows no file formats, tissue or sources.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
from PIL import Image

from worker.geometry.frame import Area, Frame, MppSource, Pixels
from worker.geometry.mpp import spacing
from worker.geometry.pyramid_levels import Level, Span, is_between, levels, nearest_finer, span
from worker.slides.errors import SlideDecodingError
from worker.slides.formats import open_reader
from worker.slides.overview import read_overview
from worker.slides.reader import (
    BLOCK_PX,
    AssociatedImageReader,
    SlideDescription,
    SlideReader,
    SlideWarning,
    TileReader,
)
from worker.slides.tiled_pyramid import on_white

_WHOLE_REGION_PX: Final = 2048  # a region of a level up to this edge is read at once
# The edge of the blocks in which a larger region is read: resampling takes about 14 bytes of memory
# for each pixel.
_BLOCK_EDGE_PX: Final = 1024
_MAX_NAME_CHARS: Final = 64
_MAX_LEVELS: Final = 64
_MAX_ASSOCIATED: Final = 16
_ASSOCIATED_WIDTH: Final = re.compile(r"openslide\.associated\.(?P<name>[ -~]{1,64})\.width")
_LENGTH_PX: Final = re.compile(r"[1-9][0-9]{0,8}")


class Slide:
    """An open slide. Threads may share it.

    `threads` is how many regions its user may read at the same time. After an
    `UnreadableSlideError` further reads may fail, too.
    """

    warnings: tuple[SlideWarning, ...] = ()

    def __init__(
        self,
        slide_reader: SlideReader,
        mpp: float | None = None,
        mpp_source: MppSource = "order",
        *,
        threads: int = 1,
    ) -> None:
        self._slide_reader = slide_reader
        tile_reader = slide_reader.tile_reader
        reductions: Sequence[Sequence[int]] = ()
        if tile_reader is not None:
            reductions = tile_reader.reductions
        dimensions = slide_reader.level_dimensions
        self._levels = levels(dimensions, slide_reader.level_downsamples, reductions)
        self.reader = slide_reader.name
        self.warnings = slide_reader.warnings
        self.threads = threads
        self.frame = _frame(dimensions[0], slide_reader.properties, mpp, mpp_source)
        self.description = _description(slide_reader)

    @classmethod
    def open(
        cls,
        path: Path,
        mpp: float | None = None,
        mpp_source: MppSource = "order",
        *,
        threads: int = 1,
    ) -> Self:
        """Open a slide or a plain image.

        `mpp`, in microns per pixel and stated by `mpp_source`, is used where the file states none.
        A slide of unknown mpp can be opened; its frame says so.
        Raises `NotASlideError`, `UnreadableSlideError`.
        """
        return cls(open_reader(path), mpp, mpp_source, threads=threads)

    def close(self) -> None:
        """Close the file. Nothing may be read afterwards."""
        self._slide_reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def read(
        self,
        x: float,
        y: float,
        width_px: int,
        height_px: int,
        downsample_x: float,
        downsample_y: float,
    ) -> Pixels:
        """Return the region at level-0 (x, y), (height_px, width_px, 3); see `fill`."""
        region = np.empty((height_px, width_px, 3), np.uint8)
        self.fill(region, x, y, downsample_x, downsample_y)
        return region

    def fill(
        self, region: Pixels, x: float, y: float, downsample_x: float, downsample_y: float
    ) -> None:
        """Write the region whose top left corner is level-0 (x, y) into `region`.

        `region` has the shape (height_px, width_px, 3). Its pixel (row, column) covers the level-0
        box of downsample_x by downsample_y at (x + column * downsample_x, y + row * downsample_y),
        resampled by the exact ratio from the nearest finer level. It is white where the slide is
        transparent or ends. Raises `UnreadableSlideError`.
        """
        level = nearest_finer(self._levels, downsample_x, downsample_y)
        self._fill_from(level, region, (x, y), (downsample_x, downsample_y))

    def workspace(self, _number: int, shape: tuple[int, ...]) -> Pixels:
        """Return memory to read tiles into."""
        return np.empty(shape, np.uint8)

    def fill_tiles(
        self,
        tiles: Pixels,
        corners: Sequence[tuple[float, float]],
        downsample_x: float,
        downsample_y: float,
    ) -> None:
        """Fill one square of `tiles`, (N, edge, edge, 3), for each of the level-0 `corners`."""
        level = nearest_finer(self._levels, downsample_x, downsample_y)
        for tile, corner in zip(tiles, corners, strict=True):
            self._fill_from(level, tile, corner, (downsample_x, downsample_y))

    def read_associated(self, name: str) -> Pixels:
        """Return an image of `description.associated`, (height_px, width_px, 3).

        It is white where the image is transparent. Raises `UnreadableSlideError`, also for a name
        that there is not.
        """
        reader = self._slide_reader
        if name not in self.description.associated or not isinstance(reader, AssociatedImageReader):
            raise SlideDecodingError(f"it has no image {name[:100]!r}", hint="")
        return on_white(reader.read_associated(name))

    def overview(self, area: Area, max_px: int) -> Pixels:
        """Return an image of exactly `area`, (height_px, width_px, 3).

        Its longer side has `max_px` pixels, or all of the area's if those are fewer.
        """
        return read_overview(self, area, max_px)

    def _fill_from(
        self,
        level: Level,
        region: Pixels,
        corner: tuple[float, float],
        downsamples: tuple[float, float],
    ) -> None:
        """Write the region at the level-0 `corner` into `region`, block by block."""
        height_px, width_px, _ = region.shape
        x, y = corner
        downsample_x, downsample_y = downsamples
        step_x = downsample_x / level.scale_x
        step_y = downsample_y / level.scale_y
        block_width = max(1, width_px)
        block_height = max(1, height_px)
        if max(width_px * step_x, height_px * step_y) > _WHOLE_REGION_PX:
            block_width = max(1, int(_BLOCK_EDGE_PX / step_x))
            block_height = max(1, int(_BLOCK_EDGE_PX / step_y))
        for row in range(0, height_px, block_height):
            for column in range(0, width_px, block_width):
                block = region[row : row + block_height, column : column + block_width]
                block_corner = (x + column * downsample_x, y + row * downsample_y)
                self._fill_block(block, level, block_corner, downsamples)

    def _fill_block(
        self,
        block: Pixels,
        level: Level,
        corner: tuple[float, float],
        downsamples: tuple[float, float],
    ) -> None:
        """Write the block at the level-0 `corner`, small enough to be decoded at once."""
        height_px, width_px, _ = block.shape
        x, y = corner
        downsample_x, downsample_y = downsamples
        tile_reader = self._tile_reader_of(level, corner, downsamples)
        located_by = level.located_by
        if tile_reader is not None:
            located_by = 1.0  # tiles are addressed by pixels of the level
        columns = span(x, width_px, downsample_x, level.scale_x, located_by)
        rows = span(y, height_px, downsample_y, level.scale_y, located_by)
        _refuse_large_read(columns, rows)
        is_exact = columns.is_exact and rows.is_exact
        pixels = block
        if tile_reader is None:
            location = (columns.location, rows.location)
            size = (columns.extent_px, rows.extent_px)
            pixels = on_white(self._slide_reader.read_region(location, level.number, size))
        else:
            if not is_exact:
                pixels = np.empty((rows.extent_px, columns.extent_px, 3), np.uint8)
            tile_reader.fill(pixels, level.number, columns.location, rows.location, level.reduction)
        if not is_exact:
            block[...] = _resample(pixels, columns, rows, (width_px, height_px))
        elif pixels is not block:
            block[...] = pixels

    def _tile_reader_of(
        self, level: Level, corner: tuple[float, float], downsamples: tuple[float, float]
    ) -> TileReader | None:
        """Return the reader of the level's tiles, None where `read_region` must be used.

        `read_region` interpolates places between two pixels as OpenSlide does.
        """
        x, y = corner
        downsample_x, downsample_y = downsamples
        if level.reduction == 1 and (
            is_between(x, downsample_x, level.scale_x) or is_between(y, downsample_y, level.scale_y)
        ):
            return None
        return self._slide_reader.tile_reader


def _resample(pixels: Pixels, columns: Span, rows: Span, size: tuple[int, int]) -> Pixels:
    box = (columns.start, rows.start, columns.stop, rows.stop)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, box=box))


def _refuse_large_read(columns: Span, rows: Span) -> None:
    if columns.extent_px * rows.extent_px > BLOCK_PX:
        raise SlideDecodingError(
            "no level of it is coarse enough for so small a picture",
            hint="save it as a pyramidal TIFF",
        )


def _description(slide_reader: SlideReader) -> SlideDescription:
    properties = slide_reader.properties
    associated = {}
    if isinstance(slide_reader, AssociatedImageReader):
        associated = _associated_sizes(properties)
    return SlideDescription(
        properties.get("openslide.vendor", "")[:_MAX_NAME_CHARS],
        tuple(slide_reader.level_dimensions[:_MAX_LEVELS]),
        associated,
    )


def _associated_sizes(properties: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    """Return the sizes of the images beside the slide, without those too large to be decoded."""
    sizes = {}
    for key, width in properties.items():
        match = _ASSOCIATED_WIDTH.fullmatch(key)
        height = properties.get(key.removesuffix("width") + "height", "")
        if not (match and _LENGTH_PX.fullmatch(width) and _LENGTH_PX.fullmatch(height)):
            continue
        if int(width) * int(height) <= BLOCK_PX:
            sizes[match["name"]] = (int(width), int(height))
    return dict(sorted(sizes.items())[:_MAX_ASSOCIATED])


def _frame(
    dimensions: tuple[int, int],
    properties: Mapping[str, str],
    mpp: float | None,
    mpp_source: MppSource,
) -> Frame:
    mpp_x, mpp_y, source = spacing(properties, mpp, mpp_source)
    bounds_x = int(properties.get("openslide.bounds-x", 0))
    bounds_y = int(properties.get("openslide.bounds-y", 0))
    return Frame(*dimensions, mpp_x, mpp_y, source, bounds_x, bounds_y)
