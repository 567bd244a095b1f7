"""Which tiles hold tissue, seen on a coarse overview by the same rule every time.

Owns what counts as tissue; knows no algorithm and no stain.
"""

from dataclasses import replace
from itertools import pairwise
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.grid import Grid, Tiles
from worker.tiles import microns
from worker.values import Floats, Ints, Pixels, Readable

Mask = NDArray[np.bool_]

_OVERVIEW_UM: Final = 8.0
_OVERVIEW_MAX_PX: Final = 4096
# Colour is max(R, G, B) - min(R, G, B): at most 6 on bare glass in the slides looked at, above 12 on pale nuclei.
# Between the two Otsu decides; left free it would cut an area full of tissue in two.
_LEAST_COLOUR: Final = 8
_SURE_COLOUR: Final = 12
_DARKER: Final = 40  # than the glass: nuclei, ink and pigment may be grey; glass that is lit unevenly differs less
_DIMMEST_GLASS: Final = 180
_BLACK: Final = 16  # what a scanner writes where it did not scan
_NEAR: Final = np.ones((5, 5), np.uint8)


def keep(slide: Readable, grid: Grid) -> Grid:
    """The grid without the tiles whose core holds no tissue; a grid of no tiles where there is none at all."""
    area = grid.area
    longest_um = max(area.width * microns(slide.frame)[0], area.height * microns(slide.frame)[1])
    mask = tissue(slide.overview(area, min(_OVERVIEW_MAX_PX, max(1, round(longest_um / _OVERVIEW_UM)))))
    return replace(grid, tiles=_touching(mask, grid))


def tissue(overview: Pixels) -> Mask:
    """Where an overview of about 8 microns per pixel shows tissue, with a margin of two pixels."""
    brightest, darkest = overview.max(axis=2), overview.min(axis=2)
    colour = brightest - darkest
    otsu, _ = cv2.threshold(colour, 0, 255, cv2.THRESH_OTSU)
    glass = max(_DIMMEST_GLASS, np.percentile(brightest, 99))
    black = brightest <= _BLACK
    # Where black meets glass the overview mixes them to a grey that is dark but no tissue.
    dark = (brightest < glass - _DARKER) & (cv2.dilate(black.astype(np.uint8), _NEAR) == 0)
    found = (colour > np.clip(otsu, _LEAST_COLOUR, _SURE_COLOUR)) & ~black | dark
    return np.asarray(cv2.dilate(found.astype(np.uint8), _NEAR) > 0)


def _touching(mask: Mask, grid: Grid) -> Tiles:
    """Counted row by row of tiles, so that little memory is taken however many there are."""
    tiles, (height, width) = grid.tiles, mask.shape
    row_of, column_of = np.divmod(tiles.indices, tiles.columns)
    columns, rows = np.arange(tiles.columns, dtype=np.float64), np.arange(row_of.max(initial=0) + 1, dtype=np.float64)
    left, right = _pixels(columns * tiles.step_x, tiles.step_x, width / grid.area.width, width)
    top, bottom = _pixels(rows * tiles.step_y, tiles.step_y, height / grid.area.height, height)
    sums = cv2.integral(mask.astype(np.uint8))
    kept = np.zeros(len(tiles), np.bool_)
    ends = np.searchsorted(row_of, np.arange(len(rows) + 1))
    for row, (start, end) in enumerate(pairwise(ends.tolist())):
        counts = (sums[bottom[row], right] - sums[bottom[row], left]) - (sums[top[row], right] - sums[top[row], left])
        kept[start:end] = counts[column_of[start:end]] > 0
    return replace(tiles, indices=tiles.indices[kept])


def _pixels(starts: Floats, length: float, scale: float, limit: int) -> tuple[Ints, Ints]:
    """The half-open ranges of mask pixels that level-0 ranges of `length` touch."""
    first = np.floor(starts * scale).astype(np.int64)
    last = np.ceil((starts + length) * scale).astype(np.int64)
    return first, np.minimum(last, limit)
