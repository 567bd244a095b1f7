"""IIIF Image API 2 and 3 (iiif.io/api/image): `info.json`, and regions in pixels.

Requests go to the URL of the order, never to the `id` in an answer, which may name any host.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from broker.orders.fields import MAX_COORDINATE
from worker.geometry.frame import Area
from worker.sources.image_server.image_info import ImageUrl, Tiling, UnusableDescriptionError

_UNITS_UM: Final = {"mm": 1e3, "cm": 1e4, "in": 25400.0}
_SIZE_FEATURES: Final = frozenset({"sizeByWh", "sizeByForcedWh", "sizeByDistortedWh"})
_Edge = Annotated[int, Field(ge=1, le=MAX_COORDINATE)]
_Limit = Annotated[int, Field(ge=0, le=MAX_COORDINATE**2)]  # iipsrv says 0 where it has none
_Names = Annotated[tuple[str, ...], Field(max_length=100)]


class _InfoPart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Tiles(_InfoPart):
    width: _Edge
    height: _Edge | None = None
    scale_factors: tuple[int, ...] = Field((1,), alias="scaleFactors")


class _Limits(_InfoPart):
    """What version 3 states at the top level and version 2 in its profile."""

    max_width: _Limit = Field(0, alias="maxWidth")
    max_height: _Limit = Field(0, alias="maxHeight")
    max_area: _Limit = Field(0, alias="maxArea")
    formats: _Names = ()
    preferred_formats: _Names = Field((), alias="preferredFormats")
    extra_formats: _Names = Field((), alias="extraFormats")
    supports: _Names = ()
    extra_features: _Names = Field((), alias="extraFeatures")


class _Physical(_InfoPart):
    """The service iiif.io/api/annex/services/#physical-dimensions."""

    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(alias="physicalScale")
    units: str = Field(alias="physicalUnits")


class _Info(_Limits):
    context: Any = Field(None, alias="@context")
    type: Any = None
    width: _Edge  # a text of digits is accepted too: oss-lite writes one
    height: _Edge
    profile: str | tuple[str | _Limits, ...] = ()
    tiles: tuple[_Tiles, ...] = ()
    service: Any = None

    @property
    def version(self) -> int:
        """2 or 3."""
        return 3 if self.type == "ImageService3" or "/image/3/" in str(self.context) else 2

    @property
    def compliance_levels(self) -> str:
        """The profiles that the server names, as one text."""
        if isinstance(self.profile, str):
            return self.profile
        return " ".join(entry for entry in self.profile if isinstance(entry, str))

    @property
    def limits(self) -> tuple[_Limits, ...]:
        """Every part of the document where limits, formats and features may be stated."""
        if isinstance(self.profile, str):
            return (self,)
        return (self, *(entry for entry in self.profile if isinstance(entry, _Limits)))

    @property
    def serves_tiles_only(self) -> bool:
        """Whether the server gives no regions but its tiles: compliance level 0, and no more."""
        features: set[str] = set()
        for limits in self.limits:
            features.update(limits.supports, limits.extra_features)
        serves_regions = "regionByPx" in features and bool(features & _SIZE_FEATURES)
        return "level0" in self.compliance_levels and not serves_regions


@dataclass(frozen=True, slots=True)
class IiifImage:
    """An image as its `info.json` describes it."""

    image_url: ImageUrl
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

    @staticmethod
    def description_url(url: str) -> str:
        """Return where the image is described."""
        image_url = _parse_url(url)
        return image_url.with_name(f"{image_url.name}/info.json")

    @classmethod
    def from_description(cls, url: str, description: bytes) -> Self:
        """Return the image that an `info.json` describes. Raise `UnusableDescriptionError`."""
        try:
            info = _Info.model_validate_json(description)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise UnusableDescriptionError(f"info.json: {field}: {first['msg']}") from None
        return cls(
            image_url=_parse_url(url),
            version=info.version,
            format=_format(info),
            width=info.width,
            height=info.height,
            mpp=_mpp(info.service),
            tiling=_tiling(info),
        )

    def url(self, box: Area) -> str:
        """Return the URL of the box in its own size.

        The size is in numbers: no version of the protocol knows both `full` and `max`.
        """
        region = f"{box.x},{box.y},{box.width},{box.height}"
        size = f"{box.width},{box.height}"
        if self.tiling.fixed and (box.width, box.height) == (self.width, self.height):
            region = "full"
            size = "max" if self.version == 3 else "full"
        elif self.tiling.fixed and self.version == 2:
            size = f"{box.width},"  # the form of tiles in version 2
        name = f"{self.image_url.name}/{region}/{size}/0/default.{self.format}"
        return self.image_url.with_name(name)


def _parse_url(url: str) -> ImageUrl:
    found = ImageUrl.parse(url, "IIIF")
    name = found.name.removesuffix("info.json").rstrip("/")
    return ImageUrl(found.before, name, found.after)


def _format(info: _Info) -> str:
    """Return `png`, which is lossless, where the server offers it; compliance level 2 does."""
    if "level2" in info.compliance_levels:
        return "png"
    for limits in info.limits:
        if "png" in limits.formats + limits.preferred_formats + limits.extra_formats:
            return "png"
    return "jpg"


def _tiling(info: _Info) -> Tiling:
    tiles = next((tiles for tiles in info.tiles if 1 in tiles.scale_factors), None)
    if info.serves_tiles_only:
        tiles = tiles or _Tiles(width=info.width, height=info.height)
        return Tiling(tiles.width, tiles.height or tiles.width, fixed=True)
    max_width_px = _smallest([limits.max_width for limits in info.limits])
    max_height_px = _smallest([limits.max_height for limits in info.limits]) or max_width_px
    max_area_px2 = _smallest([limits.max_area for limits in info.limits])
    if tiles:
        tile_height_px = tiles.height or tiles.width
        return Tiling(tiles.width, tile_height_px, max_width_px, max_height_px, max_area_px2)
    # oss-lite, which names no tiles, makes a region of the full width one pixel narrower and
    # stretches it.
    return Tiling(
        max_width_px=_below_full(info.width, max_width_px),
        max_height_px=_below_full(info.height, max_height_px),
        max_area_px2=max_area_px2,
    )


def _smallest(limits: list[int]) -> int:
    """Return the smallest limit, 0 where none is set."""
    return min((limit for limit in limits if limit), default=0)


def _below_full(full_px: int, limit_px: int) -> int:
    return min(max(1, full_px - 1), limit_px or full_px)


def _mpp(service: Any) -> float | None:
    """Return microns per pixel as the first service of physical dimensions states them, or None."""
    services = service if isinstance(service, list) else [service]
    for each in services:
        if isinstance(each, dict) and "physdim" in f"{each.get('profile')} {each.get('@context')}":
            return _physical_mpp(each)
    return None


def _physical_mpp(service: dict[str, Any]) -> float | None:
    try:
        physical = _Physical.model_validate(service)
    except ValidationError:
        return None
    unit_um = _UNITS_UM.get(physical.units)
    if unit_um is None:
        return None
    mpp = physical.scale * unit_um
    return mpp if math.isfinite(mpp) else None
