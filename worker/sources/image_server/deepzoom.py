"""DeepZoom: a `.dzi` that describes the image, and the tiles of its deepest level."""

from dataclasses import dataclass
from typing import Any, Final, Self
from xml.parsers import expat

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from broker.errors import OrderError
from broker.orders.fields import MAX_COORDINATE
from worker.geometry.frame import Area
from worker.sources.image_server.image_info import (
    ImageUrl,
    Tiling,
    UnusableDescriptionError,
    check_size,
)

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

    image_url: ImageUrl
    format: str
    width: int
    height: int
    tiling: Tiling
    server: str = "deepzoom"
    mpp_x: float | None = None
    mpp_y: float | None = None

    @staticmethod
    def description_url(url: str) -> str:
        """Return where the image is described: the order's URL itself.

        Raise `OrderError("request_invalid")`.
        """
        _parse_url(url)
        return url

    @classmethod
    def from_description(cls, url: str, description: bytes) -> Self:
        """Return the image that a `.dzi` describes. Raise `UnusableDescriptionError`."""
        try:
            dzi = _Dzi.model_validate(_parse_xml(description))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise UnusableDescriptionError(f"the .dzi: {field}: {first['msg']}") from None
        check_size(dzi.width, dzi.height)
        if dzi.overlap >= dzi.tile_size:
            raise UnusableDescriptionError(
                f"tiles of {dzi.tile_size} px that overlap by {dzi.overlap} px"
            )
        tiling = Tiling(dzi.tile_size, dzi.tile_size, overlap_px=dzi.overlap, fixed=True)
        return cls(_parse_url(url), dzi.format, dzi.width, dzi.height, tiling)

    def url(self, box: Area) -> str:
        """Return the URL of the tile whose box, overlap included, this is."""
        column = (box.x + self.tiling.overlap_px) // self.tiling.tile_width_px
        row = (box.y + self.tiling.overlap_px) // self.tiling.tile_height_px
        # Level 0 has one pixel, and each further level has edges twice as long.
        level = (max(self.width, self.height) - 1).bit_length()
        name = f"{self.image_url.name}_files/{level}/{column}_{row}.{self.format}"
        return self.image_url.with_name(name)


class _DziParser:
    """Collects the attributes of the elements Image and Size.

    A document type is refused, and with it entities: they could expand to any size.
    """

    def __init__(self) -> None:
        self.attributes: dict[str, str] = {}

    def start_element(self, name: str, attributes: dict[str, str]) -> None:
        """Handle the start of an element, which may have a prefix."""
        if name.rpartition(":")[2] in ("Image", "Size"):
            self.attributes.update(attributes)

    def refuse_doctype(self, *_: Any) -> None:
        """Handle a document type: raise `UnusableDescriptionError`."""
        raise UnusableDescriptionError("the .dzi has a document type, which may hide anything")


def _parse_xml(description: bytes) -> dict[str, str]:
    dzi_parser = _DziParser()
    parser = expat.ParserCreate()
    parser.StartElementHandler = dzi_parser.start_element
    parser.StartDoctypeDeclHandler = dzi_parser.refuse_doctype
    try:
        parser.Parse(description, True)
    except expat.ExpatError as error:
        raise UnusableDescriptionError(f"the .dzi is no XML: {error}") from None
    return dzi_parser.attributes


def _parse_url(url: str) -> ImageUrl:
    """Return the URL, its name without the suffix.

    Raise `OrderError("request_invalid")` for another suffix.
    """
    found = ImageUrl.parse(url, "DeepZoom")
    if not found.name.lower().endswith(_SUFFIXES):
        raise OrderError(
            "request_invalid",
            f"The URL names no DeepZoom image: its name ends in none of {', '.join(_SUFFIXES)}",
            hint="give the URL of the .dzi itself; its tiles are found beside it",
            field="source.url",
        )
    return ImageUrl(found.before, found.name[:-4], found.after)
