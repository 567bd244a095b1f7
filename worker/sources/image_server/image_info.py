"""What every protocol comes to: an image of so many pixels, cut in such a way, and the URL of any box of it.

Knows no protocol.
"""

from dataclasses import dataclass
from typing import Protocol

from broker.errors import OrderError
from broker.orders.fields import MAX_COORDINATE
from worker.geometry.frame import Area


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a server cuts its image, in level-0 pixels; 0 where it does not say or sets no limit.

    `fixed`: it gives its own tiles only, each with `overlap_px` of its neighbours around it. `shaped`: the answer has
    the shape of the region that the server understood, so that one taken for the whole slide shows.
    """

    tile_width_px: int = 0
    tile_height_px: int = 0
    max_width_px: int = 0
    max_height_px: int = 0
    max_area_px2: int = 0
    overlap_px: int = 0
    fixed: bool = False
    shaped: bool = False


class Image(Protocol):
    """An image at full resolution, as its server describes it. `mpp_x`, `mpp_y`: None where it does not say."""

    @property
    def server(self) -> str:
        """The protocol and its version, as results tell them."""

    @property
    def width(self) -> int:
        """Level-0 pixels."""

    @property
    def height(self) -> int:
        """Level-0 pixels."""

    @property
    def mpp_x(self) -> float | None:
        """Microns per pixel."""

    @property
    def mpp_y(self) -> float | None:
        """Microns per pixel."""

    @property
    def tiling(self) -> Tiling:
        """How it may be asked for."""

    def url(self, box: Area) -> str:
        """Where the box is, at full resolution."""


def unclear(reason: str) -> OrderError:
    """The error for a description that describes no image."""
    return OrderError(
        "slide_unreadable",
        f"The image server's description of the image cannot be used: {reason}",
        hint="see that source.url and source.protocol belong together, and open the URL in a viewer",
        field="source",
    )


def check_size(width: int, height: int) -> None:
    """Refuse an image of no pixels, or of more than coordinates can tell. Raises `OrderError`: `slide_unreadable`."""
    if not (0 < width <= MAX_COORDINATE and 0 < height <= MAX_COORDINATE):
        raise unclear(f"it says {width} x {height} px")
