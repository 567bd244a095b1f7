"""The card of an algorithm: what the API and the workers know of it without loading it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ClassCard(BaseModel):
    """One class of the objects or tiles that an algorithm finds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    color: str = Field(pattern=r"^#[0-9a-f]{6}$", description="hex, as viewers draw it")
    annotation_type: str = Field(description="its annotation type at Techcyte")
    title: str = Field(default="", description="its name in QuPath and for people; empty = `name`")
    background: bool = Field(default=False, description="what is of this class is no finding")

    @property
    def label(self) -> str:
        """Return the name of the class that people see."""
        return self.title or self.name


Output = Literal["tiles", "mask", "objects", "embeddings", "slide", "report"]
"""What an algorithm answers: a class for each tile, a class for each pixel, single objects, a
vector for each tile, a class for the whole slide, or what it draws and writes by itself."""


class AlgorithmCard(BaseModel):
    """What can be ordered. The workers announce it, the API shows it and checks orders with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")
    version: str
    digest: str = Field(description="sha256 of the code or weights that make the result")
    title: str
    description: str
    output: Output
    mpp: float | None = Field(
        default=None, gt=0, description="microns per pixel it works at; None reads no pixels"
    )
    mpp_tolerance: float = Field(
        default=4 / 3,
        ge=1,
        description="a slide that is coarser than `mpp` by more than this factor has a warning",
    )
    tile_px: int = Field(
        default=1024, gt=0, description="edge of a tile without its halo, at `mpp`"
    )
    halo_px: int = Field(default=0, ge=0, description="context read around a tile, at `mpp`")
    overlap_px: int = Field(
        default=0, ge=0, description="by how much neighbouring tiles overlap, at `mpp`"
    )
    whole_file: bool = Field(
        default=False,
        description="whether it is given the slide's own file, which is then fetched whole",
    )
    tissue_only: bool = Field(default=True, description="whether tiles without tissue are left out")
    stains: tuple[str, ...] = Field(
        default=(), description="stains that it works on, such as H-DAB; empty = not stated"
    )
    classes: tuple[ClassCard, ...]
    measurements: tuple[str, ...] = Field(
        default=(), description="what is measured on each object, with the unit in the name"
    )
    parameters: dict[str, Any] = Field(
        description="JSON schema (2020-12) of the order's `parameters`"
    )
    tolerance: float = Field(
        default=0,
        ge=0,
        le=1,
        description="by how much half precision may change a probability; 0 = not at all",
    )
    queue: str = Field(
        default="gpu", pattern=r"^[a-z][a-z0-9-]{0,31}$", description="queue its scans wait on"
    )
    time_limit_s: float = Field(
        default=7200, gt=0, description="longest a scan may take to classify"
    )
    stall_limit_s: float = Field(default=300, gt=0, description="longest without a finished tile")
    ruo: bool = Field(default=True, description="research use only")
    report: dict[str, Any] = Field(
        default_factory=lambda: {"type": "Basic"},
        description="the report type at Techcyte, and which classes it counts",
    )
    encoder: str = Field(
        default="", description="name of the network whose embeddings it works on; empty = none"
    )
    scope: Literal["scan", "case"] = Field(
        default="scan",
        description="what gets one answer: each scan, or all scans of an order together",
    )
    license: str = ""
    citation: str = ""
    url: str = ""
    authors: tuple[str, ...] = ()

    def with_defaults(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return an order's parameters with the defaults of those that are not given.

        JSON Schema takes 2.0 for an integer, and the algorithm does not: it becomes 2.
        """
        schemas = self.parameters.get("properties", {})
        filled = {
            name: schema["default"] for name, schema in schemas.items() if "default" in schema
        }
        filled |= given
        for name, value in filled.items():
            is_integer = schemas.get(name, {}).get("type") == "integer"
            if is_integer and isinstance(value, float) and value.is_integer():
                filled[name] = int(value)
        return filled

    @property
    def object_classes(self) -> tuple[ClassCard, ...]:
        """Return the classes of the objects in a result.

        There are none where the objects are tiles with a vector each, or with a measurement: the
        classes of an algorithm for slides are those of the slide.
        """
        if self.output in ("embeddings", "slide"):
            return ()
        return self.classes

    @model_validator(mode="before")
    @classmethod
    def _read_an_older_card(cls, given: Any) -> Any:
        """Read a card of an older version, which calls `queue` by the name `lane`."""
        if isinstance(given, dict) and "lane" in given and "queue" not in given:
            renamed = dict(given)
            renamed["queue"] = renamed.pop("lane")
            return renamed
        return given


@dataclass(frozen=True, slots=True)
class Announcement:
    """What one worker says of the algorithms in its settings."""

    cards: tuple[AlgorithmCard, ...] = ()
    """Those that it can run."""
    checking: tuple[str, ...] = ()
    """Names of those that it loads for the first time; nobody knows yet whether they run."""
    unavailable: Mapping[str, str] = field(default_factory=dict)
    """Why it cannot run each of the others, by name."""
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What the authors of each algorithm wrote about it: by its name, then by that of the file."""
