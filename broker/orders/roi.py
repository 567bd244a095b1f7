"""The region of a slide that is to be classified.

Coordinates are level-0 pixels: x to the right, y down, origin at the top left of the full canvas.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, Tag, model_validator

from broker.orders.fields import MAX_COORDINATE, Coordinate, Length, RequestModel

_Position = Annotated[float, Field(ge=0, le=MAX_COORDINATE)]
_Percent = Annotated[float, Field(ge=0, le=100)]
_Share = Annotated[float, Field(gt=0, le=100)]
_FORM_OF_FIELD = {
    "x": "rectangle",
    "y": "rectangle",
    "width": "rectangle",
    "height": "rectangle",
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
    """The inside of a simple polygon; its last point is joined to its first."""

    polygon: Annotated[
        tuple[tuple[_Position, _Position], ...], Field(min_length=3, max_length=10_000)
    ]

    @model_validator(mode="after")
    def _encloses_something(self) -> Self:
        if _on_one_line(self.polygon):
            raise ValueError("the polygon encloses nothing: its points lie on one line")
        return self


class Percent(RequestModel):
    """A half-open box x, y, width, height in percent of the slide's size, as IIIF's `pct:`."""

    pct: tuple[_Percent, _Percent, _Share, _Share]


def _on_one_line(points: Sequence[tuple[float, float]]) -> bool:
    """Return whether all points are on one straight line, by exact cross products."""
    x, y = points[0]
    far_x, far_y = next((point for point in points if point != (x, y)), (x, y))
    return all((far_x - x) * (b - y) == (far_y - y) * (a - x) for a, b in points)


def _form(value: Any) -> str | None:
    """Return the form of region whose fields are given, or None for a mixture and for none."""
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
    | Annotated[Percent, Tag("pct")],
    Discriminator(
        _form,
        custom_error_type="roi_form",
        custom_error_message="give x, y, width and height, or polygon, or pct: "
        "one of the three forms of a region",
    ),
]
