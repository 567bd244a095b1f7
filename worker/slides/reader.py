"""The protocols of slides: what each file reader offers, and what the worker reads through."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol, runtime_checkable

from PIL import Image

from worker.geometry.frame import Area, Frame, Pixels

BLOCK_PX: Final = 2**26
"""The most pixels that are decoded at a time: one stored tile, or one region of a level."""


class SlideWarning(NamedTuple):
    """A reason to doubt what a slide shows, found in its files; `code` is stable.

    It becomes a `ScanWarning` of the scan, which decoder processes do not import.
    """

    code: str
    detail: str


class SlideDescription(NamedTuple):
    """What a slide's file says of itself beside its frame.

    `vendor` is OpenSlide's name of the format, empty where the reader states none. `levels` and
    `associated` hold widths and heights in pixels, level 0 first, and the images by their names.
    """

    vendor: str = ""
    levels: tuple[tuple[int, int], ...] = ()
    associated: Mapping[str, tuple[int, int]] = {}


class ReadableSlide(Protocol):
    """An open slide, read in this process (`Slide`) or in another one (`SandboxedSlide`)."""

    frame: Frame
    reader: str
    """Name and version of the library that reads the file."""
    warnings: tuple[SlideWarning, ...]
    """Reasons to doubt what the slide shows."""
    threads: int
    """How many regions can be read at the same time."""

    def fill(
        self, region: Pixels, x: float, y: float, downsample_x: float, downsample_y: float
    ) -> None:
        """Write the region at level-0 (x, y) into `region`, (height_px, width_px, 3)."""

    def workspace(self, number: int, shape: tuple[int, ...]) -> Pixels:
        """Return memory of this shape for thread `number` to read tiles into."""

    def fill_tiles(
        self,
        tiles: Pixels,
        corners: Sequence[tuple[float, float]],
        downsample_x: float,
        downsample_y: float,
    ) -> None:
        """Write one square for each of the level-0 `corners` into `tiles`, (N, edge, edge, 3)."""

    def overview(self, area: Area, max_px: int) -> Pixels:
        """Return an image of the area, (height_px, width_px, 3), no side longer than `max_px`."""


class TileReader(Protocol):
    """The levels of a pyramid, read tile by tile in their own pixels. Threads may share it."""

    @property
    def reductions(self) -> Sequence[Sequence[int]]:
        """For each level, the whole factors by which a decoder can shrink its tiles."""

    def fill(self, region: Pixels, level: int, left: int, top: int, reduction: int = 1) -> None:
        """Write the level's pixels from (left, top) on into `region`, (height, width, 3).

        `left` and `top` count pixels of the level after `reduction`. Transparent is white.
        Raises `UnreadableSlideError`.
        """


@runtime_checkable
class AssociatedImageReader(Protocol):
    """A reader of a format that has images beside the slide: its label, a macro image."""

    def read_associated(self, name: str) -> Image.Image:
        """Return the image of this name in RGBA. Raises `UnreadableSlideError`."""


class SlideReader(Protocol):
    """An open slide file, described in OpenSlide's terms. Threads may share it."""

    @property
    def name(self) -> str:
        """Name and version of the reading library, as results state it."""

    @property
    def warnings(self) -> tuple[SlideWarning, ...]:
        """Reasons to doubt what the slide shows."""

    @property
    def properties(self) -> Mapping[str, str]:
        """The file's metadata by OpenSlide's names: openslide.mpp-x, tiff.XResolution, …"""

    @property
    def level_dimensions(self) -> tuple[tuple[int, int], ...]:
        """Width and height of every level in its own pixels, level 0 first."""

    @property
    def level_downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels for each pixel of a level, the mean of both axes; level 0 first."""

    @property
    def tile_reader(self) -> TileReader | None:
        """Direct access to the stored tiles, None where the reader has none."""

    def read_region(
        self, location: tuple[int, int], level: int, size: tuple[int, int]
    ) -> Image.Image:
        """Return `size` pixels of the level from a level-0 location on, in RGBA.

        Pixels outside the slide are transparent. Raises `UnreadableSlideError`.
        """

    def close(self) -> None:
        """Close the file. Nothing may be read afterwards."""
