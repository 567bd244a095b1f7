"""A slide of whose file only some byte ranges were fetched.

It is read like the whole file, except that pixels whose bytes are missing are refused. Knows no
formats, and not how the ranges were fetched.
"""

import math
from collections.abc import Mapping

from PIL import Image

from worker.geometry.frame import Area, Pixels
from worker.slides.errors import RegionNotFetchedError
from worker.slides.partial.manifest import Ranges, filled
from worker.slides.reader import SlideReader, TileReader

_Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels of a level."""


class FileRangesReader:
    """A `SlideReader` of the fetched levels, within the fetched box. Threads may share it.

    `file_reader` reads the file as if it were complete; this reader closes it.
    """

    def __init__(self, file_reader: SlideReader, manifest: Ranges) -> None:
        """Raise `UnreadableSlideError` if the file has other levels than its manifest."""
        sizes = file_reader.level_dimensions
        level_numbers = [number for number, size in enumerate(sizes) if size in manifest.levels]
        if not level_numbers or level_numbers[0] != 0:
            raise RegionNotFetchedError(f"{manifest.file} is another slide than its manifest says")
        downsamples = file_reader.level_downsamples
        self._file_reader = file_reader
        self._level_numbers = level_numbers
        self.name = f"{file_reader.name}, from ranges of the file"
        self.properties: Mapping[str, str] = file_reader.properties
        self.level_dimensions = tuple(sizes[number] for number in level_numbers)
        self.level_downsamples = tuple(downsamples[number] for number in level_numbers)
        self._fetched = _FetchedBoxes(manifest.within, self.level_dimensions)
        self.warnings = file_reader.warnings
        self.tile_reader: TileReader | None = None
        if file_reader.tile_reader is not None:
            tile_reader = file_reader.tile_reader
            self.tile_reader = _FetchedTiles(tile_reader, level_numbers, self._fetched)

    def read_region(
        self, location: tuple[int, int], level: int, size: tuple[int, int]
    ) -> Image.Image:
        """Return `size` pixels of the level from a level-0 location on, in RGBA.

        Raises `UnreadableSlideError`, also for pixels that were not fetched.
        """
        x = location[0] / self.level_downsamples[level]
        y = location[1] / self.level_downsamples[level]
        self._fetched.require(level, (x, y, x + size[0], y + size[1]))
        return self._file_reader.read_region(location, self._level_numbers[level], size)

    def close(self) -> None:
        """Close the file."""
        self._file_reader.close()


class _FetchedBoxes:
    """The part of each level that was fetched."""

    def __init__(self, within: Area, level_dimensions: tuple[tuple[int, int], ...]) -> None:
        self._within = within
        self._level_dimensions = level_dimensions

    def require(self, level: int, box: _Box) -> None:
        """Raise `UnreadableSlideError` if `box` has pixels of the level that were not fetched."""
        dimensions = self._level_dimensions[level]
        fetched = filled(self._within, self._level_dimensions[0], dimensions)
        for axis in (0, 1):
            low = max(0, math.floor(box[axis]))
            high = min(dimensions[axis], math.ceil(box[axis + 2]))
            if low < high and not fetched[axis] <= low < high <= fetched[axis + 2]:
                raise RegionNotFetchedError(
                    f"pixels {box} of level {level} reach beyond what was fetched"
                )


class _FetchedTiles:
    """A `TileReader` of the fetched levels."""

    def __init__(
        self, tile_reader: TileReader, level_numbers: list[int], fetched: _FetchedBoxes
    ) -> None:
        self._tile_reader = tile_reader
        self._level_numbers = level_numbers
        self._fetched = fetched
        self.reductions = [tile_reader.reductions[number] for number in level_numbers]

    def fill(self, region: Pixels, level: int, left: int, top: int, reduction: int = 1) -> None:
        """Write the level's pixels from (left, top) on into `region`, as any `TileReader`.

        Raises `UnreadableSlideError`, also for pixels that were not fetched.
        """
        height, width, _ = region.shape
        right = (left + width) * reduction
        bottom = (top + height) * reduction
        self._fetched.require(level, (left * reduction, top * reduction, right, bottom))
        self._tile_reader.fill(region, self._level_numbers[level], left, top, reduction)
