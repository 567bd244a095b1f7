"""The manifest of a slide of which only a part is near: the files that hold it, and the box that may be read.

Owns that file's shape and nothing else: neither how the parts came nor how they are read.

    {"slidelane": 1, "kind": "ranges", "file": "slide.tif", "within": [0, 0, 9, 9], "levels": [[99, 99], [50, 50]]}
    {"slidelane": 1, "kind": "pieces", "width": 9, "height": 9, "mpp_x": null, "mpp_y": null, "within": [0, 0, 9, 9],
     "pieces": [{"file": "p0001.png", "box": [0, 0, 9, 9]}], "server": "iiif 3"}
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

from broker.errors import OrderError
from broker.orders.fields import MAX_COORDINATE
from worker.geometry.frame import Area

NAME: Final = "slide.json"
"""What the manifest's own file is called."""
MARK: Final = b'{"slidelane": 1, '
"""How every manifest begins."""
MAX_PIECES: Final = 100_000
MAX_LEVELS: Final = 256
_MAX_BYTES: Final = 2**24
_MARGIN_PX: Final = 4  # of each level: resampling looks a little beyond what is wanted
_Corner = Annotated[int, Field(ge=0, le=MAX_COORDINATE, strict=True)]
_Edge = Annotated[int, Field(ge=1, le=MAX_COORDINATE, strict=True)]
_EDGES: Final[TypeAdapter[tuple[int, int, int, int]]] = TypeAdapter(
    tuple[_Corner, _Corner, _Edge, _Edge]
)


def _area(value: Any) -> Area:
    return value if isinstance(value, Area) else Area(*_EDGES.validate_python(value))


def _edges(area: Area) -> list[int]:
    return [area.x, area.y, area.width, area.height]


Box = Annotated[Area, BeforeValidator(_area), PlainSerializer(_edges)]
"""A half-open box in level-0 pixels; in the file x, y, width, height."""
PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")]
"""The name of a file beside the manifest."""
_Mpp = Annotated[float, Field(gt=0)]


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Ranges(_Shape):
    """A file of the slide's full length: what reading `within` needs of these `levels` is there, the rest are holes."""

    slidelane: Literal[1] = 1
    kind: Literal["ranges"] = "ranges"
    file: PlainName
    within: Box
    levels: Annotated[tuple[tuple[_Edge, _Edge], ...], Field(min_length=1, max_length=MAX_LEVELS)]


class Piece(_Shape):
    """One picture of the slide, of exactly as many pixels as its box."""

    file: PlainName
    box: Box


class Pieces(_Shape):
    """Pictures of parts of a slide of `width` x `height` level-0 pixels that together cover `within`."""

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
    """Left, top, right, bottom, in pixels of a level, of what kind `ranges` has of it; `full`: the size of level 0."""
    scale_x, scale_y = full[0] / level[0], full[1] / level[1]
    left, right = within.x / scale_x, (within.x + within.width) / scale_x
    top, bottom = within.y / scale_y, (within.y + within.height) / scale_y
    return (
        max(0, math.floor(left) - _MARGIN_PX),
        max(0, math.floor(top) - _MARGIN_PX),
        min(level[0], math.ceil(right) + _MARGIN_PX),
        min(level[1], math.ceil(bottom) + _MARGIN_PX),
    )


_Either = Annotated[Ranges | Pieces, Field(discriminator="kind")]
_MANIFEST: Final[TypeAdapter[Ranges | Pieces]] = TypeAdapter(_Either)


def dumped(manifest: Ranges | Pieces) -> bytes:
    """The manifest as the bytes of its file."""
    return json.dumps(manifest.model_dump(mode="json")).encode()


def read(path: Path) -> Ranges | Pieces:
    """The manifest in this file. Raises `OrderError`: `slide_unreadable`."""
    with path.open("rb") as file:
        text = file.read(_MAX_BYTES + 1)
    try:
        if len(text) > _MAX_BYTES:
            raise _unreadable(f"it has more than {_MAX_BYTES} bytes")
        return _MANIFEST.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise _unreadable(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _unreadable(reason: str) -> OrderError:
    hint = "order the slide itself; manifests are written by the fetch alone"
    return OrderError(
        "slide_unreadable",
        f"The manifest {NAME} of a partial slide is damaged: {reason}",
        hint=hint,
    )
