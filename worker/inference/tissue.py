"""Which tiles hold tissue, seen on a coarse overview by the same rule every time.

Owns what counts as tissue; knows no algorithm and no stain.
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
_LIMITS_MAX_PX: Final = 1024
_STRIP_PX: Final = 128  # rows of the overview that are read at a time, at least
_BESIDE_PX: Final = 4  # two for the margin, two for what lies beside black
# Colour is max(R, G, B) - min(R, G, B): at most 6 on bare glass in the slides looked at, above 12 on pale nuclei.
# Between the two Otsu decides; left free it would cut an area full of tissue in two.
_LEAST_COLOUR: Final = 8
_SURE_COLOUR: Final = 12
_DARKER: Final = 40  # than the glass: nuclei, ink and pigment may be grey; glass that is lit unevenly differs less
_DIMMEST_GLASS: Final = 180
_BLACK: Final = 16  # what a scanner writes where it did not scan
_NEAR: Final = np.ones((5, 5), np.uint8)


def keep(slide: ReadableSlide, grid: Grid) -> Grid:
    """The grid without the tiles whose core holds no tissue; a grid of no tiles where there is none at all.

    Looked at strip by strip of the overview, by limits that the whole area sets, so that memory does not grow with it.
    """
    view, tiles = _Overview.of(slide, grid.area), grid.tiles
    limits = _Limits.of(
        slide.overview(grid.area, min(_LIMITS_MAX_PX, max(view.width, view.height)))
    )
    rows, columns = (
        np.arange(tiles.rows, dtype=np.float64),
        np.arange(tiles.columns, dtype=np.float64),
    )
    left, right = _pixels(
        columns * tiles.step_x, tiles.step_x, view.width / grid.area.width, view.width
    )
    tops, bottoms = _pixels(
        rows * tiles.step_y, tiles.step_y, view.height / grid.area.height, view.height
    )
    kept, strip = [], _Strip(0, np.empty((0, view.width), np.bool_))
    for top, bottom, of_row in zip(tops.tolist(), bottoms.tolist(), tiles.by_row(), strict=True):
        if bottom > strip.top + len(strip.mask):
            strip = view.strip(slide, limits, top, max(bottom, top + _STRIP_PX))
        counts = np.append(0, strip.mask[top - strip.top : bottom - strip.top].sum(axis=0).cumsum())
        kept.append((counts[right] > counts[left])[of_row])
    return replace(
        grid,
        tiles=replace(tiles, indices=tiles.indices[np.concatenate([np.empty(0, np.bool_), *kept])]),
    )


@dataclass(frozen=True, slots=True)
class _Strip:
    """Rows of an overview from `top` on: where they show tissue."""

    top: int
    mask: Mask


@dataclass(frozen=True, slots=True)
class _Overview:
    """A picture of the area of about 8 microns per pixel, of which never more than a strip is there."""

    area: Area
    width: int
    height: int

    @classmethod
    def of(cls, slide: ReadableSlide, area: Area) -> Self:
        longest_um = max(
            area.width * microns(slide.frame)[0], area.height * microns(slide.frame)[1]
        )
        downsample = max(
            1.0,
            max(area.width, area.height) / min(_OVERVIEW_MAX_PX, max(1, longest_um / _OVERVIEW_UM)),
        )
        return cls(
            area, max(1, round(area.width / downsample)), max(1, round(area.height / downsample))
        )

    def strip(self, slide: ReadableSlide, limits: "_Limits", top: int, bottom: int) -> _Strip:
        """The rows from `top` to `bottom`, judged with those beside them."""
        first, last = max(0, top - _BESIDE_PX), min(self.height, bottom + _BESIDE_PX)
        picture = np.empty((last - first, self.width, 3), np.uint8)
        downsample_x, downsample_y = self.area.width / self.width, self.area.height / self.height
        slide.fill(
            picture, self.area.x, self.area.y + first * downsample_y, downsample_x, downsample_y
        )
        return _Strip(top, limits.tissue(picture)[top - first : bottom - first])


@dataclass(frozen=True, slots=True)
class _Limits:
    """From where on a pixel of an area is coloured, or dark."""

    colour: float
    glass: float

    @classmethod
    def of(cls, overview: Pixels) -> Self:
        """As the whole area looks."""
        brightest = overview.max(axis=2)
        otsu, _ = cv2.threshold(brightest - overview.min(axis=2), 0, 255, cv2.THRESH_OTSU)
        glass = max(_DIMMEST_GLASS, float(np.percentile(brightest, 99)))
        return cls(float(np.clip(otsu, _LEAST_COLOUR, _SURE_COLOUR)), glass)

    def tissue(self, picture: Pixels) -> Mask:
        """Where it shows tissue, with a margin of two pixels."""
        brightest = picture.max(axis=2)
        colour, black = brightest - picture.min(axis=2), brightest <= _BLACK
        # Where black meets glass the overview mixes them to a grey that is dark but no tissue.
        dark = (brightest < self.glass - _DARKER) & (cv2.dilate(black.astype(np.uint8), _NEAR) == 0)
        found = (colour > self.colour) & ~black | dark
        return np.asarray(cv2.dilate(found.astype(np.uint8), _NEAR) > 0)


def _pixels(starts: Floats, length: float, scale: float, limit: int) -> tuple[Ints, Ints]:
    """The half-open ranges of mask pixels that level-0 ranges of `length` touch."""
    first = np.floor(starts * scale).astype(np.int64)
    last = np.ceil((starts + length) * scale).astype(np.int64)
    return first, np.minimum(last, limit)
