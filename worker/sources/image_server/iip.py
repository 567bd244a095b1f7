"""The Internet Imaging Protocol as iipsrv speaks it: FIF names the image, RGN a region by fractions, CVT answers.

Owns the protocol's words and the rounding of its servers.
"""

import re
from dataclasses import dataclass
from typing import Final

from broker.errors import OrderError
from worker.geometry.frame import Area
from worker.sources.image_server.address import Address
from worker.sources.image_server.image_info import Tiling, check_size, unclear

# Servers hold fractions in 32 bits, multiply them by the length and round or, old ones, cut off. An offset a sixteenth
# of a pixel above the whole number comes out right either way: 32 bits lose 1/32 px at 262,144 px. An extent is shared
# out between both axes when the server works out the height of its answer, so it may grow in proportion only.
_OFFSET_PX: Final = 1 / 16
_EXTENT: Final = 1 + 2**-20
_OURS: Final = frozenset({"fif", "obj", "rgn", "wid", "hei", "cvt", "jtl", "til", "ptl"})


@dataclass(frozen=True, slots=True)
class IipImage:
    """An image as the server's objects describe it."""

    address: Address
    width: int
    height: int
    tiling: Tiling
    server: str = "iip"
    mpp_x: float | None = None
    mpp_y: float | None = None

    def url(self, box: Area) -> str:
        """The box in its own width, and in the height that the server makes of it, which tells what it understood.

        PNG, which loses nothing; a server that cannot make it sends JPEG. CVT comes last: it answers.
        """
        x, y = (box.x + _OFFSET_PX) / self.width, (box.y + _OFFSET_PX) / self.height
        width, height = box.width * _EXTENT / self.width, box.height * _EXTENT / self.height
        region = ",".join(f"{min(fraction, 1.0):.14f}" for fraction in (x, y, width, height))
        return f"{self.address.url(self.address.name)}&RGN={region}&WID={box.width}&CVT=png"


def about(url: str) -> str:
    """Where the image is described. Raises `OrderError`: `request_invalid` for a URL without FIF."""
    address = _address(url)
    return f"{address.url(address.name)}&OBJ=IIP,1.0&OBJ=Max-size&OBJ=Tile-size"


def image(url: str, description: bytes) -> IipImage:
    """The image, from lines like `Max-size:46000 32914`. Raises `OrderError`: `slide_unreadable`."""
    size = _pair(description, b"Max-size")
    if size is None:
        raise unclear("it has no line `Max-size:WIDTH HEIGHT`")
    check_size(*size)
    tile = _pair(description, b"Tile-size") or (0, 0)
    return IipImage(_address(url), *size, Tiling(*tile, shaped=True))


def _address(url: str) -> Address:
    """FIF first, as servers want it, then what else the order wrote, without commands that we give ourselves."""
    found = Address.of(url, "FIF")
    if not found.before.endswith("="):
        raise OrderError(
            "request_invalid",
            "The URL names no image: an IIP server takes it as FIF in the query",
            hint="give the server's address with ?FIF=/path/of/the/slide",
            field="source.url",
        )
    script, _, before = found.before.partition("?")
    pairs = [*before.split("&")[:-1], *found.after.split("&")[1:]]
    kept = [pair for pair in pairs if pair.partition("=")[0].lower() not in _OURS]
    return Address(f"{script}?FIF=", found.name, "".join(f"&{pair}" for pair in kept))


def _pair(description: bytes, name: bytes) -> tuple[int, int] | None:
    found = re.search(
        rb"^%s:\s*(\d{1,10})\s+(\d{1,10})\s*$" % name, description, re.MULTILINE | re.IGNORECASE
    )
    return (int(found[1]), int(found[2])) if found else None
