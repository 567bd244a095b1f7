"""Makes objects of what a program has posted to Techcyte: its annotations, or else its report.

Coordinates are level-0 pixels, as Techcyte has them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from broker.orders.algorithm_card import ClassCard
from worker.algorithms.own_classes import distinct_colors
from worker.algorithms.python.api_card import PALETTE
from worker.algorithms.python.found import centroid, square
from worker.geometry.frame import Floats, Frame
from worker.results.objects import Objects

_HALF_UM: Final = 4.0
_HALF_PX: Final = 8.0
"""Half the edge of the square that stands for a point, where the slide has no scale."""
_MOST_CLASSES: Final = 100
_OTHER: Final = "other"
_NAME_CHARS: Final = 200
_COLOR_CHARS: Final = 7


@dataclass(frozen=True, slots=True)
class PostedObjects:
    """The objects, the classes that they have, and how many features could not be drawn."""

    objects: Objects
    classes: tuple[ClassCard, ...]
    not_drawn: int


@dataclass(frozen=True, slots=True)
class _Shape:
    """One polygon, or one point where `rings` is empty."""

    kind: str
    rings: Sequence[Any]
    point: Sequence[float] = ()
    score: float = 1.0
    color: str = ""


def posted_objects(
    scan: Mapping[str, Any], known: Sequence[ClassCard], frame: Frame
) -> PostedObjects:
    """Return the objects of a checked scan of a results post.

    `known` are classes that the settings name; others follow in the order in which they come.
    """
    collected = _Collected(known, frame)
    features = (scan.get("geojson") or {}).get("features") or ()
    if features:
        for feature in features:
            properties = feature.get("properties") or {}
            collected.add_feature(feature, str(properties["annotation_type"]))
    else:
        report = (scan.get("workflow") or {}).get("report") or {}
        _add_report(report, collected)
    return collected.result()


def _add_report(report: Mapping[str, Any], collected: "_Collected") -> None:
    """Add what is drawn of a report, whichever of the seven types it is of."""
    for feature, name in _segment_features(report):
        collected.add_feature(feature, name)
    for point in report.get("points") or ():
        collected.add_point(point)
    for box in report.get("objects") or ():
        collected.add_box(box, _box_class(report))
    for region in report.get("regions") or ():
        # Those of an area differential have points; those of other reports hold nothing.
        for point in region.get("points") or ():
            collected.add_point(point)
    for label, threshold in (report.get("threshold_map") or {}).items():
        collected.add_feature(threshold["region"], label)


def _segment_features(report: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield the features of all segments, each with the name of its segment."""
    for segment in report.get("segments") or ():
        for feature in (segment.get("feature_collection") or {}).get("features") or ():
            yield feature, segment["name"]


def _box_class(report: Mapping[str, Any]) -> str:
    if report["type"] == "AiMitosisCounting":
        return "mitosis"
    return "object"


