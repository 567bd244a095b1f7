"""Which boxes of an image are requested, so that they cover the order's region."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.roi import Roi
from worker.geometry.frame import Area, Frame
from worker.geometry.mpp import server_properties, spacing
from worker.geometry.roi import read_footprint, resolve_roi
from worker.sources.errors import InputTooLargeError
from worker.sources.image_server.image_info import Image, Tiling, UnusableDescriptionError

MAX_BOXES: Final = 20_000
_USUAL_EDGE_PX: Final = 1024
_MAX_EDGE_PX: Final = 4096  # iipsrv reduces what is larger than 5000 px without saying so
_MAX_TILE_PX2: Final = 2**24


def required_area(
    image: Image, roi: Roi | None, mpp: float | None, card: AlgorithmCard | None
) -> Area:
    """Return the box in level-0 pixels that an algorithm with this `card` reads of the region.

    `mpp`: microns per pixel as the order states them. Raise `OrderError`: `roi_outside_slide`,
    `mpp_missing`.
    """
    mpp_x, mpp_y, mpp_source = spacing(server_properties(image.mpp_x, image.mpp_y), mpp)
    frame = Frame(image.width, image.height, mpp_x, mpp_y, mpp_source)
    return read_footprint(resolve_roi(roi, frame), frame, card)


def boxes(image: Image, area: Area, max_size_px: tuple[int, int] | None = None) -> tuple[Area, ...]:
    """Return boxes that cover `area`, row by row, all in level-0 pixels.

    None is larger than the server's limits and `max_size_px` (width, height).
    Raise `InputTooLargeError` for more than 20,000 boxes, `UnusableDescriptionError` for tiles
    that are too large.
    """
    tiling = image.tiling
    if max_size_px and not tiling.fixed:
        # Shaped, for the smaller answer may have been the whole slide.
        tiling = replace(
            tiling, max_width_px=max_size_px[0], max_height_px=max_size_px[1], shaped=True
        )
    if tiling.fixed:
        width, height = _fixed_size(tiling)
    else:
        width, height = _free_size(tiling)
    columns = range(area.x // width, -(-(area.x + area.width) // width))
    rows = range(area.y // height, -(-(area.y + area.height) // height))
    if len(columns) * len(rows) > MAX_BOXES:
        raise _too_many_boxes(len(columns) * len(rows), width, height)
    whole = Area(0, 0, image.width, image.height)
    tiles = (
        Area(column * width, row * height, width, height) for row in rows for column in columns
    )
    if tiling.fixed:
        return tuple(_with_overlap(tile, tiling.overlap_px, whole) for tile in tiles)
    found: list[Area] = []
    for tile in tiles:
        box = _intersection(tile, area)
        if tiling.shaped:
            found.extend(_distinguishable(box, whole))
        else:
            found.append(box)
    return tuple(found)


def _fixed_size(tiling: Tiling) -> tuple[int, int]:
    """Return width and height of the server's own tiles, without overlap."""
    width = tiling.tile_width_px
    height = tiling.tile_height_px
    if (width + 2 * tiling.overlap_px) * (height + 2 * tiling.overlap_px) > _MAX_TILE_PX2:
        raise UnusableDescriptionError(
            f"it gives tiles of {width} x {height} px only; "
            f"at most {_MAX_TILE_PX2} pixels are taken at a time"
        )
    return width, height


def _free_size(tiling: Tiling) -> tuple[int, int]:
    """Return width and height of a box that covers whole tiles where they fit.

    The server then decodes no tile twice.
    """
    width = _edge(tiling.tile_width_px, tiling.max_width_px)
    height = _edge(tiling.tile_height_px, tiling.max_height_px)
    if tiling.max_area_px2 and width * height > tiling.max_area_px2:
        width = min(width, tiling.max_area_px2)
        height = _edge(tiling.tile_height_px, tiling.max_area_px2 // width)
    return width, height


def _edge(tile_px: int, max_px: int) -> int:
    """Return the length of a box's edge in pixels.

    `tile_px`: 0 where unknown. `max_px`: 0 for no limit.
    """
    limit_px = min(_MAX_EDGE_PX, max_px or _MAX_EDGE_PX)
    edge_px = min(limit_px, max(_USUAL_EDGE_PX, tile_px))
    if 0 < tile_px <= edge_px:
        return edge_px // tile_px * tile_px
    return min(limit_px, _USUAL_EDGE_PX)


def _distinguishable(box: Area, whole: Area) -> Iterator[Area]:
    """Yield the box, or its halves where it has the slide's own shape.

    The answer for such a box would have the shape of the whole slide.
    """
    skew_px = abs(box.width * whole.height / whole.width - box.height)
    if box == whole or skew_px > 1.5 or box.width == box.height == 1:
        yield box
    elif box.height > 1:
        half = box.height // 2
        yield replace(box, height=half)
        yield replace(box, y=box.y + half, height=box.height - half)
    else:
        half = box.width // 2
        yield replace(box, width=half)
        yield replace(box, x=box.x + half, width=box.width - half)


def _with_overlap(tile: Area, overlap_px: int, whole: Area) -> Area:
    """Return the tile and its overlap with its neighbours, as far as the slide reaches."""
    tile = _intersection(tile, whole)
    width = tile.width + 2 * overlap_px
    height = tile.height + 2 * overlap_px
    return _intersection(Area(tile.x - overlap_px, tile.y - overlap_px, width, height), whole)


def _intersection(box: Area, outer: Area) -> Area:
    left = max(box.x, outer.x)
    top = max(box.y, outer.y)
    right = min(box.x + box.width, outer.x + outer.width)
    bottom = min(box.y + box.height, outer.y + outer.height)
    return Area(left, top, right - left, bottom - top)


def _too_many_boxes(count: int, width: int, height: int) -> InputTooLargeError:
    return InputTooLargeError(
        f"The region takes {count} answers of {width} x {height} px; "
        f"at most {MAX_BOXES} are asked for",
        hint="order a smaller region, or give the slide itself by url",
        field="roi",
    )
