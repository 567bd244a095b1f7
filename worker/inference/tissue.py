"""Finds the tiles that hold tissue, on a coarse overview of the area.

The rule is the same for every algorithm and every stain.
"""

from dataclasses import dataclass, replace
from typing import Final, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.geometry.frame import Area, Floats, Ints, Pixels, microns
from worker.geometry.tile_grid import Grid
from worker.slides.reader import ReadableSlide

Mask = NDArray[np.bool_]

_OVERVIEW_UM: Final = 8.0
_OVERVIEW_MAX_PX: Final = 4096
_THRESHOLDS_MAX_PX: Final = 1024
_STRIP_PX: Final = 128  # the least rows of the overview that are read at a time
_MARGIN_PX: Final = 4  # two for the margin of tissue, two for the neighbours of black
# Colour is max(R, G, B) - min(R, G, B): at most 6 on bare glass in the slides looked at, above 12
# on pale nuclei. Between the two Otsu's method decides; without these limits it would divide an
# area full of tissue.
_LEAST_COLOUR: Final = 8
_SURE_COLOUR: Final = 12
# Darker than the glass by this: nuclei, ink and pigment may be grey. Glass that is lit unevenly
# differs less.
_DARKER: Final = 40
_DIMMEST_GLASS: Final = 180
_BLACK: Final = 16  # what a scanner writes where it did not scan
_TWO_PX_AROUND: Final = np.ones((5, 5), np.uint8)


def tissue_tiles(slide: ReadableSlide, grid: Grid) -> Grid:
    """Return the grid without the tiles whose core holds no tissue; it may have no tiles left.

    The overview is read in strips, with thresholds taken from the whole area, so that memory does
    not grow with the area.
    """
    overview = _Overview.of(slide, grid.area)
    thresholds = _Thresholds.of(slide.overview(grid.area, overview.thresholds_px))
    tiles = grid.tiles
    columns = np.arange(tiles.columns, dtype=np.float64)
    rows = np.arange(tiles.rows, dtype=np.float64)
    left, right = _pixels(
        columns * tiles.step_x, tiles.width, overview.width / grid.area.width, overview.width
    )
    tops, bottoms = _pixels(
        rows * tiles.step_y, tiles.height, overview.height / grid.area.height, overview.height
    )
    strip = _Strip(0, np.empty((0, overview.width), np.bool_))
    has_tissue = [np.empty(0, np.bool_)]
    for top, bottom, in_row in zip(tops.tolist(), bottoms.tolist(), tiles.by_row(), strict=True):
        if bottom > strip.bottom:
            strip = overview.strip(slide, thresholds, top, max(bottom, top + _STRIP_PX))
        counts = np.append(0, strip.rows(top, bottom).sum(axis=0).cumsum())
        has_tissue.append((counts[right] > counts[left])[in_row])
    return replace(grid, tiles=replace(tiles, indices=tiles.indices[np.concatenate(has_tissue)]))


@dataclass(frozen=True, slots=True)
class _Strip:
    """Rows of an overview from `top` on: `mask` is True where they show tissue."""

    top: int
    mask: Mask

    @property
    def bottom(self) -> int:
        return self.top + len(self.mask)

    def rows(self, top: int, bottom: int) -> Mask:
        """Return the mask of these rows of the overview."""
        return self.mask[top - self.top : bottom - self.top]


@dataclass(frozen=True, slots=True)
class _Overview:
    """A picture of the area at about 8 microns per pixel, read strip by strip."""

    area: Area
    width: int
    height: int

    @classmethod
    def of(cls, slide: ReadableSlide, area: Area) -> Self:
        mpp_x, mpp_y = microns(slide.frame)
        longest_um = max(area.width * mpp_x, area.height * mpp_y)
        longest_px = min(_OVERVIEW_MAX_PX, max(1, longest_um / _OVERVIEW_UM))
        downsample = max(1.0, max(area.width, area.height) / longest_px)
        width = max(1, round(area.width / downsample))
        height = max(1, round(area.height / downsample))
        return cls(area, width, height)

    @property
    def thresholds_px(self) -> int:
        """The longer side of the overview from which thresholds are taken."""
        return min(_THRESHOLDS_MAX_PX, max(self.width, self.height))

    def strip(
        self, slide: ReadableSlide, thresholds: "_Thresholds", top: int, bottom: int
    ) -> _Strip:
        """Return the rows from `top` to `bottom`; their neighbours are read as well."""
        first = max(0, top - _MARGIN_PX)
        last = min(self.height, bottom + _MARGIN_PX)
        picture = np.empty((last - first, self.width, 3), np.uint8)
        downsample_x = self.area.width / self.width
        downsample_y = self.area.height / self.height
        y = self.area.y + first * downsample_y
        slide.fill(picture, self.area.x, y, downsample_x, downsample_y)
        return _Strip(top, thresholds.tissue(picture)[top - first : bottom - first])


@dataclass(frozen=True, slots=True)
class _Thresholds:
    """The colour above which a pixel is tissue, and the brightness of the glass."""

    colour: float
    glass: float

    @classmethod
    def of(cls, overview: Pixels) -> Self:
        """Return the thresholds for an area that looks like this."""
        brightest = overview.max(axis=2)
        colour = brightest - overview.min(axis=2)
        otsu, _ = cv2.threshold(colour, 0, 255, cv2.THRESH_OTSU)
        glass = max(_DIMMEST_GLASS, float(np.percentile(brightest, 99)))
        return cls(float(np.clip(otsu, _LEAST_COLOUR, _SURE_COLOUR)), glass)

    def tissue(self, picture: Pixels) -> Mask:
        """Return where the picture shows tissue, with a margin of two pixels."""
        brightest = picture.max(axis=2)
        colour = brightest - picture.min(axis=2)
        black = brightest <= _BLACK
        # Where black meets glass the overview mixes them to a grey that is dark but no tissue.
        near_black = cv2.dilate(black.astype(np.uint8), _TWO_PX_AROUND) > 0
        dark = (brightest < self.glass - _DARKER) & ~near_black
        found = (colour > self.colour) & ~black | dark
        return np.asarray(cv2.dilate(found.astype(np.uint8), _TWO_PX_AROUND) > 0)


def _pixels(starts: Floats, length: float, scale: float, limit: int) -> tuple[Ints, Ints]:
    """Return the half-open ranges of overview pixels that level-0 ranges of `length` touch.

    `scale` is overview pixels per level-0 pixel, `limit` the number of overview pixels.
    """
    first = np.floor(starts * scale).astype(np.int64)
    last = np.ceil((starts + length) * scale).astype(np.int64)
    return first, np.minimum(last, limit)
