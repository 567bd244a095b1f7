"""The marks of caMicroscope 3: one document for each object.

Sources: camicroscope/caMicroscope, `core/extension/osd-segment-overlay.js` draws them and
`common/util.js` scales them; camicroscope/Caracal, `handlers/dataHandlers.js` finds them by `x`,
`y` and `footprint`. The overlay reads the style of every mark: one without it empties the layer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from worker.delivery.destinations.camicroscope.texts import plain
from worker.geometry.frame import Floats, Frame
from worker.geometry.roi import polygon_rings
from worker.results.polygons import simple_rings
from worker.results.result import Result

DECIMALS: Final = 8
"""Of coordinates, which are shares of the slide: 0.002 pixels on a slide of 200,000."""
MAX_POINTS: Final = 100_000
"""Of an outline. A document of MongoDB has at most 16 MB."""
_AREA_COLOR: Final = "#808080"


def marks(result: Result, analysis: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a mark for each outline of the scan.

    An object with holes is cut through them: the viewer draws one ring for each mark. Where the
    objects have no class, as tiles with embeddings, the outline of the area is the mark.
    """
    card = result.card
    if not card.object_classes:
        yield from _area_marks(result, analysis)
        return
    names = card.measurements
    for ring in simple_rings(result.findings):
        kind = card.object_classes[ring.kind]
        about: dict[str, Any] = {"name": plain(kind.label), "score": round(ring.score, 4)}
        for name, value in zip(names, ring.measurements, strict=False):
            about[plain(name)] = round(value, 4)
        outline = _Outline(ring.points, ring.area_px2)
        mark = _mark(result, analysis, outline, kind.color, about)
        yield mark | {"object_type": plain(kind.name)}


def analysis_of(execution_id: str, title: str) -> dict[str, Any]:
    """Return `provenance.analysis` of all marks of a run.

    Each distinct one is a layer of the viewer, so nothing of a single object stands in it.
    """
    return {
        "source": "computer",
        "execution_id": execution_id,
        "name": plain(title),
        "computation": "segmentation",
        "coordinate": "normalized",
    }


@dataclass(frozen=True, slots=True)
class _Outline:
    """One closed ring in level-0 pixels, (N, 2), and its size in square pixels."""

    points: Floats
    area_px2: float


def _area_marks(result: Result, analysis: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the outlines of the ordered area, with the figures of the summary."""
    about: dict[str, Any] = {
        plain(name): value
        for name, value in result.findings.summary.items()
        if isinstance(value, int | float)
    }
    about["name"] = plain(result.findings.headline)
    for rings in polygon_rings(result.findings.area):
        outline = _Outline(rings[0], _size_px2(rings[0]))
        mark = _mark(result, analysis, outline, _AREA_COLOR, about)
        yield mark | {"object_type": "area"}


def _size_px2(points: Floats) -> float:
    x, y = points.T
    return abs(float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))) / 2


def _mark(
    result: Result,
    analysis: dict[str, Any],
    outline: _Outline,
    color: str,
    about: dict[str, Any],
) -> dict[str, Any]:
    ring = _normalized(outline.points, result.findings.frame)
    left, top = ring.min(axis=0).tolist()
    right, bottom = ring.max(axis=0).tolist()
    box = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    feature = {
        "type": "Feature",
        "properties": {
            "style": {"color": color, "lineCap": "round", "lineJoin": "round", "isFill": False},
            "nommp": True,
        },
        "geometry": {"type": "Polygon", "coordinates": [ring.tolist()]},
        "bound": {"type": "Polygon", "coordinates": [box]},
    }
    return {
        "creator": "slidelane",
        "created_date": str(result.produced.get("at", "")),
        "provenance": {"analysis": analysis},
        "properties": {"annotations": about},
        "geometries": {"type": "FeatureCollection", "features": [feature]},
        # the viewer asks for marks whose centre lies in view and whose size can be seen
        "footprint": outline.area_px2,
        "x": round((left + right) / 2, DECIMALS + 1),
        "y": round((top + bottom) / 2, DECIMALS + 1),
        "bbox": [left, top, right, bottom],
    }


def _normalized(points: Floats, frame: Frame) -> Floats:
    """Return a closed ring as shares of the slide: x of its width, y of its height."""
    if len(points) > MAX_POINTS:
        step = -(-len(points) // MAX_POINTS)
        points = np.concatenate([points[:-1:step], points[:1]])
    return np.round(points / (frame.width, frame.height), DECIMALS)
