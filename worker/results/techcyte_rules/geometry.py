"""Techcyte's rules for features, as strict models.

Source: Techcyte/devkit, `docs/guides/posting-external-model-results`.
"""

from itertools import chain
from math import isfinite
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _is_ring(points: list[Any]) -> list[Any]:
    """Return the points if they are a closed ring of finite [x, y]; raise `ValueError` if not.

    A pydantic model of a point takes seven times as long, and a slide has 100,000 rings.
    """
    if set(map(type, points)) != {list} or set(map(len, points)) != {2}:
        raise ValueError("a ring is a list of [x, y]")
    numbers = list(chain.from_iterable(points))
    if not set(map(type, numbers)) <= {int, float} or not all(map(isfinite, numbers)):
        raise ValueError("a coordinate is a finite number")
    if points[0] != points[-1]:
        raise ValueError("the ring is not closed")
    return points


Ring = Annotated[list[Any], Field(min_length=4), AfterValidator(_is_ring)]
"""(x, y) in level-0 pixels; the last point repeats the first."""


class _Rule(BaseModel):
    model_config = ConfigDict(
        strict=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )


class Polygon(_Rule):
    """One closed ring, without holes, in level-0 pixels."""

    type: Literal["Polygon"]
    coordinates: Annotated[list[Ring], Field(min_length=1, max_length=1)]


class FeatureProperties(_Rule):
    """A feature without a string `annotation_type` makes Techcyte reject everything."""

    annotation_type: Annotated[str, Field(min_length=1)]


class Feature(_Rule):
    """One object.

    The box is always sent: Techcyte computes a missing one for some geometries only.
    """

    type: Literal["Feature"]
    bbox: tuple[float, float, float, float]
    geometry: Polygon
    properties: FeatureProperties

    @model_validator(mode="after")
    def _box_has_area(self) -> Self:
        left, top, right, bottom = self.bbox
        if not (left < right and top < bottom):
            raise ValueError("bbox is [xmin, ymin, xmax, ymax] with the smaller first")
        return self


class FeatureCollection(_Rule):
    """The objects of one scan."""

    type: Literal["FeatureCollection"]
    features: list[Feature]
