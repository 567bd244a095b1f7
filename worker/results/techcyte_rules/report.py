"""Techcyte's rules for the seven types of reports, as strict models.

Source: Techcyte/devkit, `docs/guides/posting-external-model-results`, "Workflow Report Types". A
type that is not among them makes Techcyte refuse the results of all scans.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from worker.results.techcyte_rules.geometry import FeatureCollection, Ring

Name = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Rule(BaseModel):
    model_config = ConfigDict(
        strict=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )


class ReportLine(_Rule):
    """One line of a report; a number is written as text."""

    name: Name
    result: str


class Segment(ReportLine):
    """One class of a report."""

    feature_collection: FeatureCollection


class Point(_Rule):
    """One object, in level-0 pixels."""

    x: float
    y: float
    score: Share
    type: Name


class Box(_Rule):
    """The box around one object, in level-0 pixels."""

    x: float
    y: float
    width: Annotated[float, Field(gt=0)]
    height: Annotated[float, Field(gt=0)]


class RegionPolygon(_Rule):
    """An outline and its holes, in level-0 pixels."""

    type: Literal["Polygon"]
    coordinates: Annotated[list[Ring], Field(min_length=1)]


class RegionPolygons(_Rule):
    """Several outlines, each with its holes."""

    type: Literal["MultiPolygon"]
    coordinates: Annotated[list[Annotated[list[Ring], Field(min_length=1)]], Field(min_length=1)]


class RegionProperties(_Rule):
    """What a region is called."""

    annotation_type: Literal["region"]
    name: Name


class Region(_Rule):
    """A region in which objects are counted."""

    type: Literal["Feature"]
    bbox: tuple[float, float, float, float]
    geometry: Annotated[RegionPolygon | RegionPolygons, Field(discriminator="type")]
    properties: RegionProperties


class BasicReport(_Rule):
    """Figures as text, and one segment for each class."""

    type: Literal["Basic"]
    results: list[ReportLine]
    segments: list[Segment]


class CountingReport(_Rule):
    """Boxes, and the regions that they are counted in."""

    type: Literal["RegionCounting", "AiMitosisCounting"]
    objects: list[Box]
    regions: list[Region]


class WholeSlideReport(_Rule):
    """Points with scores."""

    type: Literal["WholeSlideDifferential"]
    points: list[Point]
    scores: dict[Name, float]
    positivity_threshold: Share


class DifferentialRegion(_Rule):
    """A region, its share of the whole, its score and the points in it."""

    region: Region
    weight: Share
    score: Share
    points: list[Point]


class AreaReport(_Rule):
    """Points with scores by region."""

    type: Literal["AreaDifferential"]
    regions: list[DifferentialRegion]
    scores: dict[Name, float]
    positivity_threshold: Share


class SemiQuantitativeReport(_Rule):
    """Points with scores, without a threshold."""

    type: Literal["SemiQuantitativeDifferential"]
    points: list[Point]
    scores: dict[Name, float]


class Count(_Rule):
    """How many objects have one label."""

    label: Name
    count: Annotated[int, Field(ge=0)]


class ThresholdResult(_Rule):
    """Tumour cellularity in one region; its area is in square millimetres."""

    tumor_cellularity: Share
    counts: list[Count]
    region: Region
    area: Annotated[float, Field(gt=0)]


class CellularityReport(_Rule):
    """Tumour cellularity by the label of its threshold."""

    type: Literal["TumorCellularity"]
    threshold_map: dict[Name, ThresholdResult]


Report = Annotated[
    BasicReport
    | CountingReport
    | WholeSlideReport
    | AreaReport
    | SemiQuantitativeReport
    | CellularityReport,
    Field(discriminator="type"),
]


class Points(_Rule):
    """Some points of a report."""

    items: list[Point]


class Boxes(_Rule):
    """Some boxes of a report."""

    items: list[Box]
