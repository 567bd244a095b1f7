"""What every model of an algorithm's parameters has in common. Loads no torch."""

from copy import deepcopy
from functools import cache
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from broker.orders.stains import OnMismatch

JSON_SCHEMA: Final = "https://json-schema.org/draft/2020-12/schema"


class NoParameters(BaseModel):
    """What an order may set on an algorithm that takes nothing: the slide alone decides."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )


class StainParameters(NoParameters):
    """The parameters of every algorithm whose card names stains."""

    on_stain_mismatch: OnMismatch = Field(
        "fail",
        title="If the stain does not fit",
        description="what becomes of a scan whose stain is clearly none of the algorithm's: "
        "it fails, or its result carries a warning, or nothing",
    )


def schema(parameters: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of an algorithm's parameters, which the caller may change."""
    return {"$schema": JSON_SCHEMA} | deepcopy(_schema(parameters))


@cache
def _schema(parameters: type[BaseModel]) -> dict[str, Any]:
    """Return the schema as pydantic makes it; every scan asks for it, and it takes 2 ms."""
    return parameters.model_json_schema()
