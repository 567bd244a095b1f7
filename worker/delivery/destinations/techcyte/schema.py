"""Techcyte's rules for external results as strict models.

One broken scan makes Techcyte reject the whole post, so every body is checked before it is sent.
Source: Techcyte/devkit, `docs/guides/posting-external-model-results`.
"""

from itertools import chain
from math import isfinite
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from broker.errors import OrderError

Name = Annotated[str, Field(min_length=1)]


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

    annotation_type: Name


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


class Results(BaseModel):
    """Shown with the scan and returned by `case_evaluations`; further fields are allowed."""

    model_config = ConfigDict(
        strict=True, extra="allow", allow_inf_nan=False, hide_input_in_errors=True
    )

    summary: str
    order_id: Name


class ReportLine(_Rule):
    """One line of a report; a number is written as text."""

    name: Name
    result: str


class Segment(ReportLine):
    """One class of a report."""

    feature_collection: FeatureCollection


class BasicReport(_Rule):
    """The simplest of the report types."""

    type: Literal["Basic"]
    results: list[ReportLine]
    segments: list[Segment]


class Workflow(_Rule):
    """The report, and what the list of cases shows of it (`key`, `value`)."""

    model_name: Name
    provider: Name
    ruo: bool
    key: Name
    value: str
    report: BasicReport


class ScanResult(_Rule):
    """One scan.

    `qcFailReasons` is not sent: an empty list would record a passed check that was never made.
    """

    scanId: Name  # noqa: N815 - their name
    results: Results
    geojson: FeatureCollection
    workflow: Workflow


class ExternalResults(_Rule):
    """The body of `POST /api/v3/external/results/{task_id}`."""

    scanResults: Annotated[list[ScanResult], Field(min_length=1)]  # noqa: N815 - their name

    @model_validator(mode="after")
    def _each_scan_once(self) -> Self:
        ids = [scan.scanId for scan in self.scanResults]
        if len(set(ids)) < len(ids):
            raise ValueError("a scan is there twice")
        return self


def check_body(body: bytes) -> None:
    """Raise `OrderError("parcel_invalid")` if Techcyte would reject the body."""
    _check(ExternalResults, body)


def check_features(features: bytes) -> None:
    """Raise `OrderError("parcel_invalid")` for features, separated by commas, that break a rule."""
    _check(FeatureCollection, b'{"type":"FeatureCollection","features":[' + features + b"]}")


def _check(model: type[_Rule], body: bytes) -> None:
    try:
        model.model_validate_json(body)
    except ValidationError as error:
        hint = "this is a fault of the algorithm or of Slidelane"
        raise OrderError("parcel_invalid", _summary(error), hint=hint) from None


def _summary(error: ValidationError) -> str:
    """Return the number of broken rules and the first three of them."""
    faults: list[Any] = error.errors(include_url=False, include_input=False, include_context=False)
    first = "; ".join(f"{_place(fault)}: {fault['msg']}" for fault in faults[:3])
    return f"the results break {len(faults)} of Techcyte's rules: {first}"


def _place(fault: dict[str, Any]) -> str:
    return ".".join(map(str, fault["loc"])) or "body"
