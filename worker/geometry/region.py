"""What of an area is asked for: all of its box, or what a polygon encloses of it. Level-0 pixels throughout.

Owns that geometry, and is the only door to shapely.
"""

from functools import lru_cache

import numpy as np
import shapely
from numpy.typing import NDArray

from broker.errors import OrderError
from worker.geometry.frame import Area, Floats, Frame

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
