"""Techcyte's rules for what a program of a site posts, as lenient as Techcyte itself.

`worker.results.techcyte_rules.body` holds what we send to more than this. Source: Techcyte/devkit,
`docs/guides/posting-external-model-results`.
"""

from typing import Annotated, Any, Final

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from broker.orders.report_type import OUTPUTS
from worker.results.techcyte_rules.posted_features import check_annotation, check_feature

_FAULTS_SHOWN: Final = 3
_TRIAGE_CHARS: Final = 200


class PostRefusedError(ValueError):
    """What was posted breaks a rule; the message names its place."""


def parse_posted(body: bytes) -> dict[str, Any]:
    """Return the body of a results post, as it is. Raise `PostRefusedError`."""
    try:
        posted = orjson.loads(body)  # refuses NaN, and JSON that is nested too deeply
    except orjson.JSONDecodeError as error:
        raise PostRefusedError(f"the body is no JSON: {error}") from None
    check_posted(posted)
    return dict(posted)


def check_posted(posted: Any) -> None:
    """Raise `PostRefusedError` for JSON values that Techcyte would refuse as results."""
    _check(_Post, posted)


def check_triage(body: bytes) -> dict[str, Any]:
    """Return the fields of a triage request. Raise `PostRefusedError`."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise PostRefusedError(f"the body is no JSON: {error}") from None
    _check(_Triage, fields)
    return dict(fields)


def _check(model: type[BaseModel], value: Any) -> None:
    try:
        model.model_validate(value)
    except ValidationError as error:
        faults: list[Any] = error.errors(include_url=False, include_input=False)
        shown = "; ".join(
            f"{_place(fault['loc'])}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in faults[:_FAULTS_SHOWN]
        )
        if len(faults) > _FAULTS_SHOWN:
            shown = f"{shown}; and {len(faults) - _FAULTS_SHOWN} more"
        raise PostRefusedError(shown) from None


def _place(loc: tuple[Any, ...]) -> str:
    """Return a place as people write it: scanResults[0].geojson."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}"
    return text.removeprefix(".") or "body"


class _Rule(BaseModel):
    """What is not named here is free."""

    model_config = ConfigDict(
        strict=True, extra="ignore", allow_inf_nan=False, hide_input_in_errors=True
    )


def _annotation(feature: Any) -> Any:
    check_annotation(feature)
    return feature


def _feature(feature: Any) -> Any:
    check_feature(feature)
    return feature


_Annotation = Annotated[Any, AfterValidator(_annotation)]
"""A feature of the top level: each has an `annotation_type`."""
_Feature = Annotated[Any, AfterValidator(_feature)]
_Text = str | None


def _is_collection(kind: str) -> str:
    if kind != "FeatureCollection":
        raise ValueError("must be FeatureCollection")
    return kind


class _Annotations(_Rule):
    type: Annotated[str, AfterValidator(_is_collection)]
    features: list[_Annotation]


class _Collection(_Rule):
    type: Annotated[str, AfterValidator(_is_collection)]
    features: list[_Feature]


class _Line(_Rule):
    name: str
    result: str


class _Segment(_Line):
    feature_collection: _Collection | None = None


class _Point(_Rule):
    x: float
    y: float
    score: float
    type: str


class _Box(_Rule):
    x: float
    y: float
    width: float
    height: float


class _Basic(_Rule):
    results: list[_Line] | None = None
    segments: list[_Segment] | None = None


class _Counting(_Rule):
    objects: list[_Box]
    regions: list[_Feature]


class _Scores(_Rule):
    scores: dict[str, float]
    points: list[_Point]


class _WholeSlide(_Scores):
    positivity_threshold: float


class _AreaRegion(_Rule):
    region: _Feature
    weight: float
    score: float
    points: list[_Point]


class _Area(_Rule):
    scores: dict[str, float]
    positivity_threshold: float
    regions: list[_AreaRegion]


class _Count(_Rule):
    label: str
    count: int


class _Threshold(_Rule):
    tumor_cellularity: float
    counts: list[_Count]
    region: _Feature
    area: float


class _Cellularity(_Rule):
    threshold_map: dict[str, _Threshold]


_REPORTS: Final[dict[str, type[BaseModel]]] = {
    "Basic": _Basic,
    "RegionCounting": _Counting,
    "AiMitosisCounting": _Counting,
    "WholeSlideDifferential": _WholeSlide,
    "AreaDifferential": _Area,
    "SemiQuantitativeDifferential": _Scores,
    "TumorCellularity": _Cellularity,
}


def _report(report: dict[str, Any]) -> dict[str, Any]:
    kind = report.get("type")
    if kind not in _REPORTS:
        known = ", ".join(OUTPUTS)
        raise ValueError(f"{kind!r} is no report type; there are: {known}")
    try:
        _check(_REPORTS[kind], report)
    except PostRefusedError as error:
        raise ValueError(str(error)) from None
    return report


class _Workflow(_Rule):
    model_name: _Text = None
    provider: _Text = None
    ruo: bool | None = None
    key: _Text = None
    value: _Text = None
    report: Annotated[dict[str, Any], AfterValidator(_report)] | None = None


class _Results(_Rule):
    summary: str = ""


class _Scan(_Rule):
    scanId: Annotated[str, Field(min_length=1)]  # noqa: N815 - their name
    results: _Results | None = None
    qcFailReasons: list[str] | None = None  # noqa: N815 - their name
    geojson: _Annotations | None = None
    workflow: _Workflow | None = None


class _Post(_Rule):
    scanResults: Annotated[list[_Scan], Field(min_length=1)]  # noqa: N815 - their name
    caseResults: dict[str, Any] | None = None  # noqa: N815 - their name


class _Triage(BaseModel):
    model_config = ConfigDict(
        strict=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )

    triage_category: Annotated[str, Field(max_length=_TRIAGE_CHARS)] | None = None
    triage_score: float | None = None
