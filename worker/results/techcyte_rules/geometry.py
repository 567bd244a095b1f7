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


def _has_area(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    if not (left < right and top < bottom):
        raise ValueError("bbox is [xmin, ymin, xmax, ymax] with the smaller first")
    return box


Box = Annotated[tuple[float, float, float, float], AfterValidator(_has_area)]
Color = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]


class Feature(_Rule):
    """One object.

    The box is always sent: Techcyte computes a missing one for some geometries only.
    """

    type: Literal["Feature"]
    bbox: Box
    geometry: Polygon
    properties: FeatureProperties


class FeatureCollection(_Rule):
    """The objects of one scan."""

    type: Literal["FeatureCollection"]
    features: list[Feature]


class SegmentProperties(_Rule):
    """How the features of a segment are called and drawn."""

    name: Annotated[str, Field(min_length=1)]
    color: Color


class SegmentFeature(_Rule):
    """One object of a segment; it needs no box."""

    type: Literal["Feature"]
    geometry: Polygon
    properties: SegmentProperties


class SegmentFeatures(_Rule):
    """Some objects of one segment."""

    items: list[SegmentFeature]


class MultiPoint(_Rule):
    """The centres of objects, in level-0 pixels."""

    type: Literal["MultiPoint"]
    coordinates: Annotated[list[tuple[float, float]], Field(min_length=1)]


class Contour(_Rule):
    """An outline and its holes, in level-0 pixels."""

    type: Literal["Polygon"]
    coordinates: Annotated[list[Ring], Field(min_length=1)]


class Contours(_Rule):
    """The contours of a heat map."""

    type: Literal["GeometryCollection"]
    geometries: Annotated[list[Contour], Field(min_length=1)]


class HeatMapProperties(FeatureProperties):
    """The colour of each contour, in their order."""

    contour_colors: list[Color]


class HeatMapFeature(_Rule):
    """A heat map, whose box Techcyte does not compute."""

    type: Literal["Feature"]
    bbox: Box
    geometry: Contours
    properties: HeatMapProperties

    @model_validator(mode="after")
    def _every_contour_has_a_color(self) -> Self:
        if len(self.geometry.geometries) != len(self.properties.contour_colors):
            raise ValueError("contour_colors has one colour for each contour")
        return self


class PointsFeature(_Rule):
    """Many objects by their centres; as an annotation with a type and a box."""

    type: Literal["Feature"]
    bbox: Box | None = None
    geometry: MultiPoint
    properties: FeatureProperties | SegmentProperties

    @model_validator(mode="after")
    def _an_annotation_has_a_box(self) -> Self:
        if isinstance(self.properties, FeatureProperties) and self.bbox is None:
            raise ValueError("bbox is missing: Techcyte computes none for points")
        return self


class Drawing(_Rule):
    """One feature that stands for many objects."""

    feature: HeatMapFeature | PointsFeature
