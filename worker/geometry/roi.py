"""Turns the requested region into an area of the slide, and computes with areas.

The only module that uses shapely. Knows no pixels and no reader.
"""

import math
from functools import lru_cache
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from broker.errors import OrderError
from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.roi import Percent, Polygon, Roi
from worker.geometry.frame import Area, Floats, Frame, microns

Mask = NDArray[np.bool_]
_Box = tuple[int, int, int, int]
"""Left, top, right and bottom in level-0 pixels."""

# The most that resampling looks at beyond the requested pixels.
_RESAMPLED_PX: Final = 4
# Overviews of the area look at up to two and a half of their own pixels around it. One pixel of an
# overview covers less than this share of the area's longer side, or this many microns.
_OVERVIEW_PX: Final = 800
_OVERVIEW_UM: Final = 20.0


def resolve_roi(roi: Roi | None, frame: Frame) -> Area:
    """Return the part of `roi` that lies on the slide, or the whole slide where `roi` is None.

    Raises OrderError: `roi_outside_slide`; `request_invalid` for a polygon that crosses or touches
    itself.
    """
    if roi is None:
        return Area(0, 0, frame.width, frame.height)
    left, top, right, bottom = _box(roi, frame)
    width = min(right, frame.width) - left
    height = min(bottom, frame.height) - top
    polygon: tuple[tuple[float, float], ...] = ()
    if isinstance(roi, Polygon):
        polygon = roi.polygon
    area = Area(left, top, width, height, polygon)
    if width <= 0 or height <= 0 or not size_px2(area):
        raise OrderError(
            "roi_outside_slide",
            f"The region of {right - left} x {bottom - top} px at ({left}, {top}) "
            f"lies outside the slide, which is {frame.width} x {frame.height} px",
            hint="give it in level-0 pixels from the slide's top left corner",
            field="roi",
        )
    return area


def read_footprint(area: Area, frame: Frame, card: AlgorithmCard | None) -> Area:
    """Return the box of level-0 pixels that is read when `card`'s algorithm runs on the area.

    It holds the tiles that stick out of the area, with their halos, and the overviews of the area.
    Without a card, or with one that reads no pixels, it holds the overviews alone.

    Raises OrderError: `mpp_missing` where the card reads pixels and the frame has no mpp.
    """
    scale_x = 0.0
    scale_y = 0.0
    if card and card.mpp is not None:
        mpp_x, mpp_y = microns(frame)
        scale_x = card.mpp / mpp_x
        scale_y = card.mpp / mpp_y
    tiles_left, tiles_right = _tile_extent(area.x, area.width, scale_x, card)
    tiles_top, tiles_bottom = _tile_extent(area.y, area.height, scale_y, card)
    margin = _overview_margin(area, frame)
    left = math.floor(max(0, min(tiles_left, area.x - margin)))
    top = math.floor(max(0, min(tiles_top, area.y - margin)))
    right = math.ceil(min(frame.width, max(tiles_right, area.x + area.width + margin)))
    bottom = math.ceil(min(frame.height, max(tiles_bottom, area.y + area.height + margin)))
    return Area(left, top, right - left, bottom - top)


@lru_cache(maxsize=4)
def region(area: Area) -> shapely.Geometry:
    """Return the area as a shapely geometry in level-0 pixels.

    Raises OrderError: `request_invalid` for a polygon that crosses or touches itself.
    """
    box = shapely.box(area.x, area.y, area.x + area.width, area.y + area.height)
    if not area.polygon:
        return box
    ring = shapely.Polygon(area.polygon)
    if not ring.is_valid:
        raise OrderError(
            "request_invalid",
            f"The polygon is not a simple one: {shapely.is_valid_reason(ring)}",
            hint="give one ring that neither crosses nor touches itself; "
            "order several regions as several scans",
            field="roi.polygon",
        )
    shape = ring.intersection(box)
    shapely.prepare(shape)
    return shape


def size_px2(area: Area) -> float:
    """Return the size of the area in square level-0 pixels."""
    return float(shapely.area(region(area)))


def size_mm2(area: Area, frame: Frame) -> float:
    """Return the size of the area in square millimetres.

    Raises OrderError: `mpp_missing` where the frame has no mpp.
    """
    if frame.mpp_x is None or frame.mpp_y is None:
        raise OrderError("mpp_missing", "nobody says how large a pixel is", hint="give scans[].mpp")
    return size_px2(area) * frame.mpp_x * frame.mpp_y / 1e6


def inside(points: Floats, area: Area) -> Mask:
    """Return which of N points, (N, 2) in level-0 pixels, lie in the area.

    Points on the left and upper edges of a box are inside; points on a polygon's edge are not.
    """
    low = np.array([area.x, area.y])
    high = np.array([area.x + area.width, area.y + area.height])
    in_box = np.asarray(((points >= low) & (points < high)).all(axis=1))
    if not area.polygon:
        return in_box
    return in_box & np.asarray(shapely.contains_xy(region(area), points))


def touching(left: Floats, top: Floats, right: Floats, bottom: Floats, area: Area) -> Mask:
    """Return which of N boxes, in level-0 pixels, have at least one point of the area."""
    boxes = shapely.box(left, top, right, bottom)
    return np.asarray(shapely.intersects(region(area), boxes))


def borders(area: Area) -> list[Floats]:
    """Return the rings around the area, each (N, 2) in level-0 pixels.

    There are several where the edge of the slide divides a polygon into parts.
    """
    parts = shapely.get_parts(region(area))
    polygons = [part for part in parts if isinstance(part, shapely.Polygon)]
    return [shapely.get_coordinates(polygon.exterior) for polygon in polygons]


def _box(roi: Roi, frame: Frame) -> _Box:
    """Return the box around the region, not yet clipped to the slide."""
    if isinstance(roi, Polygon):
        xs, ys = zip(*roi.polygon, strict=True)
        return math.floor(min(xs)), math.floor(min(ys)), math.ceil(max(xs)), math.ceil(max(ys))
    if isinstance(roi, Percent):
        x, y, width, height = roi.pct
        left = round(x * frame.width / 100)
        top = round(y * frame.height / 100)
        right = round((x + width) * frame.width / 100)
        bottom = round((y + height) * frame.height / 100)
        return left, top, max(right, left + 1), max(bottom, top + 1)
    return roi.x, roi.y, roi.x + roi.width, roi.y + roi.height


def _tile_extent(
    start: int, length: int, scale: float, card: AlgorithmCard | None
) -> tuple[float, float]:
    """Return where tiles with their halos begin and end along one axis, in level-0 pixels.

    `scale` is the level-0 pixels per pixel of a tile; where it is 0 no tiles are read.
    """
    if not card or not scale:
        return start, start + length
    tiles = math.ceil(length / (card.tile_px * scale) - 1e-9)
    margin = card.halo_px * scale + _RESAMPLED_PX * max(1.0, scale)
    return start - margin, start + tiles * card.tile_px * scale + margin


def _overview_margin(area: Area, frame: Frame) -> float:
    """Return how many level-0 pixels around the area its overviews look at."""
    finest_um = min(frame.mpp_x or math.inf, frame.mpp_y or math.inf)
    overview_pixel = max(max(area.width, area.height) / _OVERVIEW_PX, _OVERVIEW_UM / finest_um)
    return overview_pixel + _RESAMPLED_PX
