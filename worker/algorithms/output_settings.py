"""How the answers of a network become results: thresholds, sizes and distances, by output.

These are the keys of model.json that belong to one output, and the `post` of a Python card. Lengths
are microns (`_um`), square microns (`_um2`) or pixels at the `mpp` of the network (`_px`).
docs/algorithms.md describes each.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Share = Annotated[float, Field(ge=0, le=1)]
_NEEDS_CODE: Final = {"hover": "a watershed", "rays": "suppression among polygons"}
"""Styles of objects that no exported network answers whole, and what is missing in it."""


class _Settings(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )


class TilesSettings(_Settings):
    """How probabilities of tiles become classified squares."""

    threshold: Share | None = Field(
        None,
        title="Threshold",
        description="least probability of a class; null = 0.5 for one class, none for several",
    )
    keep_background: bool = Field(
        True, title="Keep background", description="whether squares of no class are delivered"
    )
    multi_label: bool = Field(
        False, description="whether a tile may be of several classes, each with its own sigmoid"
    )
    smooth: int = Field(
        0,
        ge=0,
        le=5,
        title="Smoothing",
        description="tiles on each side over which probabilities are averaged",
    )


class MaskSettings(_Settings):
    """How probabilities of pixels become polygons."""

    output_stride: int = Field(1, ge=1, le=64, description="input pixels for one answered pixel")
    threshold: Share | None = Field(
        None,
        title="Threshold",
        description="least probability of a pixel's class; null = 0.5 for one class, else none",
    )
    min_area_um2: float = Field(
        0, ge=0, le=1e9, title="Smallest area", description="smaller parts are background"
    )
    fill_holes_um2: float = Field(
        0, ge=0, le=1e9, title="Largest filled hole", description="smaller holes are filled"
    )
    simplify_um: float = Field(
        0, ge=0, le=1000, title="Simplification", description="by how much outlines may deviate"
    )


class ObjectsSettings(_Settings):
    """How label maps, heat maps or boxes become single objects."""

    style: Literal["labels", "centres", "boxes"] | None = Field(
        None, description="what the network answers; null for code that answers objects itself"
    )
    output_stride: int = Field(1, ge=1, le=64, description="input pixels for one answered pixel")
    min_area_um2: float = Field(
        0, ge=0, le=1e9, title="Smallest area", description="smaller objects are left out"
    )
    max_area_um2: float | None = Field(
        None, ge=0, le=1e9, title="Largest area", description="larger objects are left out"
    )
    nms_radius_um: float | None = Field(
        None,
        ge=0,
        le=1000,
        title="Least distance",
        description="of two centres nearer than this the one with the higher score stays; "
        "null = object_um / 2 for centres, else 0",
    )
    nms_across_classes: bool = Field(True, description="whether objects of two classes compete")
    nms_iou: Share = Field(
        0.5, title="Largest overlap", description="of boxes, intersection over union; 1 = off"
    )
    threshold: Share | None = Field(
        None,
        title="Threshold",
        description="least score; null = 0 for labels, else 0.5",
    )
    simplify_um: float = Field(
        0, ge=0, le=1000, title="Simplification", description="by how much outlines may deviate"
    )
    object_um: float = Field(
        12.5, gt=0, le=1000, title="Size of a mark", description="edge of the square of a centre"
    )
    layers: tuple[str, ...] = Field((), description="class of each layer of a label map")
    batch_form: Literal["padded", "list"] = Field("padded", description="how boxes are answered")
    box_format: Literal["xyxy", "cxcywh"] = "xyxy"
    box_units: Literal["px", "unit"] = "px"
    label_offset: int = Field(0, ge=0, le=1, description="number of the first class in `labels`")

    @field_validator("style", mode="before")
    @classmethod
    def _refuse_styles_that_need_code(cls, style: Any) -> Any:
        if isinstance(style, str) and style in _NEEDS_CODE:
            raise ValueError(
                f"{style} needs {_NEEDS_CODE[style]}, which no exported network holds; use an "
                'algorithm of the kind "python", or "labels", "centres" or "boxes"'
            )
        return style

    @property
    def least_score(self) -> float:
        """The least score of an object that is kept."""
        if self.threshold is not None:
            return self.threshold
        if self.style in ("centres", "boxes"):
            return 0.5
        return 0.0

    @property
    def least_distance_um(self) -> float:
        """The distance below which two centres compete; 0 = they never do."""
        if self.nms_radius_um is not None:
            return self.nms_radius_um
        if self.style == "centres":
            return self.object_um / 2
        return 0.0

    @property
    def most_iou(self) -> float:
        """The overlap of two boxes above which they compete; 1 = they never do."""
        if self.style == "boxes":
            return self.nms_iou
        return 1.0


class EmbeddingsSettings(_Settings):
    """How what an encoder answers becomes one vector for each tile."""

    pool: Literal["cls", "mean", "cls+mean"] | None = Field(
        None, description="how tokens become one vector; null = the answer is one already"
    )
    prefix_tokens: int = Field(1, ge=0, le=1024, description="tokens before those of patches")
    store: Literal["float32", "float16"] = "float32"
    squares: bool = Field(True, description="whether features.geojson holds the tiles")


class SlideSettings(_Settings):
    """How embeddings become one class for a slide or a case."""

    bag: Literal["1TD", "TD"] = "1TD"
    inputs: tuple[Literal["features", "coords", "patch_size_level0"], ...] = ("features",)
    threshold: Share | None = Field(
        None, title="Threshold", description="least probability of the class; null = 0.5 for one"
    )
    attention_head: int | None = Field(
        None, ge=0, description="row of the attention that is drawn; null = of the class, or mean"
    )
    max_tiles: int | None = Field(
        None, ge=1, title="Most tiles", description="of more, evenly spaced ones are taken"
    )
    scope: Literal["scan", "case"] = Field(
        "scan", description="what is one bag: each scan, or all scans of an order together"
    )


OutputSettings = TilesSettings | MaskSettings | ObjectsSettings | EmbeddingsSettings | SlideSettings
