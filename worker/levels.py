"""The geometry of a pyramid: which level serves a resolution, and where on it a level-0 position lies.

Owns the arithmetic alone; knows no reader and no pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_EXACT: Final = 1e-6  # what floating point may lose, in pixels


@dataclass(frozen=True, slots=True)
class Level:
    """One level: the level-0 pixels that one of its pixels covers, and what OpenSlide divides a location by."""

    number: int
    scale_x: float
    scale_y: float
    located_by: float


@dataclass(frozen=True, slots=True)
class Span:
    """What is read along one axis: a level-0 location, an extent in pixels of the level, and the box wanted in it."""

    location: int
    extent_px: int
    start: float
    stop: float


def levels(dimensions: Sequence[tuple[int, int]], downsamples: Sequence[float]) -> tuple[Level, ...]:
    """The levels of a slide, from OpenSlide's `level_dimensions` and `level_downsamples`."""
    full_x, full_y = dimensions[0]
    return tuple(
        Level(number, _scale(full_x, width), _scale(full_y, height), downsample)
        for number, ((width, height), downsample) in enumerate(zip(dimensions, downsamples, strict=True))
    )


def nearest_finer(levels: Sequence[Level], downsample_x: float, downsample_y: float) -> Level:
    """The coarsest level that loses nothing at this downsample, else level 0."""
    most_x, most_y = downsample_x * (1 + _EXACT), downsample_y * (1 + _EXACT)
    return [levels[0], *(level for level in levels if level.scale_x <= most_x and level.scale_y <= most_y)][-1]


def span(start: float, count: int, downsample: float, scale: float, located_by: float) -> Span:
    """Cover `count` pixels of `downsample` from level-0 `start`, with the neighbours that resampling looks at.

    Where the level's own pixels are wanted the span is exactly those. OpenSlide takes whole level-0 pixels and divides
    them by the mean downsample of both axes; what that is off is made good by the box.
    """
    step, first = downsample / scale, start / scale
    location = round(first * located_by)
    if math.isclose(step, 1, rel_tol=1e-9) and abs(first * located_by - location) < _EXACT:
        return Span(location, count, 0, count)
    margin = math.ceil(max(step, 1)) + 1
    location = math.floor(math.floor(first - margin) * located_by + _EXACT)
    begin = first - location / located_by
    stop = begin + count * step
    return Span(location, math.ceil(stop) + margin, begin, stop)


def _scale(full_px: int, level_px: int) -> float:
    """Level-0 pixels per pixel: pyramids shrink by whole numbers and round their dimensions, else the plain ratio."""
    whole = round(full_px / level_px)
    return whole if abs(full_px - whole * level_px) < whole else full_px / level_px
