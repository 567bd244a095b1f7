"""A heat map as Techcyte draws it: contours in one feature, each polygon with its colour.

Techcyte/devkit, posting-external-model-results, "GeoJSON": a `GeometryCollection` of polygons whose
`properties.contour_colors` has one colour for each. The higher contours lie on the lower ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np

from broker.orders.algorithm_card import ClassCard
from worker.geometry.frame import Area, Floats, Frame
from worker.geometry.polygons import cells_covered, open_rings
from worker.results.files.attention_csv import MEASUREMENTS as ATTENTION
from worker.results.objects import Objects
from worker.results.result import Result

LEVELS: Final = (0.2, 0.4, 0.6, 0.8)
"""Lower ends of the contours: of a probability, a rank, or of the density where it is highest."""
ATTENTION_TYPE: Final = "attention"
_ATTENTION_COLOR: Final = "#c8321e"
_MOST_CELLS: Final = 256
"""Cells along the longer side of an area: finer contours cannot be told apart at its overview."""
_NARROWEST_UM: Final = 50.0
_NARROWEST_PX: Final = 100.0


@dataclass(frozen=True, slots=True)
class HeatMap:
    """The contours of one class, or of the attention of a network."""

    annotation_type: str
    name: str
    polygons: list[list[Floats]]
    colors: list[str]

    @property
    def geometry(self) -> dict[str, Any]:
        """Return the contours as GeoJSON, closed rings in level-0 pixels."""
        shapes = [
            {"type": "Polygon", "coordinates": [_closed(ring) for ring in rings]}
            for rings in self.polygons
        ]
        return {"type": "GeometryCollection", "geometries": shapes}

    @property
    def bbox(self) -> list[float]:
        """Return the box around all contours."""
        points = np.concatenate([rings[0] for rings in self.polygons]).round(1)
        return [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()]


def heat_maps(result: Result) -> Iterator[HeatMap]:
    """Yield a heat map of each class that is no background, or of the attention.

    One that would be empty is left out.
    """
    if result.card.measurements == ATTENTION:
        yield from _heat_map(result, _Class(-1, ATTENTION_TYPE, "attention", _ATTENTION_COLOR))
    for number, entry in enumerate(result.card.object_classes):
        if not entry.background:
            yield from _heat_map(result, _Class.of(number, entry))


def can_be_mapped(result: Result) -> bool:
    """Return whether a heat map says something true: of tiles, of objects, or of attention.

    The polygons of a mask are large: where their middle is says nothing.
    """
    if result.card.measurements == ATTENTION:
        return True
    return result.card.output in ("tiles", "objects")


@dataclass(frozen=True, slots=True)
class _Class:
    number: int
    annotation_type: str
    name: str
    color: str

    @classmethod
    def of(cls, number: int, entry: ClassCard) -> "_Class":
        return cls(number, entry.annotation_type, entry.label, entry.color)


def _heat_map(result: Result, kind: _Class) -> Iterator[HeatMap]:
    if result.card.output == "objects":
        cells, heat = _density(result, kind)
    else:
        cells, heat = _tile_values(result, kind)
    polygons: list[list[Floats]] = []
    colors: list[str] = []
    for level, color in zip(LEVELS, _shades(kind.color), strict=True):
        shapes = cells_covered(heat >= level, cells.left_top, cells.size, cells.area)
        found = open_rings(shapes)
        polygons += found
        colors += [color] * len(found)
    if polygons:
        yield HeatMap(kind.annotation_type, kind.name, polygons, colors)


@dataclass(frozen=True, slots=True)
class _Cells:
    """A lattice over an area: the size of a cell in level-0 pixels, and how many there are."""

    area: Area
    size: tuple[float, float]
    shape: tuple[int, int]

    @property
    def left_top(self) -> tuple[float, float]:
        return self.area.x, self.area.y

    @classmethod
    def over(cls, area: Area, width: float, height: float) -> "_Cells":
        columns = max(1, int(np.ceil(area.width / width)))
        rows = max(1, int(np.ceil(area.height / height)))
        return cls(area, (width, height), (rows, columns))


def _density(result: Result, kind: _Class) -> tuple[_Cells, Floats]:
    """Return how dense the centres of one class lie, 1 where they lie densest."""
    findings = result.findings
    narrowest = _narrowest(findings.frame)
    longest = max(findings.area.width / narrowest[0], findings.area.height / narrowest[1])
    factor = max(1.0, longest / _MOST_CELLS)
    cells = _Cells.over(findings.area, narrowest[0] * factor, narrowest[1] * factor)
    counts = np.zeros(cells.shape, np.float32)
    for objects in findings.objects.chunks():
        centres = objects.centres[objects.classes == kind.number]
        places = ((centres - cells.left_top) / cells.size).astype(np.int64)
        places = places.clip(0, (cells.shape[1] - 1, cells.shape[0] - 1))
        np.add.at(counts, (places[:, 1], places[:, 0]), 1)
    blurred = cv2.GaussianBlur(counts, (0, 0), 1.0, borderType=cv2.BORDER_CONSTANT)
    heat = np.asarray(blurred, np.float64)
    highest = float(heat.max())
    if not highest:
        return cells, heat
    return cells, heat / highest


def _narrowest(frame: Frame) -> tuple[float, float]:
    if frame.mpp_x is None or frame.mpp_y is None:
        return _NARROWEST_PX, _NARROWEST_PX
    return _NARROWEST_UM / frame.mpp_x, _NARROWEST_UM / frame.mpp_y


def _tile_values(result: Result, kind: _Class) -> tuple[_Cells, Floats]:
    """Return the value of the likeliest tile at each place; 0 where there is none."""
    findings = result.findings
    area = findings.area
    cells: _Cells | None = None
    heat: Floats = np.zeros((1, 1))
    for objects in findings.objects.chunks():
        low = np.array([outline.min(axis=0) for outline in objects.outlines])
        high = np.array([outline.max(axis=0) for outline in objects.outlines])
        if cells is None:
            cells = _cells_of_tiles(area, low, high)
            heat = np.zeros(cells.shape)
        first = np.rint((low - cells.left_top) / cells.size).astype(np.int64).clip(0)
        last = np.rint((high - cells.left_top) / cells.size).astype(np.int64).clip(0)
        values = _values(objects, result.card.measurements, kind.number)
        rows = zip(first.tolist(), last.tolist(), values.tolist(), strict=True)
        for (left, top), (right, bottom), value in rows:
            part = heat[top:bottom, left:right]
            np.maximum(part, value, out=part)
    if cells is None:
        return _Cells.over(area, area.width, area.height), heat
    return cells, heat


def _cells_of_tiles(area: Area, low: Floats, high: Floats) -> _Cells:
    """Return cells of half a tile, so that tiles may overlap by half; at most `_MOST_CELLS`."""
    half = np.median(high - low, axis=0) / 2
    width = max(float(half[0]), area.width / _MOST_CELLS)
    height = max(float(half[1]), area.height / _MOST_CELLS)
    return _Cells.over(area, width, height)


def _values(objects: Objects, measurements: Sequence[str], kind: int) -> Floats:
    """Return the probability of the class, or the rank of the attention, of each tile."""
    if kind < 0:
        return objects.measurements[:, measurements.index("attention_rank")]
    if objects.probabilities.size:
        return objects.probabilities[:, kind]
    return np.where(objects.classes == kind, objects.scores, 0.0)


def _shades(color: str) -> list[str]:
    """Return a colour for each level, from pale to full."""
    full = np.array([int(color[start : start + 2], 16) for start in (1, 3, 5)])
    shades = []
    for number in range(1, len(LEVELS) + 1):
        mixed = 255 + (full - 255) * number / len(LEVELS)
        shades.append("#" + "".join(f"{round(value):02x}" for value in mixed.tolist()))
    return shades


def _closed(ring: Floats) -> list[list[float]]:
    points: list[list[float]] = ring.round(1).tolist()
    return [*points, points[0]]
