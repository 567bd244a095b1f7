"""The report that Techcyte shows of a result: which of its seven types, and what it counts.

The types: Techcyte/devkit, `docs/guides/posting-external-model-results`, "Workflow Report Types".
One type that Techcyte does not know makes it refuse the results of all scans, and a type says
nothing true of an output that it was not made for: a report is checked when a card is made.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from broker.orders.algorithm_card import Output

_ClassName = Annotated[str, Field(min_length=1, max_length=200)]


class _Report(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )
    class_key: ClassVar[str] = ""
    """The key that names classes, if there is one."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes of the algorithm that the report names."""
        return ()


class BasicReport(_Report):
    """One line for each figure of the summary, and one segment for each class."""

    type: Literal["Basic"] = "Basic"


class _Counting(_Report):
    hotspots: int = Field(
        1, ge=0, le=10, description="densest squares that are regions; 0 = the area asked for"
    )
    hotspot_mm2: float = Field(2.0, gt=0, le=100, description="size of such a square")


class RegionCounting(_Counting):
    """The boxes of all objects, and the regions that they are counted in."""

    type: Literal["RegionCounting"]


class AiMitosisCounting(_Counting):
    """The same of the objects of one class, the mitoses."""

    class_key: ClassVar[str] = "mitosis"
    type: Literal["AiMitosisCounting"]
    mitosis: _ClassName

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class of mitoses."""
        return (self.mitosis,)


class _Differential(_Report):
    class_key: ClassVar[str] = "positive"
    positive: _ClassName | None = Field(
        None, description="class whose probability is a point's score; null = its own class's"
    )

    @property
    def class_names(self) -> tuple[str, ...]:
        """The positive class."""
        if self.positive is None:
            return ()
        return (self.positive,)


class WholeSlideDifferential(_Differential):
    """A point with a score for each object, tile or polygon of the slide."""

    type: Literal["WholeSlideDifferential"]
    positivity_threshold: float = Field(0.5, ge=0, le=1)


class AreaDifferential(_Differential):
    """The same points, in the area that was asked for."""

    type: Literal["AreaDifferential"]
    positivity_threshold: float = Field(0.5, ge=0, le=1)


class SemiQuantitativeDifferential(_Differential):
    """The same points, without a threshold."""

    type: Literal["SemiQuantitativeDifferential"]


class TumorCellularity(_Report):
    """The share of tumour: of the area for a mask, of the objects else."""

    class_key: ClassVar[str] = "tumor"
    type: Literal["TumorCellularity"]
    tumor: tuple[_ClassName, ...] = Field(min_length=1, description="classes that are tumour")

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes of tumour."""
        return self.tumor


Report = Annotated[
    BasicReport
    | RegionCounting
    | AiMitosisCounting
    | WholeSlideDifferential
    | AreaDifferential
    | SemiQuantitativeDifferential
    | TumorCellularity,
    Field(discriminator="type"),
]
_REPORTS: Final = TypeAdapter[Report](Report)
_PLACES: Final[tuple[Output, ...]] = ("objects", "tiles", "mask")
OUTPUTS: Final[Mapping[str, tuple[Output, ...]]] = {
    "Basic": ("tiles", "mask", "objects", "embeddings", "slide", "report"),
    "RegionCounting": ("objects",),
    "AiMitosisCounting": ("objects",),
    "WholeSlideDifferential": _PLACES,
    "AreaDifferential": _PLACES,
    "SemiQuantitativeDifferential": _PLACES,
    "TumorCellularity": ("mask", "objects"),
}
"""The outputs of which each type says something true."""


def parse_report(given: Mapping[str, Any]) -> Report:
    """Return the report of a card.

    Raises ValueError, which begins with the key that is wrong.
    """
    try:
        return _REPORTS.validate_python(dict(given))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        # the first part of the place is the type itself
        keys = ".".join(map(str, first["loc"][1:])) or "type"
        message = first["msg"]
        if first["type"] == "extra_forbidden":
            message = "there is no such key"
        raise ValueError(f"report.{keys}: {message}") from None


def check_report(given: Mapping[str, Any], output: Output, classes: Sequence[str]) -> None:
    """Raise ValueError for a report that does not go with the output or names no class of it."""
    report = parse_report(given)
    fitting = OUTPUTS[report.type]
    if output not in fitting:
        raise ValueError(
            f"report.type: {report.type} goes with {', '.join(fitting)}; the output is {output}"
        )
    for name in report.class_names:
        if name not in classes:
            raise ValueError(
                f"report.{report.class_key}: there is no class {name!r}; "
                f"there are: {', '.join(classes) or 'none'}"
            )
