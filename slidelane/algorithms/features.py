"""The check of GeoJSON that an algorithm answers, feature by feature."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Final

from slidelane.algorithms.card import Card
from slidelane.algorithms.errors import AnswerError

_LEAST_RING: Final = 4


def check_geojson(card: Card, answer: Any, place: str = "") -> None:
    """Raise AnswerError, which names the place, for GeoJSON that is none of ours.

    It is a FeatureCollection, a list of Features or one Feature, with Polygon, MultiPolygon or
    Point in level-0 pixels, and of the card's classes. `place` is put before the names of places.
    """
    for number, feature in enumerate(features_of(answer, place)):
        _check_feature(card, feature, f"{place}features[{number}]")


def features_of(answer: Any, place: str = "") -> Sequence[Any]:
    """Return the features of a collection, a list or a single feature."""
    if isinstance(answer, Mapping):
        if answer.get("type") == "Feature":
            return [answer]
        features = answer.get("features")
        if answer.get("type") != "FeatureCollection" or not isinstance(features, Sequence):
            raise AnswerError(f"{place}features", "a FeatureCollection has a list of them")
        return features
    if isinstance(answer, str | bytes) or not isinstance(answer, Sequence):
        raise AnswerError(f"{place}features", f"a {type(answer).__name__} is no list of them")
    return answer


def class_of(feature: Mapping[str, Any]) -> str:
    """Return the name of a feature's class, empty where it has none.

    It is `properties.classification.name`, `properties.classification` as a text, or
    `properties.annotation_type`.
    """
    properties = feature.get("properties")
    if not isinstance(properties, Mapping):
        return ""
    classification = properties.get("classification")
    if isinstance(classification, Mapping):
        classification = classification.get("name")
    if classification is None:
        classification = properties.get("annotation_type")
    if isinstance(classification, str):
        return classification
    return ""


def class_number(card: Card, name: str) -> int | None:
    """Return the number of the card's class of this name, title or annotation type, else None."""
    for number, entry in enumerate(card.classes):
        if name in (entry.name, entry.title, entry.annotation_type):
            return number
    return None


def measurements_of(feature: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the measurements of a feature, from a dictionary or from QuPath's list."""
    properties = feature.get("properties") or {}
    given = properties.get("measurements") or {}
    if isinstance(given, Mapping):
        return given
    return {one["name"]: one["value"] for one in given}


def _check_feature(card: Card, feature: Any, place: str) -> None:
    if not isinstance(feature, Mapping) or feature.get("type") != "Feature":
        raise AnswerError(place, "it is no Feature")
    geometry = feature.get("geometry")
    if not isinstance(geometry, Mapping):
        raise AnswerError(f"{place}.geometry", "there is none")
    _check_geometry(geometry, f"{place}.geometry")
    _check_class(card, feature, f"{place}.properties")
    _check_measurements(feature, f"{place}.properties.measurements")


def _check_geometry(geometry: Mapping[str, Any], place: str) -> None:
    kind = geometry.get("type")
    coordinates: Any = geometry.get("coordinates")
    here = f"{place}.coordinates"
    if kind == "Point":
        if not _is_point(coordinates):
            raise AnswerError(here, "it is no point [x, y] of finite numbers")
        return
    if kind == "Polygon":
        _check_polygon(coordinates, here)
        return
    if kind == "MultiPolygon":
        if not _is_list(coordinates) or not len(coordinates):
            raise AnswerError(here, "a list of polygons is required")
        for number, polygon in enumerate(coordinates):
            _check_polygon(polygon, f"{here}[{number}]")
        return
    raise AnswerError(f"{place}.type", f"{str(kind)[:80]!r} is no Polygon, MultiPolygon or Point")


def _check_polygon(rings: Any, place: str) -> None:
    if not _is_list(rings) or not len(rings):
        raise AnswerError(place, "a list of rings is required")
    for number, ring in enumerate(rings):
        _check_ring(ring, f"{place}[{number}]")


def _check_ring(ring: Any, place: str) -> None:
    if not _is_list(ring):
        raise AnswerError(place, "a ring is a list of [x, y]")
    for number, point in enumerate(ring):
        if not _is_point(point):
            raise AnswerError(f"{place}[{number}]", "it is no point [x, y] of finite numbers")
    if len(ring) < _LEAST_RING:
        raise AnswerError(place, f"a ring of {len(ring)} points; there are {_LEAST_RING} at least")
    if ring[0][0] != ring[-1][0] or ring[0][1] != ring[-1][1]:
        raise AnswerError(place, "ring is not closed")


def _check_class(card: Card, feature: Mapping[str, Any], place: str) -> None:
    name = class_of(feature)
    if not name:
        if len(card.classes) == 1:
            return
        raise AnswerError(
            place, "there is neither classification.name nor annotation_type: of which class is it?"
        )
    if card.classes and class_number(card, name) is None:
        known = ", ".join([entry.name for entry in card.classes[:8]])
        raise AnswerError(place, f"{name[:80]!r} is no class of the card; there are: {known}")


def _check_measurements(feature: Mapping[str, Any], place: str) -> None:
    properties = feature.get("properties")
    if not isinstance(properties, Mapping) or not properties.get("measurements"):
        return
    try:
        measured = measurements_of(feature)
    except (TypeError, KeyError):
        raise AnswerError(place, "a dictionary, or a list of {name, value}, is required") from None
    for name, value in measured.items():
        if not isinstance(name, str) or not _is_finite(value):
            raise AnswerError(f"{place}[{name!r}]", f"{str(value)[:80]!r} is no finite number")


def _is_list(value: Any) -> bool:
    if isinstance(value, str | bytes | Mapping):
        return False
    return hasattr(value, "__len__") and hasattr(value, "__getitem__")


def _is_point(point: Any) -> bool:
    if not _is_list(point) or len(point) not in (2, 3):
        return False
    return all(map(_is_finite, point))


def _is_finite(value: Any) -> bool:
    if isinstance(value, str | bytes | bool) or value is None:
        return False
    try:
        return isfinite(value)
    except (TypeError, OverflowError):
        return False
