"""Techcyte's rules for the GeoJSON features that a program posts; a slide has 100,000 of them."""

import re
from collections.abc import Mapping
from itertools import chain
from math import isfinite
from typing import Any, Final

_COLOR: Final = re.compile(r"#[0-9a-fA-F]{6}")
_MOST_NESTED: Final = 4
_LEAST_RING: Final = 4
_DEPTHS: Final[Mapping[str, int]] = {
    "Point": 0,
    "MultiPoint": 1,
    "LineString": 1,
    "MultiLineString": 2,
    "Polygon": 2,
    "MultiPolygon": 3,
}
"""Geometries by how many lists are around a position."""


class FeatureRefusedError(ValueError):
    """A feature breaks a rule."""


def check_annotation(feature: Any) -> None:
    """Raise `FeatureRefusedError` for a feature of the top-level `geojson` that breaks a rule."""
    check_feature(feature)
    kind = (feature.get("properties") or {}).get("annotation_type")
    if not isinstance(kind, str) or not kind:
        raise FeatureRefusedError("properties.annotation_type must be a text that is not empty")


def check_feature(feature: Any) -> None:
    """Raise `FeatureRefusedError` for a feature that breaks a rule."""
    if not isinstance(feature, dict) or feature.get("type") != "Feature":
        raise FeatureRefusedError("type must be Feature")
    properties = feature.get("properties")
    if properties is not None:
        _check_properties(properties)
    if feature.get("bbox") is not None and not _is_box(feature["bbox"]):
        raise FeatureRefusedError("bbox must be 4 numbers")
    _check_geometry(feature.get("geometry"), 0)


def _check_properties(properties: Any) -> None:
    if not isinstance(properties, dict):
        raise FeatureRefusedError("properties must be an object")
    colors = properties.get("contour_colors") or ()
    if not isinstance(colors, list | tuple) or not all(map(_is_color, colors)):
        raise FeatureRefusedError("properties.contour_colors must be a list of #rrggbb")


def _check_geometry(geometry: Any, nested: int) -> None:
    if not isinstance(geometry, dict):
        raise FeatureRefusedError("geometry must be an object")
    kind: Any = geometry.get("type")
    if kind == "GeometryCollection":
        _check_parts(geometry.get("geometries"), nested)
        return
    if kind not in _DEPTHS:
        raise FeatureRefusedError(f"geometry.type: {str(kind)[:50]!r} is no geometry")
    depth = _DEPTHS[kind]
    places: list[Any] = [geometry.get("coordinates")]
    for level in range(depth):
        if not all(isinstance(place, list) for place in places):
            raise FeatureRefusedError(
                "geometry.coordinates are not lists as deep as its type has them"
            )
        if kind.endswith("Polygon") and level == depth - 1:
            _check_rings(places)
        places = list(chain.from_iterable(places))
    if not _are_positions(places):
        raise FeatureRefusedError("geometry.coordinates: a position is [x, y], finite numbers")


def _check_rings(rings: list[Any]) -> None:
    for ring in rings:
        if len(ring) < _LEAST_RING or ring[0] != ring[-1]:
            raise FeatureRefusedError(
                "geometry: every ring must be closed and have 4 points or more"
            )


def _check_parts(parts: Any, nested: int) -> None:
    if nested >= _MOST_NESTED:
        raise FeatureRefusedError("geometry: collections are nested too deeply")
    if not isinstance(parts, list):
        raise FeatureRefusedError("geometry.geometries must be a list")
    for part in parts:
        _check_geometry(part, nested + 1)


def _are_positions(values: list[Any]) -> bool:
    """Return whether all are lists of two finite numbers or more.

    All of them at once: one by one takes three times as long.
    """
    if not set(map(type, values)) <= {list} or not all(len(value) >= 2 for value in values):
        return False
    numbers = list(chain.from_iterable(values))
    return set(map(type, numbers)) <= {int, float} and all(map(isfinite, numbers))


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))


def _is_color(value: Any) -> bool:
    return isinstance(value, str) and _COLOR.fullmatch(value) is not None


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return isfinite(value)
