"""Makes objects of what Python code has found, and arrays that another process may send of them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from slidelane.algorithms import AnswerError, Card, Found
from slidelane.algorithms.features import class_number, class_of, features_of, measurements_of
from worker.geometry.frame import Floats
from worker.results.objects import Objects, outlines

Arrays = Mapping[str, NDArray[Any]]
_LEAST_POINTS: Final = 3
Names = list[str]
"""Names of classes in the order of their numbers."""


def objects_of_found(
    found: Sequence[Found], names: Names, measured: Sequence[str], half: Floats
) -> Objects:
    """Return checked `Found` as objects; a class that is not in `names` is added to it.

    `measured` names the columns of the measurements. `half`: half the edge in x and y of the square
    that stands for an object without an outline.
    """
    numbers = {name: number for number, name in enumerate(names)}
    classes = [_class(one.kind, names, numbers) for one in found]
    centres = np.empty((len(found), 2))
    centres[:, 0] = [one.x for one in found]
    centres[:, 1] = [one.y for one in found]
    rings = [_ring(one.outline, centre, half) for one, centre in zip(found, centres, strict=True)]
    table = np.empty((0, 0))
    if measured and found:
        table = np.array([[one.measurements[name] for name in measured] for one in found], float)
    scores = np.array([one.score for one in found], np.float64)
    return Objects(
        centres=centres,
        outlines=tuple(rings),
        classes=np.array(classes, np.int64),
        scores=scores.clip(0, 1),
        measurements=table,
    )


def objects_of_features(
    answer: Any, card: Card, names: Names, measured: Sequence[str], half: Floats
) -> Objects:
    """Return checked GeoJSON as objects, one for each polygon.

    A class that is not in `names` is added to it. A Point becomes a square, as `half` says.
    """
    centres: list[Floats] = []
    rings: list[Floats] = []
    holes: list[tuple[Floats, ...]] = []
    classes: list[int] = []
    scores: list[float] = []
    rows: list[list[float]] = []
    numbers = {name: number for number, name in enumerate(names)}
    for feature in features_of(answer):
        kind = _class_of_feature(feature, card, names, numbers)
        measurements = measurements_of(feature)
        for polygon in _polygons(feature["geometry"], half):
            rings.append(polygon[0])
            holes.append(tuple(polygon[1:]))
            centres.append(centroid(polygon[0]))
            classes.append(kind)
            scores.append(_score(feature))
            rows.append([float(measurements[name]) for name in measured])
    all_holes: tuple[tuple[Floats, ...], ...] = ()
    if any(holes):
        all_holes = tuple(holes)
    return Objects(
        centres=np.array(centres, np.float64).reshape(-1, 2),
        outlines=tuple(rings),
        classes=np.array(classes, np.int64),
        scores=np.array(scores, np.float64),
        measurements=_table(rows, measured),
        holes=all_holes,
    )


def common_names(measurements: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the measurements that every object has, in the order of the first one."""
    common: dict[str, None] | None = None
    for one in measurements:
        if common is None:
            common = dict.fromkeys(one)
        else:
            common = {name: None for name in common if name in one}
    return list(common or ())


def centroid(ring: Floats) -> Floats:
    """Return the centre of gravity of a ring, (N, 2), or the mean of its points if it has no area.

    Bourke, "Calculating the area and centroid of a polygon" (1988).
    """
    first = ring[0]
    x, y = (ring - first).T  # near zero: products of coordinates of a slide lose digits
    cross = x * np.roll(y, -1) - np.roll(x, -1) * y
    twice_area = cross.sum()
    if not twice_area:
        return np.asarray(ring.mean(axis=0))
    centre_x = ((x + np.roll(x, -1)) * cross).sum() / (3 * twice_area)
    centre_y = ((y + np.roll(y, -1)) * cross).sum() / (3 * twice_area)
    return np.asarray(first + np.array([centre_x, centre_y]))


def packed(objects: Objects) -> dict[str, NDArray[Any]]:
    """Return the objects as arrays to be sent."""
    holes = objects.holes or ((),) * len(objects)
    rings = [ring for one in holes for ring in one]
    return {
        "centres": objects.centres,
        "classes": objects.classes,
        "scores": objects.scores,
        "measurements": objects.measurements,
        "lengths": np.array([len(ring) for ring in objects.outlines], np.int64),
        "points": np.concatenate([np.empty((0, 2)), *objects.outlines]),
        "holes": np.array([len(one) for one in holes], np.int64),
        "hole_lengths": np.array([len(ring) for ring in rings], np.int64),
        "hole_points": np.concatenate([np.empty((0, 2)), *rings]),
    }


