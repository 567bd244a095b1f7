"""DeepZoom: a `.dzi` that describes the image, and the tiles of its deepest level.

Owns the protocol's words. Parsing takes no document type and so no entities.
"""

from dataclasses import dataclass
from typing import Any, Final
from xml.parsers import expat

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from broker.errors import OrderError
from broker.orders.fields import MAX_COORDINATE
from worker.geometry.frame import Area
from worker.sources.image_server.address import Address
from worker.sources.image_server.image_info import Tiling, check_size, unclear

_SUFFIXES: Final = (".dzi", ".xml")


class _Dzi(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    tile_size: int = Field(alias="TileSize", ge=1, le=MAX_COORDINATE)
    overlap: int = Field(0, alias="Overlap", ge=0, le=MAX_COORDINATE)
    format: str = Field(alias="Format", pattern=r"^[A-Za-z0-9]{1,8}$")
    width: int = Field(alias="Width", ge=1, le=MAX_COORDINATE)
    height: int = Field(alias="Height", ge=1, le=MAX_COORDINATE)


@dataclass(frozen=True, slots=True)
class DeepZoomImage:
    """An image as its `.dzi` describes it."""

    address: Address
    format: str
    width: int
    height: int
    tiling: Tiling
    server: str = "deepzoom"
    mpp_x: float | None = None
    mpp_y: float | None = None

    def url(self, box: Area) -> str:
        """The tile whose box, overlap included, this is."""
        column = (box.x + self.tiling.overlap_px) // self.tiling.tile_width_px
        row = (box.y + self.tiling.overlap_px) // self.tiling.tile_height_px
        level = (
            max(self.width, self.height) - 1
        ).bit_length()  # level 0 has one pixel, each further one twice as many
        return self.address.url(f"{self.address.name}_files/{level}/{column}_{row}.{self.format}")


def about(url: str) -> str:
    """Where the image is described: the order's URL itself."""
    _address(url)
    return url


def image(url: str, description: bytes) -> DeepZoomImage:
    """The image, from its `.dzi`. Raises `OrderError`: `slide_unreadable`."""
    try:
        said = _Dzi.model_validate(_attributes(description))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise unclear(f"the .dzi: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    check_size(said.width, said.height)
    if said.overlap >= said.tile_size:
        raise unclear(f"tiles of {said.tile_size} px that overlap by {said.overlap} px")
    tiling = Tiling(said.tile_size, said.tile_size, overlap_px=said.overlap, fixed=True)
    return DeepZoomImage(_address(url), said.format, said.width, said.height, tiling)


def _attributes(description: bytes) -> dict[str, str]:
    """Those of the elements Image and Size."""
    found: dict[str, str] = {}
    parser = expat.ParserCreate()

    def start(name: str, attributes: dict[str, str]) -> None:
        if name.rpartition(":")[2] in ("Image", "Size"):
            found.update(attributes)

    def refuse(*_: Any) -> None:
        raise unclear("the .dzi has a document type, which may hide anything")

    parser.StartElementHandler, parser.StartDoctypeDeclHandler = start, refuse
    try:
        parser.Parse(description, True)
    except expat.ExpatError as error:
        raise unclear(f"the .dzi is no XML: {error}") from None
    return found


def _address(url: str) -> Address:
    found = Address.of(url, "DeepZoom")
    if not found.name.lower().endswith(_SUFFIXES):
        raise OrderError(
            "request_invalid",
            f"The URL names no DeepZoom image: its name ends in none of {', '.join(_SUFFIXES)}",
            hint="give the URL of the .dzi itself; its tiles are found beside it",
            field="source.url",
        )
    return Address(found.before, found.name[:-4], found.after)
