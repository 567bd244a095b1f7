"""Techcyte's report of one scan, of the type that the algorithm's card names.

Points and boxes are written and checked batch by batch: a slide has hundreds of thousands.
Coordinates are level-0 pixels, x right, y down.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from broker.orders.report_type import (
    AiMitosisCounting,
    AreaDifferential,
    BasicReport,
    RegionCounting,
    SemiQuantitativeDifferential,
    TumorCellularity,
    WholeSlideDifferential,
    parse_report,
)
from broker.orders.techcyte_options import Features
from worker.delivery.destinations.techcyte.basic_report import basic_fields, segment_pieces
from worker.geometry.frame import Area, Floats
from worker.geometry.roi import inside, polygon_rings, size_mm2, size_px2
from worker.results.hotspots import hotspots
from worker.results.json_text import strict_json
from worker.results.objects import Objects
from worker.results.result import Result
from worker.results.techcyte_rules.body import check_boxes, check_points

_Counting = RegionCounting | AiMitosisCounting
_Differential = WholeSlideDifferential | AreaDifferential | SemiQuantitativeDifferential


def report_fields(result: Result) -> dict[str, Any]:
    """Return the report as fields fit for JSON, without its points and boxes."""
    match parse_report(result.card.report):
        case BasicReport():
            return basic_fields(result)
        case RegionCounting() | AiMitosisCounting() as report:
            return {"type": report.type, "objects": [], "regions": _counted_regions(result, report)}
        case TumorCellularity() as report:
            return _cellularity(result, report)
        case AreaDifferential() as report:
            regions = [_region_fields(result, report, *numbered) for numbered in _parts(result)]
            return {**_differential(result, report), "regions": regions}
        case report:
            return {**_differential(result, report), "points": []}


def report_pieces(
    result: Result, fields: dict[str, Any], in_segments: Features = "none"
) -> Iterator[bytes]:
    """Yield the JSON of the report in pieces, given what `report_fields` returned.

    `in_segments` is what the segments of a `Basic` report draw of the objects.

    Raise `OrderError("parcel_invalid")` if Techcyte would reject a point, a box or a feature.
    """
    match parse_report(result.card.report):
        case BasicReport() if in_segments != "none":
            pieces = segment_pieces(result, fields, in_segments)
            yield from _with_list(fields, "segments", pieces)
        case RegionCounting() | AiMitosisCounting() as report:
            yield from _with_list(fields, "objects", _boxes(result, report))
        case AreaDifferential() as report:
            yield from _with_list(fields, "regions", _region_pieces(result, report, fields))
        case WholeSlideDifferential() | SemiQuantitativeDifferential() as report:
            points = _points(result, report, result.findings.area)
            yield from _with_list(fields, "points", points)
        case _:
            yield strict_json(fields)


def _with_list(fields: dict[str, Any], name: str, items: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the JSON of the fields, whose list `name` holds these items."""
    rest = {key: value for key, value in fields.items() if key != name}
    yield b'{"%s":[' % name.encode()
    yield from items
    yield b"]," + strict_json(rest)[1:]


def _region_pieces(
    result: Result, report: AreaDifferential, fields: dict[str, Any]
) -> Iterator[bytes]:
    """Yield the JSON of each region with its points, separated by commas."""
    separator = b""
    for region, (_, part) in zip(fields["regions"], _parts(result), strict=True):
        yield separator
        yield from _with_list(region, "points", _points(result, report, part))
        separator = b","


def _counted_regions(result: Result, report: _Counting) -> list[dict[str, Any]]:
    """Return the hotspots as features, or the area that was asked for where there are none."""
    findings = result.findings
    counted = [objects.centres for objects in _counted(result, report)]
    centres = np.concatenate([np.empty((0, 2)), *counted])
    found = hotspots(centres, findings.area, findings.frame, report.hotspot_mm2, report.hotspots)
    if not found:
        return [_region([polygon_rings(findings.area)], "Area")]
    return [
        _region([[[square.ring]]], f"Hotspot {number}: {square.objects}")
        for number, square in enumerate(found, start=1)
    ]


def _counted(result: Result, report: _Counting) -> Iterator[Objects]:
    """Yield the objects that are counted."""
    names = [entry.name for entry in result.card.classes]
    for objects in result.findings.objects.chunks():
        if isinstance(report, AiMitosisCounting):
            yield objects.selected(objects.classes == names.index(report.mitosis))
        else:
            yield objects


def _boxes(result: Result, report: _Counting) -> Iterator[bytes]:
    """Yield the boxes of the counted objects in checked batches, separated by commas."""
    separator = b""
    for objects in _counted(result, report):
        boxes = [_box(outline) for outline in objects.outlines]
        if not boxes:
            continue
        batch = strict_json(boxes)[1:-1]
        check_boxes(batch)
        yield separator + batch
        separator = b","


def _box(outline: Floats) -> dict[str, float]:
    low = outline.min(axis=0)
    size = outline.max(axis=0) - low
    return {
        "x": round(float(low[0]), 1),
        "y": round(float(low[1]), 1),
        "width": max(0.1, round(float(size[0]), 1)),
        "height": max(0.1, round(float(size[1]), 1)),
    }


