"""The cards of the built-in algorithms and what they accept. Loads no torch: desk and courier read these too."""

import hashlib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from broker.card import Card, ClassCard


class _Parameters(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Ki67Parameters(_Parameters):
    """What an order may set for `ki67`."""

    positive_threshold: Annotated[
        float, Field(gt=0, le=3, description="mean DAB optical density at or above which a nucleus is positive")
    ] = 0.15
    min_nucleus_um2: Annotated[float, Field(ge=1, le=1000, description="smaller objects are no nuclei")] = 8.0
    max_nucleus_um2: Annotated[float, Field(ge=1, le=1000, description="larger objects are no nuclei")] = 400.0
    nuclear_threshold: Annotated[
        float | None, Field(gt=0, le=3, description="optical density of a nucleus; null = found on the slide by Otsu")
    ] = None


class GridParameters(_Parameters):
    """What an order may set for `grid`."""

    rows: Annotated[int, Field(ge=1, le=64)] = 2
    columns: Annotated[int, Field(ge=1, le=64)] = 2


KI67_CLASSES = (
    ClassCard(name="negative", color="#2f6fde", annotation_type="ki67_negative"),
    ClassCard(name="positive", color="#d9480f", annotation_type="ki67_positive"),
)
PARAMETERS: dict[str, type[_Parameters]] = {"ki67": Ki67Parameters, "grid": GridParameters}


def _digest(*names: str) -> str:
    folder = Path(__file__).parent
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in names)).hexdigest()


def _schema(kind: str) -> dict[str, Any]:
    return PARAMETERS[kind].model_json_schema()


def ki67() -> Card:
    """Nuclei on H-DAB slides, each DAB positive or negative."""
    return Card(
        name="ki67",
        version="1.0.0",
        digest=_digest("ki67.py", "stain.py", "nuclei.py"),
        title="Ki-67 labelling index",
        description="Finds nuclei on H-DAB slides by stain separation and counts the DAB positive ones.",
        output="objects",
        mpp=0.5,
        tile_px=1024,
        # farthest look at 0.5 um/px: smoothing 4, background blur 60 and its interpolation 8, nearest marker 2 x 24
        halo_px=128,
        classes=KI67_CLASSES,
        parameters=_schema("ki67"),
    )


def grid() -> Card:
    """The boxes of the Techcyte template, for smoke tests."""
    return Card(
        name="grid",
        version="1.0.0",
        digest=_digest("grid.py"),
        title="Grid",
        description="Divides the area into equal boxes, 2 x 2 unless told otherwise. Reads no pixels; for smoke tests.",
        output="report",
        classes=(ClassCard(name="box", color="#2b8a3e", annotation_type="grid_box"),),
        parameters=_schema("grid"),
    )


CARDS = {"ki67": ki67, "grid": grid}
