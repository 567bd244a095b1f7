"""Refuses regions that lie on no slide and polygons that are not simple, before any work.

The only module of the services that uses shapely.
"""

import re
from collections.abc import Sequence
from typing import Final

import shapely

from broker.errors import OrderError
from broker.orders.roi import GeoJson, GeoJsonPolygon, Percent, Polygon, Rectangle, Roi

_REASON: Final = re.compile(r"(?P<reason>.*)\[(?P<x>\S+) (?P<y>\S+)\]")
"""GEOS' words for an invalid geometry: `Self-intersection[5 10.5]`."""
_DRAW_AGAIN: Final = (
    "draw it again; with GIS tools buffer(0) or make_valid mends it, but look at what is left"
)


def check_region(roi: Roi | None, field: str) -> None:
    """Raise OrderError for a region that no slide can have.

    `roi_outside_slide`: all of it lies left of or above every slide, or begins at 100 percent.
    `request_invalid`: its polygons cross or touch themselves or one another.
    """
    if roi is None or isinstance(roi, str):
        return
    _check_on_a_slide(roi, field)
    if isinstance(roi, Polygon):
        _check_ring(roi.polygons[0][0], "the polygon", f"{field}.polygon")
    elif isinstance(roi, GeoJson):
        _check_geojson(roi, f"{field}.geojson.coordinates")


def _check_on_a_slide(roi: Rectangle | Polygon | GeoJson | Percent, field: str) -> None:
    if isinstance(roi, Rectangle):
        is_outside = roi.x + roi.width <= 0 or roi.y + roi.height <= 0
    elif isinstance(roi, Percent):
        x, y, width, height = roi.pct
        is_outside = x + width <= 0 or y + height <= 0 or max(x, y) >= 100
    else:
        outlines = [rings[0] for rings in roi.polygons]
        right = max(x for outline in outlines for x, _ in outline)
        bottom = max(y for outline in outlines for _, y in outline)
        is_outside = right <= 0 or bottom <= 0
    if is_outside:
        raise OrderError(
            "roi_outside_slide",
            f"{field}: the whole region lies beyond the edge of the slide, "
            "whose top left corner is (0, 0)",
            hint="give it in level-0 pixels from the slide's top left corner, x right, y down",
            field=field,
        )


def _check_geojson(roi: GeoJson, field: str) -> None:
    """Check single rings first, then polygons and then all, so that the words are exact."""
    polygons = []
    is_single = isinstance(roi.geojson, GeoJsonPolygon)
    for number, rings in enumerate(roi.polygons):
        polygon_field = f"{field}[{number}]"
        if is_single:
            polygon_field = field
        for ring_number, ring in enumerate(rings):
            what = f"hole {ring_number}"
            if ring_number == 0:
                what = "the outline"
            _check_ring(ring, what, f"{polygon_field}[{ring_number}]")
        polygon = shapely.Polygon(rings[0], rings[1:])
        if not polygon.is_valid:
            raise _hole_fault(polygon, polygon_field)
        polygons.append(polygon)
    together = shapely.MultiPolygon(polygons)
    if not together.is_valid:
        _, place = _reason(together)
        raise _fault(
            f"two of the polygons overlap or share a part of their border, {place}",
            field,
            "unite them into one polygon, or order them as several scans",
        )


def _check_ring(ring: Sequence[tuple[float, float]], what: str, field: str) -> None:
    polygon = shapely.Polygon(ring)
    if polygon.is_valid:
        return
    _, place = _reason(polygon)
    hint = _DRAW_AGAIN
    if what == "the polygon":
        hint += "; a polygon with holes, and several polygons, are given as `geojson`"
    raise _fault(f"{what} crosses or touches itself, {place}", field, hint)


def _hole_fault(polygon: shapely.Polygon, field: str) -> OrderError:
    reason, place = _reason(polygon)
    if reason == "Hole lies outside shell":
        return _fault(f"a hole lies outside its polygon, {place}", field, _DRAW_AGAIN)
    if reason == "Holes are nested":
        return _fault(
            f"a hole lies inside another hole, {place}",
            field,
            "give what lies inside a hole as a polygon of its own, in a MultiPolygon",
        )
    if reason == "Interior is disconnected":
        return _fault(
            f"the holes divide their polygon into parts, {place}",
            field,
            "give the parts as a MultiPolygon",
        )
    return _fault(
        f"a hole crosses, or touches along a line, the outline or another hole, {place}",
        field,
        _DRAW_AGAIN,
    )


def _reason(shape: shapely.Geometry) -> tuple[str, str]:
    """Return GEOS' reason why the geometry is invalid, and the place in our words."""
    text = shapely.is_valid_reason(shape)
    match = _REASON.fullmatch(text)
    if not match:
        return text, f"as GEOS says: {text}"
    return match["reason"], f"at ({match['x']}, {match['y']})"


def _fault(why: str, field: str, hint: str) -> OrderError:
    return OrderError("request_invalid", f"{field}: {why}", hint=hint, field=field)
