"""The keys of model.json, for each output of a network. docs/algorithms.md describes them.

The published schema, slidelane/model.schema.json, is made of these classes.
"""

from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    model_validator,
)
from pydantic_core import PydanticCustomError

from worker.algorithms.model_folder.wsinfer import (
    MOST_CLASSES,
    ClassName,
    Three,
    WSInferClassKeys,
    WSInferPixelKeys,
)
from worker.algorithms.output_settings import (
    EmbeddingsSettings,
    MaskSettings,
    ObjectsSettings,
    SlideSettings,
    TilesSettings,
)

Activation = Literal["auto", "softmax", "sigmoid", "none"]
Place = Annotated[int, Field(strict=True, ge=0, le=1000)] | Annotated[str, Field(min_length=1)]
"""Where a role is in an answer: a number in a tuple or list, a name in a dictionary."""
_Section = TypeVar("_Section", bound=BaseModel)
_MOST_CHARS: Final = 2000
_Text = Annotated[str, Field(max_length=_MOST_CHARS)]


_CONFIG: Final = ConfigDict(
    frozen=True,
    extra="forbid",
    allow_inf_nan=False,
    hide_input_in_errors=True,
    json_schema_extra={"patternProperties": {"^x_": True}},
)


class _Strict(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )


class ClassEntry(_Strict):
    """One class of a network; the order of the list is that of its channels."""

    name: ClassName
    title: str = Field("", max_length=200, description="for people; empty = `name`")
    color: str | None = Field(
        None, pattern=r"^#[0-9a-fA-F]{6}$", description="null = one that colour-blind people tell"
    )
    annotation_type: str | None = Field(
        None, min_length=1, max_length=200, description="its name at Techcyte; null = `name`"
    )
    background: bool = Field(False, description="what is of this class is no finding")


def _entry_of_name(given: object) -> object:
    if isinstance(given, str):
        return {"name": given}
    return given


Class = Annotated[
    ClassEntry, BeforeValidator(_entry_of_name, json_schema_input_type=ClassEntry | ClassName)
]


class MeanStd(_Strict):
    """Samples are made (sample - mean) / std, for each channel."""

    mean: Three
    std: Three

    @model_validator(mode="after")
    def _is_no_division_by_0(self) -> Self:
        if 0 in self.std:
            raise _problem("a std of 0 divides by 0")
        return self


class Percentiles(_Strict):
    """Samples are made (sample - low) / (high - low), with percentiles of the scan's tissue."""

    percentiles: tuple[Annotated[float, Field(ge=0, le=100)], Annotated[float, Field(ge=0, le=100)]]
    clip: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.percentiles[0] >= self.percentiles[1]:
            raise _problem("percentiles: the first must be less than the second")
        if self.clip is not None and self.clip[0] >= self.clip[1]:
            raise _problem("clip: the first must be less than the second")
        return self


def _kind_of_normalization(given: object) -> str:
    if isinstance(given, Percentiles) or (isinstance(given, dict) and "percentiles" in given):
        return "~percentiles"
    return "~mean_std"


Normalize = Annotated[
    Annotated[MeanStd, Tag("~mean_std")] | Annotated[Percentiles, Tag("~percentiles")],
    Discriminator(_kind_of_normalization),
]


class _EveryModel(WSInferClassKeys):
    """The keys of every output."""

    model_config = _CONFIG

    schema_: str | None = Field(None, alias="$schema", description="address of this schema")
    slidelane: Literal[1] | None = Field(
        None, description="1; needed, except in a WSInfer config of spec_version 1.0"
    )
    file: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="name of the network's file inside the folder; null = the first of "
        "torchscript_model.pt, model.ts, model.pt2, model.onnx, instanseg.pt that is there",
    )
    sha256: str | None = Field(
        None, pattern=r"^[0-9a-fA-F]{64}$", description="of `file`; another file is refused"
    )
    title: str | None = Field(None, min_length=1, max_length=200)
    description: str | None = Field(None, max_length=_MOST_CHARS)
    version: str | None = Field(
        None, min_length=1, max_length=100, description="null = the first 12 digits of the digest"
    )
    stains: tuple[str, ...] = Field((), max_length=16, description="such as H&E; [] = any")
    ruo: bool = Field(True, description="research use only; said to Techcyte")
    license: _Text = ""
    citation: _Text = ""
    url: _Text = ""
    authors: tuple[Annotated[str, Field(max_length=200)], ...] = Field((), max_length=100)
    activation: Activation = Field(
        "auto",
        description="what makes probabilities of the answers: auto = softmax over two classes and "
        "more, sigmoid of one; none = they are probabilities",
    )
    outputs: dict[str, Place] | None = Field(
        None, description="where in the answer each role is: a number or a name"
    )
    classes: tuple[Class, ...] = Field((), max_length=MOST_CLASSES)
    report: dict[str, Any] = Field(
        default_factory=lambda: {"type": "Basic"}, description="the report type at Techcyte"
    )
    parameters: tuple[str, ...] | None = Field(
        None,
        max_length=50,
        description="keys of the output's own section that an order may set; null = its numbers",
    )
    time_limit_s: float = Field(7200, gt=0, le=10**7, description="longest a scan may take")
    stall_limit_s: float = Field(300, gt=0, le=10**6, description="longest without a finished tile")

    @model_validator(mode="after")
    def _classes_are_told_apart(self) -> Self:
        names = [entry.name for entry in self.classes]
        if len(set(names)) != len(names):
            raise _problem("classes: two have the same name")
        if sum(entry.background for entry in self.classes) > 1:
            raise _problem("classes: at most one may be the background")
        return self


