"""A slide: its frame and its pixels at any resolution.

Owns what a pixel is worth in microns and exact resampling; knows nothing of formats, tiles, tissue or sources.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
from PIL import Image

from broker.errors import OrderError
from worker.geometry.frame import Area, Frame, MppSource, Pixels
from worker.geometry.mpp import spacing
from worker.geometry.pyramid_levels import Level, Span, is_between, levels, nearest_finer, span
from worker.process.cgroup_limits import granted_cores
from worker.slides.formats import open_pyramid
from worker.slides.overview import overview
from worker.slides.reader import BLOCK_PX, SlideReader
from worker.slides.tiled_pyramid import on_white

_WHOLE_PX: Final = 2048  # up to here a region is read from a level at once
_BLOCK_EDGE_PX: Final = (
    1024  # of what is read of a larger one: resampling takes some 14 bytes for each pixel
)


class Slide:
    """An open slide. Threads may share it; after `slide_unreadable` it may answer nothing else."""

    def __init__(
        self, pyramid: SlideReader, mpp: float | None = None, whose: MppSource = "order"
    ) -> None:
        self._pyramid = pyramid
        reductions = pyramid.stored.reductions if pyramid.stored else ()
        self._levels = levels(pyramid.level_dimensions, pyramid.level_downsamples, reductions)
        self.reader, self.threads = pyramid.name, granted_cores()
        self.frame = _frame(pyramid.level_dimensions[0], pyramid.properties, mpp, whose)

    @classmethod
    def open(cls, path: Path, mpp: float | None = None, whose: MppSource = "order") -> Self:
        """Open a slide or a plain picture; `mpp`, which is `whose` word, is believed only where the file does not say.

        A slide of unknown mpp opens all the same and its frame says so. Raises `OrderError`: `not_a_slide`,
        `slide_unreadable`.
        """
        return cls(open_pyramid(path), mpp, whose)

    def close(self) -> None:
        """Close the file. Nothing may be read any more."""
        self._pyramid.close()

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
        """The region whose top left corner is level-0 (x, y), as (height_px, width_px, 3); see `fill`."""
        region = np.empty((height_px, width_px, 3), np.uint8)
        self.fill(region, x, y, downsample_x, downsample_y)
        return region

    def fill(
        self, region: Pixels, x: float, y: float, downsample_x: float, downsample_y: float
    ) -> None:
        """Write the region whose top left corner is level-0 (x, y) into `region`, (height_px, width_px, 3).

        Pixel (row, column) covers the level-0 box of downsample_x by downsample_y at
        (x + column * downsample_x, y + row * downsample_y), resampled by the exact ratio from the nearest finer level.
        White where the slide is transparent or ends. Raises `OrderError`: `slide_unreadable`.
        """
        downsamples = downsample_x, downsample_y
        self._fill_from(nearest_finer(self._levels, *downsamples), region, (x, y), downsamples)

    def _fill_from(
        self,
        level: Level,
        region: Pixels,
        corner: tuple[float, float],
        downsamples: tuple[float, float],
    ) -> None:
        height_px, width_px, _ = region.shape
        (x, y), (downsample_x, downsample_y) = corner, downsamples
        step_x, step_y = downsample_x / level.scale_x, downsample_y / level.scale_y
        if max(width_px * step_x, height_px * step_y) <= _WHOLE_PX:
            edge_x, edge_y = max(1, width_px), max(1, height_px)
        else:
            edge_x, edge_y = (
                max(1, int(_BLOCK_EDGE_PX / step_x)),
                max(1, int(_BLOCK_EDGE_PX / step_y)),
            )
        for row in range(0, height_px, edge_y):
            for column in range(0, width_px, edge_x):
                block = region[row : row + edge_y, column : column + edge_x]
                at = x + column * downsample_x, y + row * downsample_y
                self._fill_block(block, level, at, downsamples)

    def workspace(self, _number: int, shape: tuple[int, ...]) -> Pixels:
        """Memory to read tiles into."""
        return np.empty(shape, np.uint8)

    def fill_tiles(
        self,
        tiles: Pixels,
        corners: Sequence[tuple[float, float]],
        downsample_x: float,
        downsample_y: float,
    ) -> None:
        """`fill` for each of the level-0 `corners` a square of `tiles`, (N, edge, edge, 3)."""
        downsamples = downsample_x, downsample_y
        level = nearest_finer(self._levels, *downsamples)
        for tile, (x, y) in zip(tiles, corners, strict=True):
            self._fill_from(level, tile, (x, y), downsamples)

    def overview(self, area: Area, max_px: int) -> Pixels:
        """A picture of exactly `area`, its longer side `max_px` or, where the area has fewer pixels, all of them."""
        return overview(self, area, max_px)

    def _fill_block(
        self,
        block: Pixels,
        level: Level,
        corner: tuple[float, float],
        downsamples: tuple[float, float],
    ) -> None:
        """What starts at the level-0 `corner`, small enough to be decoded at a time."""
        height_px, width_px, _ = block.shape
        (x, y), (downsample_x, downsample_y), stored = corner, downsamples, self._pyramid.stored
        between = is_between(x, downsample_x, level.scale_x) or is_between(
            y, downsample_y, level.scale_y
        )
        tiles = stored if level.reduction > 1 or not between else None
        located_by = 1.0 if tiles else level.located_by
        wide = span(x, width_px, downsample_x, level.scale_x, located_by)
        high = span(y, height_px, downsample_y, level.scale_y, located_by)
        size, exact = (wide.extent_px, _fit(wide, high)), wide.is_exact and high.is_exact
        if tiles:
            pixels = block if exact else np.empty((size[1], size[0], 3), np.uint8)
            tiles.fill(pixels, level.number, wide.location, high.location, level.reduction)
        else:
            pixels = on_white(
                self._pyramid.read_region((wide.location, high.location), level.number, size)
            )
        if pixels is not block:
            block[...] = pixels if exact else _resampled(pixels, wide, high, (width_px, height_px))


def _resampled(pixels: Pixels, wide: Span, high: Span, size: tuple[int, int]) -> Pixels:
    box = wide.start, high.start, wide.stop, high.stop
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, box=box))


def _fit(wide: Span, high: Span) -> int:
    """The height of what is read. Raises `OrderError` where it is too much to be decoded at a time."""
    if wide.extent_px * high.extent_px > BLOCK_PX:
        raise OrderError(
            "slide_unreadable",
            "The slide cannot be read: no level of it is coarse enough for so small a picture",
            hint="save it as a pyramidal TIFF",
        )
    return high.extent_px


def _frame(
    dimensions: tuple[int, int], properties: Mapping[str, str], mpp: float | None, whose: MppSource
) -> Frame:
    mpp_x, mpp_y, source = spacing(properties, mpp, whose)
    bounds_x, bounds_y = (int(properties.get(f"openslide.bounds-{axis}", 0)) for axis in "xy")
    return Frame(*dimensions, mpp_x, mpp_y, source, bounds_x, bounds_y)
