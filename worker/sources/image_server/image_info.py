"""An image on a server, whatever the protocol."""

from dataclasses import dataclass
from typing import Protocol, Self
from urllib.parse import urlsplit

from broker.orders.fields import MAX_COORDINATE
from worker.geometry.frame import Area
from worker.slides.errors import UnreadableSlideError


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a server cuts its image, in level-0 pixels; 0 where it does not say or sets no limit.

    `fixed`: it gives its own tiles only, each with `overlap_px` of its neighbours around it.
    `shaped`: an answer has the shape of the region that the server understood, so that the whole
    slide cannot be mistaken for a region.
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
    """An image at full resolution, as its server describes it."""

    @property
    def server(self) -> str:
        """The protocol and its version, as results state them."""

    @property
    def width(self) -> int:
        """Level-0 pixels."""

    @property
    def height(self) -> int:
        """Level-0 pixels."""

    @property
    def mpp_x(self) -> float | None:
        """Microns per pixel; None where the server does not say."""

    @property
    def mpp_y(self) -> float | None:
        """Microns per pixel; None where the server does not say."""

    @property
    def tiling(self) -> Tiling:
        """How the image may be requested."""

    def url(self, box: Area) -> str:
        """Return the URL of a box of the image at full resolution, in level-0 pixels."""


@dataclass(frozen=True, slots=True)
class ImageUrl:
    """The URL of an image, split around the image's `name`.

    A token may stand before or after the name.
    """

    before: str
    name: str
    after: str

    @classmethod
    def parse(cls, url: str, parameter: str) -> Self:
        """Split a URL at the image's name.

        The name is the value of the query's `parameter` where it has one, else the path.
        """
        parts = urlsplit(url)
        root = f"{parts.scheme}://{parts.netloc}"
        pairs = parts.query.split("&") if parts.query else []
        for number, pair in enumerate(pairs):
            key, _, name = pair.partition("=")
            if key.lower() == parameter.lower():
                before = "&".join([*pairs[:number], f"{key}="])
                after = "".join(f"&{later}" for later in pairs[number + 1 :])
                return cls(f"{root}{parts.path}?{before}", name, after)
        if not parts.query:
            return cls(root, parts.path, "")
        return cls(root, parts.path, f"?{parts.query}")

    def __str__(self) -> str:
        return self.with_name(self.name)

    def with_name(self, name: str) -> str:
        """Return the URL with another name in place of the image's."""
        return f"{self.before}{name}{self.after}"


class UnusableDescriptionError(UnreadableSlideError):
    """A server's description of an image describes none that can be fetched."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The image server's description of the image cannot be used: {reason}",
            hint="see that source.url and source.protocol belong together, "
            "and open the URL in a viewer",
        )
        self.field = "source"


def check_size(width: int, height: int) -> None:
    """Raise `UnusableDescriptionError` for an image without pixels, or one too large."""
    if not (0 < width <= MAX_COORDINATE and 0 < height <= MAX_COORDINATE):
        raise UnusableDescriptionError(f"it says {width} x {height} px")
