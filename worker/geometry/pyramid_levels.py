"""The geometry of a pyramid: which level serves a resolution, and where a level-0 position lies.

Contains arithmetic only; knows no reader and no pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_EXACT: Final = 1e-6  # what floating point may lose, in pixels


@dataclass(frozen=True, slots=True)
class Level:
    """One level of a pyramid, or a level made smaller by `reduction` while it is decoded.

    `scale_x` and `scale_y` are the level-0 pixels that one pixel of the level covers. `located_by`
    is the downsample by which OpenSlide divides a level-0 location.
    """

    number: int
    scale_x: float
    scale_y: float
    located_by: float
    reduction: int = 1


@dataclass(frozen=True, slots=True)
class Span:
    """What is read along one axis: `extent_px` pixels of the level from `location` on.

    `location` is a level-0 position where OpenSlide reads, else a pixel of the level. `start` and
    `stop` bound the requested box within what is read, in pixels of the level.
    """

    location: int
    extent_px: int
    start: float
    stop: float

    @property
    def is_exact(self) -> bool:
        """Whether the level's own pixels are requested, so that nothing is resampled."""
        return self.start == 0 and self.stop == self.extent_px


def levels(
    dimensions: Sequence[tuple[int, int]],
    downsamples: Sequence[float],
    reductions: Sequence[Sequence[int]] = (),
) -> tuple[Level, ...]:
    """Return the levels of a slide, finest first.

    `dimensions` and `downsamples` are OpenSlide's `level_dimensions` and `level_downsamples`.
    `reductions` lists, for every level, by which whole numbers it can be made smaller while it is
    decoded.
    """
    full_x, full_y = dimensions[0]
    stored = []
    for number, (size, downsample) in enumerate(zip(dimensions, downsamples, strict=True)):
        width, height = size
        stored.append(Level(number, _scale(full_x, width), _scale(full_y, height), downsample))
    found = list(stored)
    for level, factors in zip(stored, reductions, strict=False):
        found.extend(_reduced(level, factor) for factor in factors)
    return tuple(sorted(found, key=_fineness))


def nearest_finer(levels: Sequence[Level], downsample_x: float, downsample_y: float) -> Level:
    """Return the coarsest level that loses no detail at this downsample, else level 0."""
    most_x = downsample_x * (1 + _EXACT)
    most_y = downsample_y * (1 + _EXACT)
    for level in reversed(levels):
        if level.scale_x <= most_x and level.scale_y <= most_y:
            return level
    return levels[0]


def span(start: float, count: int, downsample: float, scale: float, located_by: float) -> Span:
    """Return what to read for `count` pixels of `downsample` from level-0 `start` on.

    It includes the neighbours that resampling needs. Where the level's own pixels are requested,
    the span is exactly those.

    OpenSlide takes whole level-0 pixels and divides them by `located_by`, the mean downsample of
    both axes; the box makes up for the rounding. Stored tiles are addressed by whole pixels of the
    level: `located_by` is 1 for them.
    """
    step = downsample / scale
    first = start / scale
    location = round(first * located_by)
    if math.isclose(step, 1, rel_tol=1e-9) and abs(first * located_by - location) < _EXACT:
        return Span(location, count, 0, count)
    location = math.floor((math.floor(first) - _margin(step)) * located_by + _EXACT)
    begin = first - location / located_by
    stop = begin + count * step
    return Span(location, math.ceil(stop) + _margin(step), begin, stop)


def is_between(start: float, downsample: float, scale: float) -> bool:
    """Return whether the level's resolution is requested, at positions between its pixels."""
    first = start / scale
    return math.isclose(downsample / scale, 1, rel_tol=1e-9) and abs(first - round(first)) >= _EXACT


def _reduced(level: Level, factor: int) -> Level:
    return Level(
        level.number,
        level.scale_x * factor,
        level.scale_y * factor,
        level.located_by * factor,
        factor,
    )


def _fineness(level: Level) -> tuple[float, int]:
    """Sort by scale; of two equal ones the less reduced comes last, as it decodes fewer tiles."""
    return level.scale_x * level.scale_y, -level.reduction


def _margin(step: float) -> int:
    """Return how many pixels of the level linear resampling needs beyond the box: half a step."""
    return math.ceil(max(step / 2, 1))


def _scale(full_px: int, level_px: int) -> float:
    """Return the level-0 pixels per pixel of a level.

    Pyramids shrink by whole numbers and round their dimensions: the whole number is returned where
    it explains both lengths, else their ratio.
    """
    whole = round(full_px / level_px)
    if abs(full_px - whole * level_px) < whole:
        return whole
    return full_px / level_px
