"""What is drawn of a scan's objects: as annotations, or in the segments of its report.

Written and checked batch by batch: all features of a slide as Python objects would take gigabytes.
Coordinates are level-0 pixels, x right, y down.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, Final

import numpy as np

from broker.orders.algorithm_card import ClassCard
from broker.orders.techcyte_options import Features
from worker.delivery.destinations.techcyte.drawn_objects import OfClass, Simplified
from worker.delivery.destinations.techcyte.heat_map import HeatMap, can_be_mapped, heat_maps
from worker.results.json_text import numbers_json, strict_json
from worker.results.objects import ObjectSource
from worker.results.polygons import Ring, simple_rings
from worker.results.result import Findings, Result
from worker.results.techcyte_rules.body import (
    check_drawing,
    check_features,
    check_segment_features,
)

NO_FEATURES: Final = {"type": "FeatureCollection", "features": []}
FEATURES_PER_BATCH: Final = 1024


def annotations(result: Result, drawn: Features) -> Iterator[bytes]:
    """Yield the features of a scan's `geojson` in checked batches, separated by commas.

    Each has an `annotation_type` and its box. Objects without a class are not drawn: Techcyte
    refuses a feature without a type.
    """
    if drawn == "none":
        return
    if drawn == "heat_map" and can_be_mapped(result):
        yield from _separated(map(_heat_map_feature, heat_maps(result)))
        return
    classes = result.card.object_classes
    if not classes:
        return
    if drawn == "points":
        points = (_points_feature(result, number) for number in range(len(classes)))
        yield from _separated(filter(None, points))
        return
    properties = [_json({"annotation_type": entry.annotation_type}) for entry in classes]
    texts = (
        _annotation(ring, properties[ring.kind]) for ring in simple_rings(_drawn(result, drawn))
    )
    yield from _batches(texts, is_segment=False)


def segment_features(result: Result, drawn: Features, number: int) -> Iterator[bytes]:
    """Yield the features of the segment of class `number`, like `annotations`.

    Each has the name and the colour of the class, as those of Techcyte's own template.
    """
    if drawn == "none":
        return
    entry = result.card.object_classes[number]
    properties = _json({"name": entry.label, "color": entry.color})
    findings = replace(result.findings, objects=OfClass(result.findings.objects, number))
    one_class = replace(result, findings=findings)
    if drawn == "points":
        points = _points_geometry(findings.objects)
        if points:
            yield _checked_drawing(f'{{"geometry":{points},"properties":{properties}}}')
        return
    drawable = _drawn(one_class, drawn)
    texts = (_segment_feature(ring, properties) for ring in simple_rings(drawable))
    yield from _batches(texts, is_segment=True)


def _drawn(result: Result, drawn: Features) -> Findings:
    """Return the findings with the outlines that are drawn."""
    findings = result.findings
    if drawn != "simplified":
        return findings
    return replace(findings, objects=Simplified(findings.objects, findings.frame))


def _annotation(ring: Ring, properties: str) -> str:
    """Return an object as the JSON text of a feature with its box."""
    bbox = numbers_json(ring.bbox)
    geometry = f'{{"type":"Polygon","coordinates":[{numbers_json(ring.points)}]}}'
    return f'{{"type":"Feature","bbox":{bbox},"geometry":{geometry},"properties":{properties}}}'


def _segment_feature(ring: Ring, properties: str) -> str:
    geometry = f'{{"type":"Polygon","coordinates":[{numbers_json(ring.points)}]}}'
    return f'{{"type":"Feature","geometry":{geometry},"properties":{properties}}}'


def _batches(texts: Iterator[str], *, is_segment: bool) -> Iterator[bytes]:
    separator = b""
    while batch := ",".join(islice(texts, FEATURES_PER_BATCH)).encode("ascii"):
        if is_segment:
            check_segment_features(batch)
        else:
            check_features(batch)
        yield separator + batch
        separator = b","


def _points_feature(result: Result, number: int) -> str:
    """Return the centres of one class as one feature; an empty text without any.

    The box is that of the outlines, so that it has an area even around a single point.
    """
    objects = OfClass(result.findings.objects, number)
    points = _points_geometry(objects)
    if not points:
        return ""
    entry: ClassCard = result.card.object_classes[number]
    properties = _json({"annotation_type": entry.annotation_type})
    return f'{{"bbox":{_box(objects)},"geometry":{points},"properties":{properties}}}'


def _points_geometry(objects: ObjectSource) -> str:
    centres = [chunk.centres.round(1) for chunk in objects.chunks()]
    if not centres:
        return ""
    coordinates = ",".join(numbers_json(np.ascontiguousarray(one))[1:-1] for one in centres)
    return f'{{"type":"MultiPoint","coordinates":[{coordinates}]}}'


def _box(objects: ObjectSource) -> str:
    low = np.full(2, np.inf)
    high = np.full(2, -np.inf)
    for chunk in objects.chunks():
        points = np.concatenate(chunk.outlines)
        low = np.minimum(low, points.min(axis=0))
        high = np.maximum(high, points.max(axis=0))
    return numbers_json(np.concatenate([low, high]).round(1))


def _heat_map_feature(heat_map: HeatMap) -> str:
    feature: dict[str, Any] = {
        "bbox": heat_map.bbox,
        "geometry": heat_map.geometry,
        "properties": {
            "annotation_type": heat_map.annotation_type,
            "contour_colors": heat_map.colors,
        },
    }
    return _json(feature)


def _separated(features: Iterator[str]) -> Iterator[bytes]:
    separator = b""
    for feature in features:
        yield separator + _checked_drawing(feature)
        separator = b","


def _checked_drawing(feature: str) -> bytes:
    """Return a feature of many points or contours, which has been given no type yet."""
    content = b'{"type":"Feature",' + feature[1:].encode("ascii")
    check_drawing(content)
    return content


def _json(document: Any) -> str:
    return strict_json(document).decode()
