"""The protocols of slides: what every reader offers, and what the worker reads through."""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from PIL import Image

from worker.geometry.frame import Area, Frame, Pixels


class ReadableSlide(Protocol):
    """An open slide, wherever it is read: see `worker.slide.Slide`, which says what the methods do."""

    frame: Frame
    reader: str
    threads: int
    """Regions that are read at the same time at most."""

    def fill(
        self, region: Pixels, x: float, y: float, downsample_x: float, downsample_y: float
    ) -> None:
        """Write the pixels of a region at any resolution into `region`, (height_px, width_px, 3)."""

    def workspace(self, number: int, shape: tuple[int, ...]) -> Pixels:
        """Memory of this shape for thread `number` to read tiles into."""

    def fill_tiles(
        self,
        tiles: Pixels,
        corners: Sequence[tuple[float, float]],
        downsample_x: float,
        downsample_y: float,
    ) -> None:
        """Write one square for each of the level-0 `corners` into `tiles`, (N, edge, edge, 3); see `fill`."""

    def overview(self, area: Area, max_px: int) -> Pixels:
        """A picture of the area, its longer side at most `max_px`."""


BLOCK_PX: Final = 2**26
"""The most pixels that are decoded at a time, be it a stored tile or a region of a level."""


class TileReader(Protocol):
    """The levels of a pyramid in their own pixels, tile by tile. Threads may share it."""

    @property
    def reductions(self) -> Sequence[Sequence[int]]:
        """For every level, by which whole numbers its tiles can be made smaller while they are decoded."""

    def fill(self, region: Pixels, level: int, left: int, top: int, reduction: int = 1) -> None:
        """Write what is at (left, top), in pixels of the level so reduced, into `region`, (height, width, 3), on white.

        Raises `OrderError`: `slide_unreadable`.
        """


class SlideReader(Protocol):
    """An open slide as its reader sees it, in OpenSlide's words. Threads may share it."""

    @property
    def name(self) -> str:
        """Which reader it is, with its version, as provenance states it."""

    @property
    def properties(self) -> Mapping[str, str]:
        """What the file says, in OpenSlide's names: openslide.mpp-x, openslide.bounds-x, tiff.XResolution …"""

    @property
    def level_dimensions(self) -> tuple[tuple[int, int], ...]:
        """Width and height of every level in its own pixels, level 0 first."""

    @property
    def level_downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels per pixel of every level: the mean of both axes, as locations are divided by it."""

    @property
    def stored(self) -> TileReader | None:
        """Its stored tiles, where they can be had one by one."""

    def read_region(
        self, location: tuple[int, int], level: int, size: tuple[int, int]
    ) -> Image.Image:
        """`size` pixels of the level from a level-0 location on, in RGBA; transparent where there is no picture.

        Raises `OrderError`: `slide_unreadable`.
        """

    def close(self) -> None:
        """Close the file. Nothing may be read any more."""
