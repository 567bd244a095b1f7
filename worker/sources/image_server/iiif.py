"""IIIF Image API 2 and 3 (iiif.io/api/image): `info.json`, and regions by their pixels.

Owns the protocol's words. The URL of the order is asked, never the `id` in the answer, which may name any host.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from broker.orders.fields import MAX_COORDINATE
from worker.geometry.frame import Area
from worker.sources.image_server.address import Address
from worker.sources.image_server.image_info import Tiling, unclear

_UNITS_UM: Final = {"mm": 1e3, "cm": 1e4, "in": 25400.0}
_SIZES: Final = frozenset({"sizeByWh", "sizeByForcedWh", "sizeByDistortedWh"})
_Edge = Annotated[int, Field(ge=1, le=MAX_COORDINATE)]
_Limit = Annotated[int, Field(ge=0, le=MAX_COORDINATE**2)]  # iipsrv says 0 where it has none
_Names = Annotated[tuple[str, ...], Field(max_length=100)]


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Tiles(_Said):
    width: _Edge
    height: _Edge | None = None
    scale_factors: tuple[int, ...] = Field((1,), alias="scaleFactors")


class _Limits(_Said):
    """What version 3 says at the top and version 2 in its profile."""

    max_width: _Limit = Field(0, alias="maxWidth")
    max_height: _Limit = Field(0, alias="maxHeight")
    max_area: _Limit = Field(0, alias="maxArea")
    formats: _Names = ()
    preferred_formats: _Names = Field((), alias="preferredFormats")
    extra_formats: _Names = Field((), alias="extraFormats")
    supports: _Names = ()
    extra_features: _Names = Field((), alias="extraFeatures")


class _Physical(_Said):
    """The service iiif.io/api/annex/services/#physical-dimensions."""

    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(alias="physicalScale")
    units: str = Field(alias="physicalUnits")


class _Info(_Limits):
    context: Any = Field(None, alias="@context")
    type: Any = None
    width: _Edge  # a text of digits is taken too: oss-lite writes one
    height: _Edge
    profile: str | tuple[str | _Limits, ...] = ()
    tiles: tuple[_Tiles, ...] = ()
    service: Any = None

    @property
    def version(self) -> int:
        """2 or 3."""
        return 3 if self.type == "ImageService3" or "/image/3/" in str(self.context) else 2

    @property
    def levels(self) -> str:
        """The profiles that the server names, as one text."""
        named = (self.profile,) if isinstance(self.profile, str) else self.profile
        return " ".join(name for name in named if isinstance(name, str))

    @property
    def limits(self) -> tuple[_Limits, ...]:
        """Every place where limits, formats and features may stand."""
        listed = () if isinstance(self.profile, str) else self.profile
        return (self, *(entry for entry in listed if isinstance(entry, _Limits)))

    @property
    def own_tiles_only(self) -> bool:
        """Whether it gives no region but its tiles: level 0, without the features that would allow more."""
        features = {
            name for limits in self.limits for name in (*limits.supports, *limits.extra_features)
        }
        return "level0" in self.levels and not ("regionByPx" in features and features & _SIZES)


@dataclass(frozen=True, slots=True)
class IiifImage:
    """An image as its `info.json` describes it."""

    address: Address
    version: int
    format: str
    width: int
    height: int
    mpp: float | None
    tiling: Tiling

    @property
    def server(self) -> str:
        """The protocol and its version."""
        return f"iiif {self.version}"

    @property
    def mpp_x(self) -> float | None:
        """Microns per pixel."""
        return self.mpp

    @property
    def mpp_y(self) -> float | None:
        """Microns per pixel."""
        return self.mpp

    def url(self, box: Area) -> str:
        """The box in its own size, said in numbers: neither `full` nor `max` is known to every version."""
        region, size = f"{box.x},{box.y},{box.width},{box.height}", f"{box.width},{box.height}"
        if self.tiling.fixed and (box.width, box.height) == (self.width, self.height):
            region, size = "full", "max" if self.version == 3 else "full"
        elif self.tiling.fixed and self.version == 2:
            size = f"{box.width},"  # how version 2 writes the addresses of tiles
        return self.address.url(f"{self.address.name}/{region}/{size}/0/default.{self.format}")


def about(url: str) -> str:
    """Where the image is described."""
    address = _address(url)
    return address.url(f"{address.name}/info.json")


def image(url: str, description: bytes) -> IiifImage:
    """The image, from its `info.json`. Raises `OrderError`: `slide_unreadable`."""
    try:
        info = _Info.model_validate_json(description)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise unclear(f"info.json: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return IiifImage(
        _address(url),
        info.version,
        _format(info),
        info.width,
        info.height,
        _mpp(info.service),
        _tiling(info),
    )


def _address(url: str) -> Address:
    found = Address.of(url, "IIIF")
    return Address(found.before, found.name.removesuffix("info.json").rstrip("/"), found.after)


def _format(info: _Info) -> str:
    """PNG loses nothing; level 2 guarantees it."""
    offered = {
        name
        for limits in info.limits
        for name in limits.formats + limits.preferred_formats + limits.extra_formats
    }
    return "png" if "png" in offered or "level2" in info.levels else "jpg"


def _tiling(info: _Info) -> Tiling:
    tiles = next((tiles for tiles in info.tiles if 1 in tiles.scale_factors), None)
    if info.own_tiles_only:
        tiles = tiles or _Tiles(width=info.width, height=info.height)
        return Tiling(tiles.width, tiles.height or tiles.width, fixed=True)
    width = _least([limits.max_width for limits in info.limits])
    height = _least([limits.max_height for limits in info.limits]) or width
    area = _least([limits.max_area for limits in info.limits])
    if tiles:
        return Tiling(tiles.width, tiles.height or tiles.width, width, height, area)
    # oss-lite, which names no tiles, makes a region of the slide's whole width one pixel narrower and stretches it.
    return Tiling(0, 0, _below(info.width, width), _below(info.height, height), area)


def _least(limits: list[int]) -> int:
    return min((limit for limit in limits if limit), default=0)


def _below(full_px: int, limit_px: int) -> int:
    return min(max(1, full_px - 1), limit_px or full_px)


def _mpp(service: Any) -> float | None:
    """Microns per pixel by the first service that tells physical dimensions."""
    for block in service if isinstance(service, list) else [service]:
        if (
            isinstance(block, dict)
            and "physdim" in f"{block.get('profile')} {block.get('@context')}"
        ):
            return _microns(block)
    return None


def _microns(block: dict[str, Any]) -> float | None:
    try:
        said = _Physical.model_validate(block)
    except ValidationError:
        return None
    mpp = said.scale * _UNITS_UM.get(said.units, math.nan)
    return mpp if math.isfinite(mpp) else None