def unpacked(arrays: Arrays, classes: int) -> Objects:
    """Return the objects of arrays that `packed` made. `classes` is the number of classes.

    Raises AnswerError where they cannot have come from there: the process that sent them runs
    code of others.
    """
    count = len(arrays["classes"])
    table = arrays["measurements"]
    holes = arrays["holes"]
    is_right = (
        arrays["centres"].shape == (count, 2)
        and arrays["scores"].shape == (count,)
        and arrays["lengths"].shape == holes.shape == (count,)
        and arrays["points"].shape == (arrays["lengths"].sum(), 2)
        and arrays["hole_lengths"].shape == (holes.sum(),)
        and arrays["hole_points"].shape == (arrays["hole_lengths"].sum(), 2)
        and (not table.size or len(table) == count)
        and (not count or (arrays["lengths"].min() >= 3 and holes.min() >= 0))
        and (not count or 0 <= arrays["classes"].min() <= arrays["classes"].max() < classes)
    )
    numbers = ("centres", "scores", "points", "measurements", "hole_points")
    if not is_right or not all(np.isfinite(arrays[name]).all() for name in numbers):
        raise AnswerError("answer", "its process sent arrays that describe no objects")
    rings = tuple(outlines(arrays["points"], arrays["lengths"].tolist()))
    return Objects(
        centres=arrays["centres"],
        outlines=rings,
        classes=arrays["classes"],
        scores=arrays["scores"],
        measurements=table,
        holes=_unpacked_holes(arrays),
    )


def _unpacked_holes(arrays: Arrays) -> tuple[tuple[Floats, ...], ...]:
    if not arrays["holes"].sum():
        return ()
    rings = list(outlines(arrays["hole_points"], arrays["hole_lengths"].tolist()))
    holes = []
    start = 0
    for count in arrays["holes"].tolist():
        holes.append(tuple(rings[start : start + count]))
        start += count
    return tuple(holes)


def _class(kind: Any, names: Names, numbers: dict[str, int]) -> int:
    if not isinstance(kind, str):
        return int(kind)
    if kind not in numbers:
        numbers[kind] = len(names)
        names.append(kind)
    return numbers[kind]


def _class_of_feature(
    feature: Mapping[str, Any], card: Card, names: Names, numbers: dict[str, int]
) -> int:
    name = class_of(feature)
    if not card.classes:
        return _class(name, names, numbers)
    if not name:
        return 0
    number = class_number(card, name)
    if number is None:
        raise AnswerError("features", f"{name!r} is no class of the card")
    return number


def _ring(outline: Any, centre: Floats, half: Floats) -> Floats:
    if outline is None:
        return square(centre, half)
    ring = np.asarray(outline, np.float64)
    # numbers one by one: comparing arrays takes ten times as long, and a tile has 2,500 rings
    if ring[0, 0] != ring[-1, 0] or ring[0, 1] != ring[-1, 1] or len(ring) == _LEAST_POINTS:
        return ring
    return ring[:-1]


def square(centre: Floats, half: Floats) -> Floats:
    """Return the corners of the square around a centre, clockwise from the top left one."""
    return np.asarray(centre + half * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]))


def _polygons(geometry: Mapping[str, Any], half: Floats) -> list[list[Floats]]:
    """Return the polygons of a geometry, each as its open rings, the outline first."""
    coordinates = geometry["coordinates"]
    if geometry["type"] == "Point":
        return [[square(np.array(coordinates[:2], np.float64), half)]]
    if geometry["type"] == "Polygon":
        coordinates = [coordinates]
    return [
        [np.array([point[:2] for point in ring[:-1]], np.float64) for ring in rings]
        for rings in coordinates
    ]


def _score(feature: Mapping[str, Any]) -> float:
    score = (feature.get("properties") or {}).get("score", 1.0)
    if isinstance(score, int | float) and 0 <= score <= 1:
        return float(score)
    return 1.0


def _table(rows: list[list[float]], measured: Sequence[str]) -> Floats:
    if not measured or not rows:
        return np.empty((0, 0))
    return np.array(rows, np.float64)
