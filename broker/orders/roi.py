"""The region of a slide that is to be classified.

Coordinates are level-0 pixels: x to the right, y down, origin at the top left of the full canvas.
A region may reach beyond the slide on any side: what lies beyond is left out.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError, to_jsonable_python

from broker.orders.fields import MAX_COORDINATE, Coordinate, Length, RequestModel

MAX_POINTS: Final = 10_000

_Position = Annotated[float, Field(ge=-MAX_COORDINATE, le=MAX_COORDINATE)]
_PercentPosition = Annotated[float, Field(ge=-100, le=100)]
_Share = Annotated[float, Field(gt=0, le=100)]
Point = tuple[_Position, _Position]
Ring = tuple[tuple[float, float], ...]
Rings = tuple[Ring, ...]
"""One polygon: its outline, and then its holes."""

_GivenRing = Annotated[tuple[Point, ...], Field(min_length=3, max_length=MAX_POINTS)]
_GivenRings = Annotated[tuple[_GivenRing, ...], Field(min_length=1, max_length=MAX_POINTS)]
_NAMES: Final = ("full", "square")
_FORM_OF_FIELD: Final = {
    "x": "rectangle",
    "y": "rectangle",
    "width": "rectangle",
    "height": "rectangle",
    "polygon": "polygon",
    "geojson": "geojson",
    "pct": "pct",
}


class Rectangle(RequestModel):
    """A half-open box in level-0 pixels."""

    x: Coordinate
    y: Coordinate
    width: Length
    height: Length


class Polygon(RequestModel):
    """The inside of a simple polygon; its last point is joined to its first."""

    polygon: _GivenRing

    @model_validator(mode="after")
    def _encloses_something(self) -> Self:
        if _on_one_line(self.polygon):
            raise _encloses_nothing("the polygon")
        return self

    @property
    def polygons(self) -> tuple[Rings, ...]:
        """The polygon as one of one ring, in the form that GeoJSON's polygons have too."""
        return ((_without_repeats(self.polygon),),)


class _Geometry(RequestModel):
    """A GeoJSON geometry; members that GeoJSON does not define are ignored, as its RFC says."""

    model_config = ConfigDict(extra="ignore")

    @property
    def polygons(self) -> tuple[Rings, ...]:
        """The rings of each polygon, without the closing point of each ring."""
        return tuple(tuple(map(_without_repeats, rings)) for rings in self._given())

    @model_validator(mode="after")
    def _encloses_something(self) -> Self:
        points = 0
        for number, rings in enumerate(self._given(), 1):
            for ring_number, ring in enumerate(rings, 1):
                points += len(ring)
                if _on_one_line(ring):
                    raise _encloses_nothing(f"ring {ring_number} of polygon {number}")
        if points > MAX_POINTS:
            raise PydanticCustomError(
                "too_many_points",
                "the geometry has {points} points; a region has at most 10,000 points",
                {"points": points},
            )
        return self

    def _given(self) -> tuple[Rings, ...]:
        raise NotImplementedError


class GeoJsonPolygon(_Geometry):
    """GeoJSON's Polygon: an outline and its holes, in level-0 pixels."""

    type: Literal["Polygon"]
    coordinates: _GivenRings

    def _given(self) -> tuple[Rings, ...]:
        return (self.coordinates,)


class GeoJsonMultiPolygon(_Geometry):
    """GeoJSON's MultiPolygon: several polygons, in level-0 pixels."""

    type: Literal["MultiPolygon"]
    coordinates: Annotated[tuple[_GivenRings, ...], Field(min_length=1, max_length=MAX_POINTS)]

    def _given(self) -> tuple[Rings, ...]:
        return self.coordinates


def _geometry_type(value: Any) -> str | None:
    """Return the type of a GeoJSON geometry that can be a region, else None."""
    given = getattr(value, "type", None)
    if isinstance(value, Mapping):
        given = value.get("type")
    if given in ("Polygon", "MultiPolygon"):
        return str(given)
    return None