def _differential(result: Result, report: _Differential) -> dict[str, Any]:
    """Return the fields of a differential report but its points and regions."""
    counts = result.counts()
    total = sum(counts.values())
    scores = {}
    if total:
        scores = {f"share of {name}": count / total for name, count in counts.items()}
    fields: dict[str, Any] = {"type": report.type, "scores": scores}
    if not isinstance(report, SemiQuantitativeDifferential):
        fields["positivity_threshold"] = report.positivity_threshold
    return fields


def _points(result: Result, report: _Differential, area: Area) -> Iterator[bytes]:
    """Yield the points of the area in checked batches, separated by commas."""
    names = [entry.name for entry in result.card.classes]
    separator = b""
    for every in result.findings.objects.chunks():
        objects = every
        if area is not result.findings.area:
            objects = every.selected(inside(every.centres, area))
        rows = zip(
            objects.centres.round(1).tolist(),
            _scores(objects, report, names).round(4).clip(0, 1).tolist(),
            objects.classes.tolist(),
            strict=True,
        )
        points = [
            {"x": x, "y": y, "score": score, "type": names[number]}
            for (x, y), score, number in rows
        ]
        if not points:
            continue
        batch = strict_json(points)[1:-1]
        check_points(batch)
        yield separator + batch
        separator = b","


def _scores(objects: Objects, report: _Differential, names: Sequence[str]) -> Floats:
    """Return how likely each object is of the positive class, or else of its own."""
    if report.positive is None:
        return objects.scores
    positive = names.index(report.positive)
    if objects.probabilities.size:
        return objects.probabilities[:, positive]
    return np.where(objects.classes == positive, objects.scores, 1 - objects.scores)


def _parts(result: Result) -> list[tuple[int, Area]]:
    """Return each polygon that was asked for, with its number, as far as it lies on the slide."""
    area = result.findings.area
    if len(area.polygons) < 2:
        return [(1, area)]
    parts = []
    for number, polygon in enumerate(area.polygons, start=1):
        part = Area(area.x, area.y, area.width, area.height, (polygon,))
        if polygon_rings(part):
            parts.append((number, part))
    return parts


def _region_fields(
    result: Result, report: AreaDifferential, number: int, part: Area
) -> dict[str, Any]:
    """Return a region without its points: its outline, its share of the whole and its score."""
    weight = size_px2(part) / size_px2(result.findings.area)
    return {
        "region": _region([polygon_rings(part)], f"Region {number}"),
        "weight": min(1.0, round(weight, 6)),
        "score": round(_region_score(result, report, part), 6),
        "points": [],
    }


def _region_score(result: Result, report: AreaDifferential, area: Area) -> float:
    """Return the share of the region's points that reach the threshold; 0 without any."""
    names = [entry.name for entry in result.card.classes]
    points = 0
    positive = 0
    for every in result.findings.objects.chunks():
        objects = every.selected(inside(every.centres, area))
        scores = _scores(objects, report, names)
        points += len(scores)
        positive += int((scores >= report.positivity_threshold).sum())
    if not points:
        return 0.0
    return positive / points


def _cellularity(result: Result, report: TumorCellularity) -> dict[str, Any]:
    """Return the share of tumour: of the area for a mask, of the objects else.

    The map is empty where nothing was found that could be tumour.
    """
    findings = result.findings
    counts = result.counts()
    parts: Mapping[str, float] = counts
    if result.card.output == "mask":
        parts = findings.summary.get("area_mm2_by_class", {})
    whole = float(sum(parts.values()))
    if result.card.output == "mask" and len(parts) == 1:
        whole = float(findings.summary.get("area_mm2", 0))  # one class alone is all that is found
    if not whole:
        return {"type": report.type, "threshold_map": {}}
    share = min(1.0, sum(parts.get(name, 0) for name in report.tumor) / whole)
    measured = {
        "tumor_cellularity": round(share, 6),
        "counts": [{"label": name, "count": count} for name, count in counts.items()],
        "region": _region([polygon_rings(findings.area)], "Area"),
        "area": size_mm2(findings.area, findings.frame),
    }
    return {"type": report.type, "threshold_map": {f"TC {share:.2f}": measured}}


def _region(areas: Sequence[Sequence[Sequence[Floats]]], name: str) -> dict[str, Any]:
    """Return a feature of all polygons of the areas, each its closed rings in level-0 pixels."""
    polygons = [polygon for area in areas for polygon in area]
    coordinates = [[ring.round(1).tolist() for ring in polygon] for polygon in polygons]
    geometry: dict[str, Any] = {"type": "MultiPolygon", "coordinates": coordinates}
    if len(coordinates) == 1:
        geometry = {"type": "Polygon", "coordinates": coordinates[0]}
    points = np.concatenate([polygon[0] for polygon in polygons]).round(1)
    return {
        "type": "Feature",
        "bbox": [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()],
        "geometry": geometry,
        "properties": {"annotation_type": "region", "name": name},
    }