@dataclass
class _Collected:
    """Collects shapes as the arrays that objects are made of."""

    known: Sequence[ClassCard]
    frame: Frame
    not_drawn: int = 0
    _names: dict[str, int] = field(default_factory=dict)
    _colors: list[str] = field(default_factory=list)
    _rings: list[Floats] = field(default_factory=list)
    _holes: list[tuple[Floats, ...]] = field(default_factory=list)
    _centres: list[Floats] = field(default_factory=list)
    _kinds: list[int] = field(default_factory=list)
    _scores: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        for one in self.known:
            self._names[one.name] = len(self._names)
            self._colors.append(one.color)
        half_px = (_HALF_PX, _HALF_PX)
        if self.frame.mpp_x is not None and self.frame.mpp_y is not None:
            half_px = (_HALF_UM / self.frame.mpp_x, _HALF_UM / self.frame.mpp_y)
        self._half = np.array(half_px)

    def add_feature(self, feature: Mapping[str, Any], kind: str) -> None:
        """Add the shapes of a feature; a line has none."""
        properties = feature.get("properties") or {}
        color = _color(properties.get("color"))
        score = _score(properties.get("score"))
        contours = properties.get("contour_colors") or ()
        before = len(self._kinds)
        for shape in _shapes(feature["geometry"], kind, contours):
            self._add(_Shape(shape.kind, shape.rings, shape.point, score, shape.color or color))
        if len(self._kinds) == before:
            self.not_drawn += 1

    def add_point(self, point: Mapping[str, Any]) -> None:
        """Add a point of a report."""
        place = (point["x"], point["y"])
        self._add(_Shape(point["type"], (), place, _score(point["score"])))

    def add_box(self, box: Mapping[str, Any], kind: str) -> None:
        """Add a box of a report."""
        left, top = box["x"], box["y"]
        right = left + box["width"]
        bottom = top + box["height"]
        corners = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
        self._add(_Shape(kind, [corners]))

    def result(self) -> PostedObjects:
        """Return what was collected."""
        holes: tuple[tuple[Floats, ...], ...] = ()
        if any(self._holes):
            holes = tuple(self._holes)
        objects = Objects(
            centres=np.array(self._centres, np.float64).reshape(-1, 2),
            outlines=tuple(self._rings),
            classes=np.array(self._kinds, np.int64),
            scores=np.array(self._scores, np.float64),
            holes=holes,
        )
        return PostedObjects(objects, self._cards(), self.not_drawn)

    def _add(self, shape: _Shape) -> None:
        if shape.rings:
            outline, *holes = [_open_ring(ring) for ring in shape.rings]
            centre = centroid(outline)
        else:
            centre = np.array(shape.point[:2], np.float64)
            outline = square(centre, self._half)
            holes = []
        self._rings.append(outline)
        self._holes.append(tuple(holes))
        self._centres.append(centre)
        self._kinds.append(self._number(shape.kind, shape.color))
        self._scores.append(shape.score)

    def _number(self, kind: str, color: str) -> int:
        name = kind[:_NAME_CHARS] or _OTHER
        if name not in self._names:
            if len(self._names) >= _MOST_CLASSES:
                name = _OTHER
                color = ""
            if name not in self._names:
                self._names[name] = len(self._names)
                self._colors.append(color)
        return self._names[name]

    def _cards(self) -> tuple[ClassCard, ...]:
        known = {one.name: one for one in self.known}
        stated = [color or None for color in self._colors]
        cards = []
        for name, color in zip(self._names, distinct_colors(stated, PALETTE), strict=True):
            own = ClassCard(name=name, color=color, annotation_type=name)
            cards.append(known.get(name, own))
        return tuple(cards)


def _shapes(geometry: Mapping[str, Any], kind: str, contours: Sequence[str]) -> Iterator[_Shape]:
    """Yield the polygons and points of a geometry; parts of a heat map have a class each."""
    coordinates = geometry.get("coordinates") or ()
    match geometry["type"]:
        case "Polygon":
            yield _Shape(kind, coordinates)
        case "MultiPolygon":
            yield from (_Shape(kind, rings) for rings in coordinates)
        case "Point":
            yield _Shape(kind, (), coordinates)
        case "MultiPoint":
            yield from (_Shape(kind, (), point) for point in coordinates)
        case "GeometryCollection":
            yield from _parts(geometry["geometries"], kind, contours)


def _parts(parts: Sequence[Any], kind: str, contours: Sequence[str]) -> Iterator[_Shape]:
    """Yield the shapes of a collection; the contours of a heat map have a class and colour each."""
    for number, part in enumerate(parts):
        name = kind
        color = ""
        if number < len(contours):
            name = f"{kind} {number + 1}"
            color = contours[number].lower()
        for shape in _shapes(part, name, ()):
            yield _Shape(shape.kind, shape.rings, shape.point, color=color)


def _open_ring(ring: Sequence[Sequence[float]]) -> Floats:
    """Return a closed ring as an open one; a triangle of three different points stays one."""
    return np.array([point[:2] for point in ring[:-1]], np.float64)


def _color(value: Any) -> str:
    """Return a colour that is #rrggbb, else nothing."""
    if not isinstance(value, str) or len(value) != _COLOR_CHARS or value[0] != "#":
        return ""
    try:
        int(value[1:], 16)
    except ValueError:
        return ""
    return value.lower()


def _score(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    return 1.0
