"""From the region that was asked for to the area of the slide it is, and to all that reading it touches.

Owns the arithmetic; knows no pixels and no reader.
"""

import math
from typing import Final

from broker.errors import OrderError
from broker.orders.algorithm_card import Card
from broker.orders.roi import Percent, Polygon, Roi
from worker.geometry.frame import Area, Frame
from worker.geometry.region import size_px2
from worker.geometry.tile_grid import microns

_RESAMPLED_PX: Final = 4  # what resampling looks at beyond the pixels wanted, at most
# Overviews of the area look at up to two and a half of their pixels around it. Together these are finer than one in so
# many, or so many microns.
_OVERVIEW_PX: Final = 800
_OVERVIEW_UM: Final = 20.0


def area_of(roi: Roi | None, frame: Frame) -> Area:
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


def reach(area: Area, frame: Frame, card: Card | None) -> Area:
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
    left, right = max(0, min(left, area.x - around)), min(frame.width, max(right, area.x + area.width + around))
    top, bottom = max(0, min(top, area.y - around)), min(frame.height, max(bottom, area.y + area.height + around))
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


def _reach(start: int, length: int, scale: float, card: Card | None) -> tuple[float, float]:
    """How far tiles reach along one axis; nowhere beyond the area where none are read."""
    if not card or not scale:
        return start, start + length
    tiles = math.ceil(length / (card.tile_px * scale) - 1e-9)
    margin = card.halo_px * scale + _RESAMPLED_PX * max(1.0, scale)
    return start - margin, start + tiles * card.tile_px * scale + margin
