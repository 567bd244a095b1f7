"""The Internet Imaging Protocol of iipsrv.

FIF names the image, RGN a region by fractions, CVT requests its pixels.
"""

import re
from dataclasses import dataclass
from typing import Final, Self

from broker.errors import OrderError
from worker.geometry.frame import Area
from worker.sources.image_server.image_info import (
    ImageUrl,
    Tiling,
    UnusableDescriptionError,
    check_size,
)

_OFFSET_PX: Final = 1 / 16
"""Servers hold fractions in 32 bits, multiply them by the length, and round or truncate.

An offset a sixteenth of a pixel above the whole number comes out right in both: 32 bits lose 1/32
px at 262,144 px.
"""
_EXTENT_FACTOR: Final = 1 + 2**-20
"""The same for extents, which grow in proportion.

From their ratio the server works out the height of its answer.
"""
_REPLACED_PARAMETERS: Final = frozenset(
    {"fif", "obj", "rgn", "wid", "hei", "cvt", "jtl", "til", "ptl"}
)


@dataclass(frozen=True, slots=True)
class IipImage:
    """An image as the server's objects describe it."""

    image_url: ImageUrl
    width: int
    height: int
    tiling: Tiling
    server: str = "iip"
    mpp_x: float | None = None
    mpp_y: float | None = None

    @staticmethod
    def description_url(url: str) -> str:
        """Return where the image is described.

        Raise `OrderError("request_invalid")` for a URL without FIF.
        """
        return f"{_parse_url(url)}&OBJ=IIP,1.0&OBJ=Max-size&OBJ=Tile-size"

    @classmethod
    def from_description(cls, url: str, description: bytes) -> Self:
        """Return the image that lines like `Max-size:46000 32914` describe.

        Raise `UnusableDescriptionError`.
        """
        size_px = _find_pair(description, b"Max-size")
        if size_px is None:
            raise UnusableDescriptionError("it has no line `Max-size:WIDTH HEIGHT`")
        check_size(*size_px)
        tile_size_px = _find_pair(description, b"Tile-size") or (0, 0)
        return cls(_parse_url(url), *size_px, Tiling(*tile_size_px, shaped=True))

    def url(self, box: Area) -> str:
        """Return the URL of the box in its own width.

        The server works out the height, which shows what region it understood. PNG is requested,
        which loses nothing; a server that cannot write it sends JPEG. CVT comes last, since it
        makes the server answer.
        """
        fractions = (
            (box.x + _OFFSET_PX) / self.width,
            (box.y + _OFFSET_PX) / self.height,
            box.width * _EXTENT_FACTOR / self.width,
            box.height * _EXTENT_FACTOR / self.height,
        )
        region = ",".join(f"{min(fraction, 1.0):.14f}" for fraction in fractions)
        return f"{self.image_url}&RGN={region}&WID={box.width}&CVT=png"


def _parse_url(url: str) -> ImageUrl:
    """Return the URL with FIF first, without the parameters that are added later.

    Raise `OrderError("request_invalid")` for a URL without FIF.
    """
    found = ImageUrl.parse(url, "FIF")
    if not found.before.endswith("="):
        raise OrderError(
            "request_invalid",
            "The URL names no image: an IIP server takes it as FIF in the query",
            hint="give the server's address with ?FIF=/path/of/the/slide",
            field="source.url",
        )
    script, _, before = found.before.partition("?")
    pairs = [*before.split("&")[:-1], *found.after.split("&")[1:]]
    others = [pair for pair in pairs if pair.partition("=")[0].lower() not in _REPLACED_PARAMETERS]
    return ImageUrl(f"{script}?FIF=", found.name, "".join(f"&{pair}" for pair in others))


def _find_pair(description: bytes, name: bytes) -> tuple[int, int] | None:
    """Return the two numbers of the line `name`, None where there is no such line."""
    pattern = rb"^%s:\s*(\d{1,10})\s+(\d{1,10})\s*$" % name
    found = re.search(pattern, description, re.MULTILINE | re.IGNORECASE)
    if not found:
        return None
    return int(found[1]), int(found[2])
