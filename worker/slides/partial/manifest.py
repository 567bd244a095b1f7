"""The manifest of a partial slide: the files that hold it, and the box that may be read.

Knows neither how the files were fetched nor how they are read.

    {"slidelane": 1, "kind": "ranges", "file": "slide.tif", "within": [0, 0, 9, 9],
     "levels": [[99, 99], [50, 50]]}
    {"slidelane": 1, "kind": "pieces", "width": 9, "height": 9, "mpp_x": null, "mpp_y": null,
     "within": [0, 0, 9, 9], "pieces": [{"file": "p0001.png", "box": [0, 0, 9, 9]}],
     "server": "iiif 3"}
"""

import json
import math
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
)

from broker.orders.fields import MAX_COORDINATE
from worker.geometry.frame import Area
from worker.slides.errors import DamagedManifestError

NAME: Final = "slide.json"
"""The name of the manifest's own file."""
MARK: Final = b'{"slidelane": 1, '
"""The bytes with which every manifest begins."""
MAX_PIECES: Final = 100_000
MAX_LEVELS: Final = 256
_MAX_BYTES: Final = 2**24
_MARGIN_PX: Final = 4  # of each level: resampling reads a little beyond the requested region
_Corner = Annotated[int, Field(ge=0, le=MAX_COORDINATE, strict=True)]
_Edge = Annotated[int, Field(ge=1, le=MAX_COORDINATE, strict=True)]
_BOX: Final[TypeAdapter[tuple[int, int, int, int]]] = TypeAdapter(
    tuple[_Corner, _Corner, _Edge, _Edge]
)


def _parse_box(value: Any) -> Area:
    if isinstance(value, Area):
        return value
    return Area(*_BOX.validate_python(value))


def _dump_box(area: Area) -> list[int]:
    return [area.x, area.y, area.width, area.height]


Box = Annotated[Area, BeforeValidator(_parse_box), PlainSerializer(_dump_box)]
"""A half-open box in level-0 pixels, stored as x, y, width, height."""
PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")]
"""The name of a file beside the manifest."""
_Mpp = Annotated[float, Field(gt=0)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Ranges(_Model):
    """A sparse file of the slide's full length.

    It holds the bytes that reading the box `within` needs on these `levels`, and holes elsewhere.
    """

    slidelane: Literal[1] = 1
    kind: Literal["ranges"] = "ranges"
    file: PlainName
    within: Box
    levels: Annotated[tuple[tuple[_Edge, _Edge], ...], Field(min_length=1, max_length=MAX_LEVELS)]


class Piece(_Model):
    """One image of the slide, with exactly as many pixels as its box."""

    file: PlainName
    box: Box


class Pieces(_Model):
    """Images of a slide of `width` x `height` level-0 pixels that together cover `within`."""

    slidelane: Literal[1] = 1
    kind: Literal["pieces"] = "pieces"
    width: _Edge
    height: _Edge
    mpp_x: _Mpp | None = None
    mpp_y: _Mpp | None = None
    within: Box
    pieces: Annotated[tuple[Piece, ...], Field(min_length=1, max_length=MAX_PIECES)]
    server: Annotated[str, Field(max_length=100)]


def filled(
    within: Area, full: tuple[int, int], level: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom, in pixels of a level, of what a sparse file has of it.

    `full` and `level` are the sizes of level 0 and of the level.
    """
    scale_x = full[0] / level[0]
    scale_y = full[1] / level[1]
    left = within.x / scale_x
    right = (within.x + within.width) / scale_x
    top = within.y / scale_y
    bottom = (within.y + within.height) / scale_y
    return (
        max(0, math.floor(left) - _MARGIN_PX),
        max(0, math.floor(top) - _MARGIN_PX),
        min(level[0], math.ceil(right) + _MARGIN_PX),
        min(level[1], math.ceil(bottom) + _MARGIN_PX),
    )


_Either = Annotated[Ranges | Pieces, Field(discriminator="kind")]
_MANIFEST: Final[TypeAdapter[Ranges | Pieces]] = TypeAdapter(_Either)


def dumped(manifest: Ranges | Pieces) -> bytes:
    """Return the bytes of the manifest's file."""
    return json.dumps(manifest.model_dump(mode="json")).encode()


def read(path: Path) -> Ranges | Pieces:
    """Return the manifest in this file. Raises `UnreadableSlideError`."""
    with path.open("rb") as file:
        text = file.read(_MAX_BYTES + 1)
    if len(text) > _MAX_BYTES:
        raise DamagedManifestError(NAME, f"it has more than {_MAX_BYTES} bytes")
    try:
        return _MANIFEST.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        location = ".".join(map(str, first["loc"]))
        raise DamagedManifestError(NAME, f"{location}: {first['msg']}") from None
