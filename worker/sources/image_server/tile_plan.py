"""Which boxes of the image are asked for: what reading the order's region touches, cut as the server likes it.

Owns the arithmetic; asks nobody and knows no protocol.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from broker.errors import OrderError
from worker.geometry.frame import Area, Frame
from worker.geometry.mpp import server_properties, spacing
from worker.geometry.roi import read_footprint, resolve_roi
from worker.sources.image_server.image_info import Image, Tiling, unclear
from worker.sources.request import FetchRequest

MAX_PIECES: Final = 20_000
_PIECE_PX: Final = 1024
_TILE_PX: Final = 2**24
_LARGEST_PX: Final = 4096  # iipsrv makes what is larger than 5000 px smaller, and does not say so


def wanted(image: Image, errand: FetchRequest) -> Area:
    """The box that must be near.

    Raises `OrderError`: `roi_outside_slide`, `mpp_missing`.
    """
    mpp_x, mpp_y, source = spacing(server_properties(image.mpp_x, image.mpp_y), errand.mpp)
    frame = Frame(image.width, image.height, mpp_x, mpp_y, source)
    return read_footprint(resolve_roi(errand.roi, frame), frame, errand.card)


def cut(image: Image, within: Area, largest_px: tuple[int, int] | None = None) -> tuple[Area, ...]:
    """Boxes that cover `within`, row by row, none larger than the server gives or `largest_px` (width, height).

    Raises `OrderError`: `input_too_large` for more boxes than are asked for, `slide_unreadable` for impossible tiles.
    """
    tiling = image.tiling
    if largest_px and not tiling.fixed:
        # Shaped, for the smaller answer may have been the whole slide.
        tiling = replace(
            tiling, max_width_px=largest_px[0], max_height_px=largest_px[1], shaped=True
        )
    width, height = _fixed(tiling) if tiling.fixed else _free(tiling)
    columns = range(within.x // width, -(-(within.x + within.width) // width))
    rows = range(within.y // height, -(-(within.y + within.height) // height))
    if len(columns) * len(rows) > MAX_PIECES:
        raise _too_many(len(columns) * len(rows), width, height)
    whole = Area(0, 0, image.width, image.height)
    tiles = (
        Area(column * width, row * height, width, height) for row in rows for column in columns
    )
    if tiling.fixed:
        return tuple(_grown(_inside(tile, whole), tiling.overlap_px, whole) for tile in tiles)
    boxes = (_inside(tile, within) for tile in tiles)
    return tuple(
        part for box in boxes for part in (_told_apart(box, whole) if tiling.shaped else (box,))
    )


def _fixed(tiling: Tiling) -> tuple[int, int]:
    edges = tiling.tile_width_px, tiling.tile_height_px
    if (edges[0] + 2 * tiling.overlap_px) * (edges[1] + 2 * tiling.overlap_px) > _TILE_PX:
        raise unclear(
            f"it gives tiles of {edges[0]} x {edges[1]} px only; at most {_TILE_PX} pixels are taken at a time"
        )
    return edges


def _free(tiling: Tiling) -> tuple[int, int]:
    """Width and height of a piece: whole tiles where they fit, so that the server decodes none twice."""
    width = _edge(tiling.tile_width_px, tiling.max_width_px)
    height = _edge(tiling.tile_height_px, tiling.max_height_px)
    if tiling.max_area_px2 and width * height > tiling.max_area_px2:
        width = min(width, tiling.max_area_px2)
        height = _edge(tiling.tile_height_px, tiling.max_area_px2 // width)
    return width, height


def _edge(tile_px: int, max_px: int) -> int:
    most = min(_LARGEST_PX, max_px or _LARGEST_PX)
    good = min(most, max(_PIECE_PX, tile_px))
    return good // tile_px * tile_px if 0 < tile_px <= good else min(most, _PIECE_PX)


def _told_apart(box: Area, whole: Area) -> Iterator[Area]:
    """Halves of a box that has the slide's own shape: the answer for it would not differ from the whole slide's."""
    if (
        box == whole
        or abs(box.width * whole.height / whole.width - box.height) > 1.5
        or box.width == box.height == 1
    ):
        yield box
    elif box.height > 1:
        half = box.height // 2
        yield replace(box, height=half)
        yield replace(box, y=box.y + half, height=box.height - half)
    else:
        half = box.width // 2
        yield replace(box, width=half)
        yield replace(box, x=box.x + half, width=box.width - half)


def _inside(box: Area, outer: Area) -> Area:
    left, top = max(box.x, outer.x), max(box.y, outer.y)
    right = min(box.x + box.width, outer.x + outer.width)
    bottom = min(box.y + box.height, outer.y + outer.height)
    return Area(left, top, right - left, bottom - top)


def _grown(box: Area, margin_px: int, outer: Area | Frame) -> Area:
    """The box and a margin around it, as far as the slide goes."""
    grown = Area(
        box.x - margin_px, box.y - margin_px, box.width + 2 * margin_px, box.height + 2 * margin_px
    )
    return _inside(grown, Area(0, 0, outer.width, outer.height))


def _too_many(pieces: int, width: int, height: int) -> OrderError:
    return OrderError(
        "input_too_large",
        f"The region takes {pieces} answers of {width} x {height} px; at most {MAX_PIECES} are asked for",
        hint="order a smaller region, or give the slide itself by url",
        field="roi",
    )
