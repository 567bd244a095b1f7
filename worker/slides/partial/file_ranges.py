"""A slide of whose file only some ranges are here: read as the whole would be, but never where it has holes.

Owns that watch. Must not know formats, or how the ranges came.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from PIL import Image

from broker.errors import OrderError
from worker.geometry.frame import Pixels
from worker.slides.formats import open_pyramid
from worker.slides.partial.manifest import NAME, Ranges, filled
from worker.slides.reader import SlideReader, TileReader

_Box = tuple[float, float, float, float]


def open_ranged(folder: Path, manifest: Ranges) -> SlideReader:
    """The slide in the folder of this manifest. Raises `OrderError` as any reader does."""
    if manifest.file == NAME:
        raise _lacking("its manifest names itself")
    inner = open_pyramid(folder / manifest.file)
    try:
        return RangedPyramid(inner, manifest)
    except BaseException:
        inner.close()
        raise


class RangedPyramid:
    """The levels of a slide that are filled, within the box in which they are. Threads may share it."""

    def __init__(self, inner: SlideReader, manifest: Ranges) -> None:
        self._inner, self._within = inner, manifest.within
        sizes = inner.level_dimensions
        self._numbers = [number for number, size in enumerate(sizes) if size in manifest.levels]
        if not self._numbers or self._numbers[0] != 0:
            raise _lacking(f"{manifest.file} is another slide than its manifest says")
        self.name = f"{inner.name}, from ranges of the file"
        self.properties: Mapping[str, str] = inner.properties
        self.level_dimensions = tuple(sizes[number] for number in self._numbers)
        self.level_downsamples = tuple(inner.level_downsamples[number] for number in self._numbers)
        self.stored = inner.stored and _Watched(inner.stored, self._numbers, self._refuse_holes)

    def read_region(
        self, location: tuple[int, int], level: int, size: tuple[int, int]
    ) -> Image.Image:
        """As any reader's. Raises `OrderError`: `slide_unreadable`, also for what was not fetched."""
        x, y = (at / self.level_downsamples[level] for at in location)
        self._refuse_holes(level, (x, y, x + size[0], y + size[1]))
        return self._inner.read_region(location, self._numbers[level], size)

    def close(self) -> None:
        """Close the file."""
        self._inner.close()

    def _refuse_holes(self, level: int, box: _Box) -> None:
        """`box`: left, top, right, bottom in pixels of the level."""
        limits = self.level_dimensions[level]
        here = filled(self._within, self.level_dimensions[0], limits)
        for axis in (0, 1):
            low, high = max(0, math.floor(box[axis])), min(limits[axis], math.ceil(box[axis + 2]))
            if low < high and not here[axis] <= low < high <= here[axis + 2]:
                raise _lacking(f"pixels {box} of level {level} reach beyond what was fetched")


class _Watched:
    """Stored tiles of the levels that are filled."""

    def __init__(
        self, inner: TileReader, numbers: list[int], refuse_holes: Callable[[int, _Box], None]
    ) -> None:
        self._inner, self._numbers, self._refuse_holes = inner, numbers, refuse_holes
        self.reductions = [inner.reductions[number] for number in numbers]

    def fill(self, region: Pixels, level: int, left: int, top: int, reduction: int = 1) -> None:
        """As any reader's. Raises `OrderError`: `slide_unreadable`, also for what was not fetched."""
        height, width, _ = region.shape
        right, bottom = (left + width) * reduction, (top + height) * reduction
        self._refuse_holes(level, (left * reduction, top * reduction, right, bottom))
        self._inner.fill(region, self._numbers[level], left, top, reduction)


def _lacking(detail: str) -> OrderError:
    hint = "order the region again; it is then fetched for the algorithm as it is now"
    return OrderError("slide_unreadable", f"Only a part of the slide is here: {detail}", hint=hint)
