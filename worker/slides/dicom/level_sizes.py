"""Which part of a level shows the slide, from its PixelSpacing and the size of its matrix.

Some scanners (Philips) store whole tiles: a level is then larger than the slide is at its
resolution, and the ratio of the sizes is not its downsample. Contains arithmetic only.
"""

import math
from dataclasses import dataclass
from typing import Final

# A spacing is rounded when it is written as text.
_SPACING_TOLERANCE: Final = 0.01
_WHOLE_RATIO_TOLERANCE: Final = 0.005
# Level 0 may end in the middle of a tile of a coarser level, and have one more tile itself.
_MAX_PADDING_TILES: Final = 2


@dataclass(frozen=True, slots=True)
class LevelSize:
    """Total pixel matrix, tiles and spacing of a level; x comes before y."""

    matrix_px: tuple[int, int]
    tile_px: tuple[int, int]
    spacing_mm: tuple[float, float] | None


def size_of_slide(full: LevelSize, level: LevelSize) -> tuple[int, int] | None:
    """Return width and height of the part of a level that shows the slide, in its pixels.

    `full` is the finest level. Returns None for a level whose size contradicts its spacing.
    """
    if full.spacing_mm is None or level.spacing_mm is None:
        return _size_without_spacing(full, level)
    sizes = []
    whole_ratio = _whole_ratio(full, level)
    for axis in (0, 1):
        if full.spacing_mm[axis] <= 0 or level.spacing_mm[axis] <= 0:
            return _size_without_spacing(full, level)
        ratio = level.spacing_mm[axis] / full.spacing_mm[axis]
        if whole_ratio and math.isclose(ratio, whole_ratio, rel_tol=_SPACING_TOLERANCE):
            size_px: int | None = level.matrix_px[axis]
        else:
            size_px = _length_of_slide(full, level, axis, ratio)
        if size_px is None:
            return None
        sizes.append(size_px)
    return sizes[0], sizes[1]


def _length_of_slide(full: LevelSize, level: LevelSize, axis: int, ratio: float) -> int | None:
    """Return the pixels of a level along one axis that show the slide.

    `ratio` is the level's spacing divided by that of the finest level.
    """
    level_px = level.matrix_px[axis]
    if abs(level_px - full.matrix_px[axis] / ratio) <= 1:
        return level_px
    whole = round(ratio)
    if math.isclose(ratio, whole, rel_tol=_WHOLE_RATIO_TOLERANCE):
        ratio = whole
    expected_px = full.matrix_px[axis] / ratio
    excess_px = level_px - expected_px
    tile_px = level.tile_px[axis]
    if level_px % tile_px == 0 and excess_px > 0:
        if excess_px > _MAX_PADDING_TILES * tile_px:
            return None
        return math.ceil(expected_px)
    if level_px % tile_px and abs(excess_px) <= _SPACING_TOLERANCE * expected_px:
        return level_px
    return None


def _whole_ratio(full: LevelSize, level: LevelSize) -> int | None:
    """Return the whole number that explains both lengths of a level, None if none does."""
    ratio = round(full.matrix_px[0] / level.matrix_px[0])
    for axis in (0, 1):
        if abs(full.matrix_px[axis] - ratio * level.matrix_px[axis]) >= ratio:
            return None
    return ratio


def _size_without_spacing(full: LevelSize, level: LevelSize) -> tuple[int, int] | None:
    """Return the size of a level if one ratio explains both of its lengths."""
    lowest = 0.0
    highest = math.inf
    for axis in (0, 1):
        level_px = level.matrix_px[axis]
        lowest = max(lowest, full.matrix_px[axis] / (level_px + 1))
        if level_px > 1:
            highest = min(highest, full.matrix_px[axis] / (level_px - 1))
    if lowest > highest:
        return None
    return level.matrix_px
