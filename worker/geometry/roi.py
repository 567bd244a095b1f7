"""From the region that was asked for to the area of the slide it is, and to all that reading it touches.

Owns the arithmetic; knows no pixels and no reader.
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

_RESAMPLED_PX: Final = 4  # what resampling looks at beyond the pixels wanted, at most
# Overviews of the area look at up to two and a half of their pixels around it. Together these are finer than one in so
# many, or so many microns.
_OVERVIEW_PX: Final = 800
_OVERVIEW_UM: Final = 20.0


def resolve_roi(roi: Roi | None, frame: Frame) -> Area:
    """The whole slide, or the part of `roi` that lies on it.

    Raises `OrderError`: `roi_outside_slide`, and `request_invalid` for a polygon that is none.
    """
    if roi is None:
        return Area(0, 0, frame.width, frame.height)
    left, top, right, bottom = _box(roi, frame)
    polygon = roi.polygon if isinstance(roi, Polygon) else ()
    area = Area(left, top, min(right, frame.width) - left, min(bottom, frame.height) - top, polygon)
    if area.width <= 0 or area.height <= 0 or not size_px2(area):
        raise OrderError(
            "roi_outside_slide",
            f"The region of {right - left} x {bottom - top} px at ({left}, {top}) lies outside the slide, "
            f"which is {frame.width} x {frame.height} px",
            hint="give it in level-0 pixels from the slide's top left corner",
            field="roi",
        )
    return area


def read_footprint(area: Area, frame: Frame, card: AlgorithmCard | None) -> Area:
    """The box that is read when `card` is run on the area: tiles that stick out of it with their halos, and overviews.

    Raises `OrderError`: `mpp_missing`, where the card reads pixels.
    """
    scale_x = scale_y = 0.0
    if card and card.mpp is not None:
        scale_x, scale_y = (card.mpp / mpp for mpp in microns(frame))
    left, right = _reach(area.x, area.width, scale_x, card)
    top, bottom = _reach(area.y, area.height, scale_y, card)
    finest = min(frame.mpp_x or math.inf, frame.mpp_y or math.inf)
    around = max(max(area.width, area.height) / _OVERVIEW_PX, _OVERVIEW_UM / finest) + _RESAMPLED_PX
    left, right = (
        max(0, min(left, area.x - around)),
        min(frame.width, max(right, area.x + area.width + around)),
    )
    top, bottom = (
        max(0, min(top, area.y - around)),
        min(frame.height, max(bottom, area.y + area.height + around)),
    )
    x, y = math.floor(left), math.floor(top)
    return Area(x, y, math.ceil(right) - x, math.ceil(bottom) - y)


def _box(roi: Roi, frame: Frame) -> tuple[int, int, int, int]:
    """Left, top, right, bottom in level-0 pixels."""
    if isinstance(roi, Polygon):
        xs, ys = zip(*roi.polygon, strict=True)
        return math.floor(min(xs)), math.floor(min(ys)), math.ceil(max(xs)), math.ceil(max(ys))
    if isinstance(roi, Percent):
        x, y, width, height = roi.pct
        left, right = (round(percent * frame.width / 100) for percent in (x, x + width))
        top, bottom = (round(percent * frame.height / 100) for percent in (y, y + height))
        return left, top, max(right, left + 1), max(bottom, top + 1)
    return roi.x, roi.y, roi.x + roi.width, roi.y + roi.height


def _reach(
    start: int, length: int, scale: float, card: AlgorithmCard | None
) -> tuple[float, float]:
    """How far tiles reach along one axis; nowhere beyond the area where none are read."""
    if not card or not scale:
        return start, start + length
    tiles = math.ceil(length / (card.tile_px * scale) - 1e-9)
    margin = card.halo_px * scale + _RESAMPLED_PX * max(1.0, scale)
    return start - margin, start + tiles * card.tile_px * scale + margin


Mask = NDArray[np.bool_]


@lru_cache(maxsize=4)
def region(area: Area) -> shapely.Geometry:
    """The area as a shape. Raises `OrderError`: `request_invalid` for a ring that crosses or touches itself."""
    box = shapely.box(area.x, area.y, area.x + area.width, area.y + area.height)
    if not area.polygon:
        return box
    ring = shapely.Polygon(area.polygon)
    if not ring.is_valid:
        raise OrderError(
            "request_invalid",
            f"The polygon is not a simple one: {shapely.is_valid_reason(ring)}",
            hint="give one ring that neither crosses nor touches itself; order several regions as several scans",
            field="roi.polygon",
        )
    shape = ring.intersection(box)
    shapely.prepare(shape)
    return shape


def size_px2(area: Area) -> float:
    """How large it is."""
    return float(shapely.area(region(area)))


def size_mm2(area: Area, frame: Frame) -> float:
    """How large it is on the glass. Raises `OrderError`: `mpp_missing`."""
    if frame.mpp_x is None or frame.mpp_y is None:
        raise OrderError("mpp_missing", "nobody says how large a pixel is", hint="give scans[].mpp")
    return size_px2(area) * frame.mpp_x * frame.mpp_y / 1e6


def inside(points: Floats, area: Area) -> Mask:
    """Which of N points (N, 2) lie in it; of a box the left and upper edges count, of a polygon no edge."""
    low, high = np.array([area.x, area.y]), np.array([area.x + area.width, area.y + area.height])
    boxed = np.asarray(((points >= low) & (points < high)).all(axis=1))
    if not area.polygon:
        return boxed
    return boxed & np.asarray(shapely.contains_xy(region(area), points))


def touching(left: Floats, top: Floats, right: Floats, bottom: Floats, area: Area) -> Mask:
    """Which of N boxes have a point of it."""
    boxes = shapely.box(left, top, right, bottom)
    return np.asarray(shapely.intersects(region(area), boxes))


def borders(area: Area) -> list[Floats]:
    """The rings around it, (N, 2) each: several where the slide's edge cuts a polygon into parts."""
    parts = [part for part in shapely.get_parts(region(area)) if isinstance(part, shapely.Polygon)]
    return [shapely.get_coordinates(part.exterior) for part in parts]
