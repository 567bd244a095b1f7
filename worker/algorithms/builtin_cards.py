"""The cards of the built-in algorithms and the parameters that they take. Loads no torch."""

import hashlib
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from broker.orders.algorithm_card import AlgorithmCard, ClassCard
from broker.orders.stains import H_DAB, OnMismatch

JSON_SCHEMA = "https://json-schema.org/draft/2020-12/schema"


class _Parameters(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )


class StainParameters(_Parameters):
    """The parameters of every algorithm whose card names stains."""

    on_stain_mismatch: OnMismatch = Field(
        "fail",
        description="what becomes of a scan whose stain is clearly none of the algorithm's: "
        "it fails, or its result carries a warning, or nothing",
    )


class Ki67Parameters(StainParameters):
    """The parameters of `ki67`."""

    model_config = ConfigDict(
        json_schema_extra={
            "description": "What an order may set on `ki67`. Optical densities are decadic: "
            "-log10 of the transmitted share of light."
        }
    )

    positive_threshold: float = Field(
        0.15,
        ge=0.01,
        le=2,
        description="mean DAB optical density of a nucleus at or above which it is positive",
    )
    haematoxylin_threshold: float | None = Field(
        None,
        ge=0.02,
        le=1,
        description="haematoxylin optical density that tells nuclei from the rest; "
        "null = found by Otsu's method",
    )
    min_nucleus_um2: float = Field(
        10, ge=2, le=80, description="smaller things are no nuclei, in square microns"
    )
    max_nucleus_um2: float = Field(
        300, ge=100, le=314, description="larger things are no nuclei, in square microns"
    )


class NoParameters(_Parameters):
    """What an order may set on an algorithm that takes nothing: the slide alone decides."""


class GridParameters(_Parameters):
    """What an order may set on `grid`."""

    rows: int = Field(2, ge=1, le=64, description="boxes from top to bottom")
    columns: int = Field(2, ge=1, le=64, description="boxes from left to right")


def ki67_card() -> AlgorithmCard:
    """Return the card of `ki67`."""
    return AlgorithmCard(
        name="ki67",
        version="1.0.0",
        digest=_digest("ki67/stain.py", "ki67/nuclei.py", "ki67/outlines.py", "ki67/ki67.py"),
        title="Ki-67 labelling index",
        description="Outlines the nuclei of a haematoxylin-DAB section "
        "and counts how many of them are brown.",
        output="objects",
        mpp=0.5,
        tile_px=1024,
        stains=(H_DAB,),
        halo_px=96,  # a nucleus depends on pixels up to 90 px away: see `ki67.outlines`
        classes=(
            ClassCard(
                name="negative",
                color="#00e5ff",
                annotation_type="ki67_negative",
                title="Negative",
            ),
            ClassCard(
                name="positive",
                color="#ffe600",
                annotation_type="ki67_positive",
                title="Positive",
            ),
        ),
        measurements=("dab_od_mean",),
        parameters=schema(Ki67Parameters),
    )


def grid_card() -> AlgorithmCard:
    """Return the card of `grid`, which tests a route to a destination without a classifier."""
    return AlgorithmCard(
        name="grid",
        version="1.0.0",
        digest=_digest("box_grid.py"),
        title="Grid of boxes",
        description="Divides the area into equal boxes, without reading a pixel.",
        output="report",
        classes=(ClassCard(name="box", color="#2e8b57", annotation_type="box"),),
        parameters=schema(GridParameters),
    )


def schema(parameters: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of an algorithm's parameters, which the caller may change."""
    return {"$schema": JSON_SCHEMA} | deepcopy(_schema(parameters))


@cache
def _schema(parameters: type[BaseModel]) -> dict[str, Any]:
    """Return the schema as pydantic makes it; every scan asks for it, and it takes 2 ms."""
    return parameters.model_json_schema()


def _digest(*sources: str) -> str:
    """Return a digest of these files of this package: the source of an algorithm."""
    folder = Path(__file__).parent
    contents = [(folder / name).read_bytes() for name in sources]
    return hashlib.sha256(b"\0".join(contents)).hexdigest()
