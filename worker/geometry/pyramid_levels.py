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
    """One level, or one made smaller while it is decoded: the level-0 pixels that one of its pixels covers, and what
    OpenSlide divides a location by.
    """

    number: int
    scale_x: float
    scale_y: float
    located_by: float
    reduction: int = 1


@dataclass(frozen=True, slots=True)
class Span:
    """What is read along one axis: where it begins, an extent in pixels of the level, and the box wanted in it.

    It begins at a level-0 location where OpenSlide reads, else at a pixel of the level.
    """

    location: int
    extent_px: int
    start: float
    stop: float

    @property
    def is_exact(self) -> bool:
        """Whether the level's own pixels are wanted, and nothing is resampled."""
        return self.start == 0 and self.stop == self.extent_px


def levels(
    dimensions: Sequence[tuple[int, int]],
    downsamples: Sequence[float],
    reductions: Sequence[Sequence[int]] = (),
) -> tuple[Level, ...]:
    """The levels of a slide, finest first, from OpenSlide's `level_dimensions` and `level_downsamples`.

    `reductions`: for every level, by which whole numbers it can be made smaller while it is decoded.
    """
    full_x, full_y = dimensions[0]
    stored = [
        Level(number, _scale(full_x, width), _scale(full_y, height), downsample)
        for number, ((width, height), downsample) in enumerate(
            zip(dimensions, downsamples, strict=True)
        )
    ]
    reduced = [
        Level(level.number, level.scale_x * by, level.scale_y * by, level.located_by * by, by)
        for level, smaller in zip(stored, reductions, strict=False)
        for by in smaller
    ]
    # of two that are as fine the less reduced comes last: fewer tiles are decoded for it
    return tuple(
        sorted(
            [*stored, *reduced], key=lambda level: (level.scale_x * level.scale_y, -level.reduction)
        )
    )


def nearest_finer(levels: Sequence[Level], downsample_x: float, downsample_y: float) -> Level:
    """The coarsest level that loses nothing at this downsample, else level 0."""
    most_x, most_y = downsample_x * (1 + _EXACT), downsample_y * (1 + _EXACT)
    return [
        levels[0],
        *(level for level in levels if level.scale_x <= most_x and level.scale_y <= most_y),
    ][-1]


def span(start: float, count: int, downsample: float, scale: float, located_by: float) -> Span:
    """Cover `count` pixels of `downsample` from level-0 `start`, with the neighbours that resampling looks at.

    Where the level's own pixels are wanted the span is exactly those. OpenSlide takes whole level-0 pixels and divides
    them by the mean downsample of both axes, `located_by`; what that is off is made good by the box. Stored tiles are
    addressed by whole pixels of the level: `located_by` is 1 for them.
    """
    step, first = downsample / scale, start / scale
    location = round(first * located_by)
    if math.isclose(step, 1, rel_tol=1e-9) and abs(first * located_by - location) < _EXACT:
        return Span(location, count, 0, count)
    location = math.floor((math.floor(first) - _margin(step)) * located_by + _EXACT)
    begin = first - location / located_by
    stop = begin + count * step
    return Span(location, math.ceil(stop) + _margin(step), begin, stop)


def is_between(start: float, downsample: float, scale: float) -> bool:
    """Whether the level's own resolution is wanted, but of places between its pixels."""
    first = start / scale
    return math.isclose(downsample / scale, 1, rel_tol=1e-9) and abs(first - round(first)) >= _EXACT


def _margin(step: float) -> int:
    """How many pixels of the level linear resampling looks at beyond the box: half a step, but one at least."""
    return math.ceil(max(step / 2, 1))


def _scale(full_px: int, level_px: int) -> float:
    """Level-0 pixels per pixel: pyramids shrink by whole numbers and round their dimensions, else the plain ratio."""
    whole = round(full_px / level_px)
    return whole if abs(full_px - whole * level_px) < whole else full_px / level_px
