"""Turns the requested region into an area of the slide, and computes with areas.

The only module of the worker that uses shapely. Knows no pixels and no reader.
"""

import math
from functools import lru_cache
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from broker.errors import OrderError
from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.roi import GeoJson, Percent, Polygon, Rectangle, Rings, Roi, RoiLimits
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

    Raises OrderError: `roi_outside_slide`; `request_invalid` for polygons that are not simple.
    """
    if roi is None or roi == "full":
        return Area(0, 0, frame.width, frame.height)
    if roi == "square":
        return _largest_square(frame)
    left, top, right, bottom = _box(roi, frame)
    x = max(0, left)
    y = max(0, top)
    width = min(right, frame.width) - x
    height = min(bottom, frame.height) - y
    polygons: tuple[Rings, ...] = ()
    if isinstance(roi, Polygon | GeoJson):
        polygons = roi.polygons
    area = Area(x, y, width, height, polygons)
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
    """Return the area as a shapely geometry in level-0 pixels, all of it on the slide.

    Raises OrderError: `request_invalid` for polygons that are not simple.
    """
    box = shapely.box(area.x, area.y, area.x + area.width, area.y + area.height)
    if not area.polygons:
        return box
    shape = shapely.intersection(_requested(area), box)
    shapely.prepare(shape)
    return shape


@lru_cache(maxsize=4)
def _requested(area: Area) -> shapely.Geometry:
    """Return the area's polygons as they were ordered, also where they leave the slide."""
    polygons = [shapely.Polygon(rings[0], rings[1:]) for rings in area.polygons]
    shape = shapely.MultiPolygon(polygons)
    if not shape.is_valid:
        raise OrderError(
            "request_invalid",
            f"The polygon is not a simple one: {shapely.is_valid_reason(shape)}",
            hint="draw it again: rings that neither cross nor touch themselves, holes inside their "
            "polygon, and polygons that do not overlap",
            field="roi",
        )
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


def check_limits(area: Area, frame: Frame, limits: RoiLimits | None) -> None:
    """Raise OrderError for an area that is larger than the order's template allows.

    `roi_too_large`; `mpp_missing` where square millimetres are limited and the frame has no mpp.
    """
    if limits is None:
        return
    sizes = (
        ("wide", area.width, limits.max_width_px),
        ("high", area.height, limits.max_height_px),
    )
    for side, size_px, most_px in sizes:
        if most_px is not None and size_px > most_px:
            raise _too_large(f"{size_px} px {side}, and may be {most_px} px")
    if limits.max_area_mm2 is None:
        return
    area_mm2 = size_mm2(area, frame)
    if area_mm2 > limits.max_area_mm2:
        raise _too_large(f"{area_mm2:.3g} mm² large, and may be {limits.max_area_mm2:g} mm²")


def _too_large(how: str) -> OrderError:
    return OrderError(
        "roi_too_large",
        f"the region is {how}",
        hint="order a smaller region, or several of them",
        field="roi",
    )


def inside(points: Floats, area: Area) -> Mask:
    """Return which of N points, (N, 2) in level-0 pixels, lie in the area.

    Points on the left and upper edges of a box are inside; points on a polygon's edge are not.
    """
    low = np.array([area.x, area.y])
    high = np.array([area.x + area.width, area.y + area.height])
    in_box = np.asarray(((points >= low) & (points < high)).all(axis=1))
    if not area.polygons:
        return in_box
    # Not `region`: a point on the slide's own left edge lies in a polygon that goes on beyond it.
    return in_box & np.asarray(shapely.contains_xy(_requested(area), points))


def touching(left: Floats, top: Floats, right: Floats, bottom: Floats, area: Area) -> Mask:
    """Return which of N boxes, in level-0 pixels, have at least one point of the area."""
    boxes = shapely.box(left, top, right, bottom)
    return np.asarray(shapely.intersects(region(area), boxes))


def polygon_rings(area: Area) -> list[list[Floats]]:
    """Return the polygons of the area, each as its outline and then its holes.

    A ring is (N, 2) in level-0 pixels and closed: its last point is its first. The shoelace area of
    outlines is positive and that of holes negative, so that on the screen an outline runs
    clockwise. Everything lies on the slide: its edge may divide a polygon into several. The area of
    a box is one polygon of one ring.
    """
    parts = shapely.get_parts(shapely.orient_polygons(region(area)))
    polygons = [part for part in parts if isinstance(part, shapely.Polygon)]
    return [
        [shapely.get_coordinates(ring) for ring in (polygon.exterior, *polygon.interiors)]
        for polygon in polygons
    ]


def borders(area: Area) -> list[Floats]:
    """Return all rings around the area and around its holes, each (N, 2) in level-0 pixels."""
    return [ring for rings in polygon_rings(area) for ring in rings]


def _largest_square(frame: Frame) -> Area:
    """Return the largest square in the middle of the slide, as IIIF's `square`."""
    edge = min(frame.width, frame.height)
    return Area((frame.width - edge) // 2, (frame.height - edge) // 2, edge, edge)


def _box(roi: Rectangle | Polygon | GeoJson | Percent, frame: Frame) -> _Box:
    """Return the box around the region, not yet clipped to the slide."""
    if isinstance(roi, Polygon | GeoJson):
        points = [point for rings in roi.polygons for point in rings[0]]
        xs, ys = zip(*points, strict=True)
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
    step = (card.tile_px - card.overlap_px) * scale
    overlap = card.overlap_px * scale
    tiles = max(1, math.ceil((length - overlap) / step - 1e-9))
    margin = card.halo_px * scale + _RESAMPLED_PX * max(1.0, scale)
    return start - margin, start + tiles * step + overlap + margin


def _overview_margin(area: Area, frame: Frame) -> float:
    """Return how many level-0 pixels around the area its overviews look at."""
    finest_um = min(frame.mpp_x or math.inf, frame.mpp_y or math.inf)
    overview_pixel = max(max(area.width, area.height) / _OVERVIEW_PX, _OVERVIEW_UM / finest_um)
    return overview_pixel + _RESAMPLED_PX
