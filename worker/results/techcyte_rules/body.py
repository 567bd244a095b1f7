"""Techcyte's rules for external results as strict models.

One broken scan makes Techcyte reject the whole post, so every body is checked before it is sent.
Source: Techcyte/devkit, `docs/guides/posting-external-model-results`.
"""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from broker.errors import OrderError
from worker.results.techcyte_rules.geometry import Drawing, FeatureCollection, SegmentFeatures
from worker.results.techcyte_rules.report import Boxes, Points, Report

Name = Annotated[str, Field(min_length=1)]


class _Rule(BaseModel):
    model_config = ConfigDict(
        strict=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )


class Results(BaseModel):
    """Shown with the scan and returned by `case_evaluations`; further fields are allowed."""

    model_config = ConfigDict(
        strict=True, extra="allow", allow_inf_nan=False, hide_input_in_errors=True
    )

    summary: str
    order_id: Name


class Workflow(_Rule):
    """The report, and what the list of cases shows of it (`key`, `value`)."""

    model_name: Name
    provider: Name
    ruo: bool
    key: Name
    value: str
    report: Report


class ScanResult(_Rule):
    """One scan.

    `qcFailReasons` leaves the scan's quality control alone where it is absent; an empty list
    records a pass.
    """

    scanId: Name  # noqa: N815 - their name
    results: Results
    qcFailReasons: list[str] | None = None  # noqa: N815 - their name
    geojson: FeatureCollection
    workflow: Workflow


class FailedScanResult(_Rule):
    """A scan that failed, in an order whose other scans are delivered."""

    scanId: Name  # noqa: N815 - their name
    results: Results


class ExternalResults(_Rule):
    """The body of `POST /api/v3/external/results/{task_id}`.

    `caseResults` is any object; Techcyte gives it back as `caseReport`.
    """

    scanResults: Annotated[  # noqa: N815 - their name
        list[ScanResult | FailedScanResult], Field(min_length=1)
    ]
    caseResults: dict[str, JsonValue] = Field(  # noqa: N815 - their name
        default_factory=dict
    )

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


def check_segment_features(features: bytes) -> None:
    """Raise `OrderError("parcel_invalid")` for features of a segment that break a rule."""
    _check(SegmentFeatures, b'{"items":[' + features + b"]}")


def check_drawing(feature: bytes) -> None:
    """Raise `OrderError("parcel_invalid")` for a feature of points or contours against a rule."""
    _check(Drawing, b'{"feature":' + feature + b"}")


def check_points(points: bytes) -> None:
    """Raise `OrderError("parcel_invalid")` for points of a report that break a rule."""
    _check(Points, b'{"items":[' + points + b"]}")


def check_boxes(boxes: bytes) -> None:
    """Raise `OrderError("parcel_invalid")` for boxes of a report that break a rule."""
    _check(Boxes, b'{"items":[' + boxes + b"]}")


def _check(model: type[BaseModel], body: bytes) -> None:
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