class PixelModel(_EveryModel, WSInferPixelKeys):
    """The keys of every network that is given pixels."""

    model_config = _CONFIG

    mpp: float = Field(ge=0.01, le=100, description="microns per pixel that the network wants")
    mpp_tolerance: float = Field(
        1.25, ge=1, le=100, description="a slide coarser than `mpp` by more has a warning"
    )
    input_px: int = Field(
        ge=32, le=4096, description="edge of the square that the network is given, halo included"
    )
    halo_px: int | None = Field(
        None, ge=0, le=2048, description="rim whose answers are left out; null = by output"
    )
    overlap_px: int = Field(
        0, ge=0, le=4096, description="by how much the squares without halo overlap"
    )
    tissue_only: bool = Field(True, description="whether tiles without tissue are left out")
    channels: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    scale: Literal["unit", "byte", "uint8"] = Field(
        "unit", description="0 to 1, 0 to 255, or 0 to 255 as uint8"
    )
    normalize: Normalize | None = Field(None, description="applied after `scale`, in its units")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        "float32", description="type of the network's input"
    )
    batch: int | None = Field(
        None, ge=1, le=1024, description="exact number of tiles of a call; null = any"
    )

    @model_validator(mode="after")
    def _pixels_are_prepared_once(self) -> Self:
        if self.scale == "uint8" and self.normalize is not None:
            raise _problem("normalize: with scale uint8 the network is given the bytes themselves")
        if self.scale == "uint8" and self.dtype != "float32":
            raise _problem("dtype: with scale uint8 the network is given uint8")
        return self


_NEEDED_PIXEL_KEYS: Final = [
    {"anyOf": [{"required": ["mpp"]}, {"required": ["spacing_um_px"]}]},
    {
        "anyOf": [
            {"required": ["input_px"]},
            {"required": ["patch_size_pixels"]},
            {"required": ["transform"]},
        ]
    },
]
"""In the JSON schema: keys of WSInfer may stand for `mpp` and `input_px`."""


class TilesModel(PixelModel, TilesSettings):
    """A network that says how likely each class is for a tile."""

    output: Literal["tiles"] = "tiles"

    @property
    def settings(self) -> TilesSettings:
        """How probabilities become squares."""
        return _section(self, TilesSettings)


class MaskModel(PixelModel, MaskSettings):
    """A network that says how likely each class is for every pixel."""

    output: Literal["mask"]

    @property
    def settings(self) -> MaskSettings:
        """How probabilities become polygons."""
        return _section(self, MaskSettings)


class ObjectsModel(PixelModel, ObjectsSettings):
    """A network that finds single objects."""

    output: Literal["objects"]
    style: Literal["labels", "centres", "boxes"] = Field(description="what the network answers")

    @property
    def settings(self) -> ObjectsSettings:
        """How answers become objects."""
        return _section(self, ObjectsSettings)


class EmbeddingsModel(PixelModel, EmbeddingsSettings):
    """A network that answers a vector for each tile."""

    output: Literal["embeddings"]

    @property
    def settings(self) -> EmbeddingsSettings:
        """How answers become vectors."""
        return _section(self, EmbeddingsSettings)


class EncoderName(_Strict):
    """The name of an algorithm that answers embeddings."""

    algorithm: str = Field(min_length=1, max_length=64)


class SlideModel(_EveryModel, SlideSettings):
    """A network that says how likely each class is for a whole slide, from embeddings of tiles."""

    output: Literal["slide"]
    encoder: str | EncoderName = Field(
        description="folder of the network that makes the embeddings, inside this one or beside "
        "it, or the name of an algorithm"
    )

    @property
    def settings(self) -> SlideSettings:
        """How embeddings become one class."""
        return _section(self, SlideSettings)


TileModel = TilesModel | MaskModel | ObjectsModel | EmbeddingsModel
"""A network that is given the pixels of tiles."""
AnyModel = TileModel | SlideModel
MODELS: Final[dict[str, type[AnyModel]]] = {
    "tiles": TilesModel,
    "mask": MaskModel,
    "objects": ObjectsModel,
    "embeddings": EmbeddingsModel,
    "slide": SlideModel,
}


def json_schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of model.json."""
    schema = TypeAdapter[AnyModel](AnyModel).json_schema()
    for definition in schema["$defs"].values():
        required = definition.get("required", [])
        if "input_px" in required:
            definition["required"] = [key for key in required if key not in ("mpp", "input_px")]
            definition["allOf"] = _NEEDED_PIXEL_KEYS
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:slidelane:model.json:1",
        "title": "model.json of Slidelane, version 1",
        **schema,
    }


def _section(model: BaseModel, section: type[_Section]) -> _Section:
    return section.model_validate({key: getattr(model, key) for key in section.model_fields})


def _problem(text: str) -> PydanticCustomError:
    return PydanticCustomError("model_file", "{text}", {"text": text})
