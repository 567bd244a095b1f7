"""How an order says what Techcyte gets of its results besides them, and in which form."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    model_validator,
)

from broker.orders.fields import RequestModel

Features = Literal["outlines", "simplified", "points", "heat_map", "none"]
"""What is drawn of each object: its outline; one of fewer points; its centre; nothing of it, but
contours of where many or likely objects are; nothing at all."""
FeaturesIn = Literal["geojson", "segments", "both"]
"""Where it stands: as annotations, in the segments of a `Basic` report by class, or in both."""
QcFailReasons = Literal["none", "warnings"]
"""`none`: a scan's quality control is left alone. `warnings`: it is what we found of the slide."""

_Word = Annotated[str, Field(min_length=1, max_length=64)]
_Figure = Annotated[str, Field(min_length=1, max_length=200)]


def _is_bool_or_object(value: Any) -> Any:
    if isinstance(value, bool | dict):
        return value
    raise ValueError("true, false or a JSON object is needed")


def _is_text_or_object(value: Any) -> Any:
    if value is None or isinstance(value, str | dict):
        return value
    raise ValueError("a word is needed, or words with the least score of each")


def _is_number_or_text(value: Any) -> Any:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float | str)):
        raise ValueError("a number is needed, or the name of a figure")
    return value


CaseResults = Annotated[
    StrictBool | Annotated[dict[_Figure, JsonValue], Field(max_length=64)],
    BeforeValidator(_is_bool_or_object),
]
"""`caseResults` of a post: true is the answer for the whole case, where the algorithm gives one; an
object is sent as it is."""


class Triage(RequestModel):
    """What the case is set to once its results are there, in the words of Techcyte.

    The score is a number, or the name of a figure in the scans' `summary`, with full stops between
    nested keys, of which the highest of all scans counts. The category is a word, or words with the
    least score of each, of which the highest that is reached counts.
    """

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    category: Annotated[
        _Word | Annotated[dict[_Word, float], Field(min_length=1, max_length=16)] | None,
        Field(validation_alias=AliasChoices("category", "triage_category")),
        BeforeValidator(_is_text_or_object),
    ] = None
    score: Annotated[
        float | _Figure | None,
        Field(validation_alias=AliasChoices("score", "triage_score")),
        BeforeValidator(_is_number_or_text),
    ] = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.category is None and self.score is None:
            raise ValueError("give a category, a score, or both")
        if isinstance(self.category, dict) and self.score is None:
            raise ValueError("categories by score need a score")
        return self