class GeoJson(RequestModel):
    """The inside of a GeoJSON Polygon or MultiPolygon, without its holes, in level-0 pixels."""

    geojson: Annotated[
        Annotated[GeoJsonPolygon, Tag("Polygon")]
        | Annotated[GeoJsonMultiPolygon, Tag("MultiPolygon")],
        Discriminator(
            _geometry_type,
            custom_error_type="geometry_type",
            custom_error_message="give a GeoJSON geometry whose type is Polygon or MultiPolygon; "
            "of a Feature, give its geometry",
        ),
    ]

    @property
    def polygons(self) -> tuple[Rings, ...]:
        """The rings of each polygon, without the closing point of each ring."""
        return self.geojson.polygons


class Percent(RequestModel):
    """A half-open box x, y, width, height in percent of the slide's size, as IIIF's `pct:`."""

    pct: tuple[_PercentPosition, _PercentPosition, _Share, _Share]


_LengthPx = Annotated[int | None, Field(ge=1, le=MAX_COORDINATE)]


class RoiLimits(RequestModel):
    """Bounds of the regions of one order. What only the slide can tell, the worker checks."""

    model_config = ConfigDict(strict=False)  # settings come as text from the environment

    required: bool = Field(False, description="a whole slide is refused")
    max_area_mm2: Annotated[
        float | None, Field(gt=0, description="of each region; the microns per pixel tell it")
    ] = None
    max_width_px: Annotated[_LengthPx, Field(description="of each region, in level-0 pixels")] = (
        None
    )
    max_height_px: Annotated[_LengthPx, Field(description="of each region, in level-0 pixels")] = (
        None
    )
    max_count: Annotated[
        int | None, Field(ge=1, le=64, description="regions, which are scans, of one order")
    ] = None


def as_json(roi: "Roi | None") -> Any:
    """Return the region as JSON values, as it was ordered."""
    return to_jsonable_python(roi)


def _without_repeats(points: Sequence[tuple[float, float]]) -> Ring:
    """Return the ring without points that repeat the one before, and without a closing point."""
    ring: list[tuple[float, float]] = []
    for point in points:
        if not ring or point != ring[-1]:
            ring.append(point)
    while len(ring) > 1 and ring[-1] == ring[0]:
        ring.pop()
    return tuple(ring)


def _on_one_line(points: Sequence[tuple[float, float]]) -> bool:
    """Return whether all points are on one straight line, by exact cross products."""
    x, y = points[0]
    far_x, far_y = next((point for point in points if point != (x, y)), (x, y))
    return all((far_x - x) * (b - y) == (far_y - y) * (a - x) for a, b in points)


def _encloses_nothing(what: str) -> PydanticCustomError:
    return PydanticCustomError(
        "encloses_nothing", "{what} encloses nothing: its points lie on one line", {"what": what}
    )


def _form(value: Any) -> str | None:
    """Return the form of region whose fields are given, or None for a mixture and for none."""
    if isinstance(value, str):
        if value in _NAMES:
            return "name"
        return None
    names: Iterable[str] = ()
    if isinstance(value, Mapping):
        names = value
    elif isinstance(value, RequestModel):
        names = vars(value)
    forms = {_FORM_OF_FIELD[name] for name in names if name in _FORM_OF_FIELD}
    if len(forms) != 1:
        return None
    return forms.pop()


Roi = Annotated[
    Annotated[Rectangle, Tag("rectangle")]
    | Annotated[Polygon, Tag("polygon")]
    | Annotated[GeoJson, Tag("geojson")]
    | Annotated[Percent, Tag("pct")]
    | Annotated[Literal["full", "square"], Tag("name")],
    Discriminator(
        _form,
        custom_error_type="roi_form",
        custom_error_message="give x, y, width and height, or polygon, or pct, "
        'or a GeoJSON geometry as geojson, or "full" or "square": '
        "one of the five forms of a region",
    ),
]
