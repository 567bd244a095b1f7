"""Which part of a slide is asked for. Level-0 pixels, x right, y down, origin at the top left of the full canvas."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, Tag, model_validator

from broker.orders.fields import MAX_COORDINATE, Coordinate, Length, RequestModel

_Position = Annotated[float, Field(ge=0, le=MAX_COORDINATE)]
_Percent = Annotated[float, Field(ge=0, le=100)]
_Share = Annotated[float, Field(gt=0, le=100)]
_FORMS = dict.fromkeys(("x", "y", "width", "height"), "rectangle") | {
    "polygon": "polygon",
    "pct": "pct",
}


class Rectangle(RequestModel):
    """A half-open box in level-0 pixels."""

    x: Coordinate
    y: Coordinate
    width: Length
    height: Length


class Polygon(RequestModel):
    """What a simple ring of points encloses; the last point is joined to the first."""

    polygon: Annotated[
        tuple[tuple[_Position, _Position], ...], Field(min_length=3, max_length=10_000)
    ]

    @model_validator(mode="after")
    def _encloses_something(self) -> Self:
        if _on_one_line(self.polygon):
            raise ValueError("the polygon encloses nothing: its points lie on one line")
        return self


class Percent(RequestModel):
    """A half-open box in percent of the slide's width and height: x, y, width, height; as IIIF's `pct:`."""

    pct: tuple[_Percent, _Percent, _Share, _Share]


def _on_one_line(points: Sequence[tuple[float, float]]) -> bool:
    x, y = points[0]
    far_x, far_y = next((point for point in points if point != (x, y)), (x, y))
    return all((far_x - x) * (b - y) == (far_y - y) * (a - x) for a, b in points)


def _form(value: Any) -> str | None:
    """The one form of region whose fields are given; None for a mixture and for none."""
    names = (
        value
        if isinstance(value, Mapping)
        else vars(value)
        if isinstance(value, RequestModel)
        else ()
    )
    forms = {_FORMS[name] for name in names if name in _FORMS}
    return forms.pop() if len(forms) == 1 else None


Roi = Annotated[
    Annotated[Rectangle, Tag("rectangle")]
    | Annotated[Polygon, Tag("polygon")]
    | Annotated[Percent, Tag("pct")],
    Discriminator(
        _form,
        custom_error_type="roi_form",
        custom_error_message="give x, y, width and height, or polygon, or pct: one of the three forms of a region",
    ),
]
