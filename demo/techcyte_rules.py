"""What Techcyte's external results API accepts, from its documentation, checked by hand and to the letter.

Written apart from the worker's own model of the same rules, so that a mistake there does not hide here.
"""

import json
import math
import re
from collections import Counter
from typing import Any, NoReturn

REPORTS = frozenset(
    {
        "Basic",
        "WholeSlideDifferential",
        "AreaDifferential",
        "SemiQuantitativeDifferential",
        "RegionCounting",
        "AiMitosisCounting",
        "TumorCellularity",
    }
)
GEOMETRIES = frozenset(
    {
        "Point",
        "MultiPoint",
        "LineString",
        "MultiLineString",
        "Polygon",
        "MultiPolygon",
        "GeometryCollection",
    }
)


def check_results(body: bytes) -> dict[str, Any]:
    """The body as JSON. Raises `ValueError` that says where the first broken rule is."""
    given = json.loads(body, parse_constant=_no_constant)
    _need(isinstance(given, dict), "body", "must be an object")
    scans = given.get("scanResults")
    _need(isinstance(scans, list) and scans, "scanResults", "must be a list with at least one scan")
    for number, scan in enumerate(scans):
        _scan(scan, f"scanResults[{number}]")
    twice = [scan for scan, times in Counter(scan["scanId"] for scan in scans).items() if times > 1]
    _need(not twice, "scanResults", f"scans given twice: {twice}")
    return dict(given)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _need(holds: Any, where: str, rule: str) -> None:
    if not holds:
        raise ValueError(f"{where}: {rule}")


def _object(value: Any, where: str) -> dict[str, Any]:
    _need(isinstance(value, dict), where, "must be an object")
    return dict(value)


def _scan(value: Any, where: str) -> None:
    scan = _object(value, where)
    _need(
        isinstance(scan.get("scanId"), str) and scan["scanId"],
        f"{where}.scanId",
        "must be a string",
    )
    results = _object(scan.get("results", {}), f"{where}.results")
    _need(
        isinstance(results.get("summary", ""), str), f"{where}.results.summary", "must be a string"
    )
    reasons = scan.get("qcFailReasons") or []
    _need(
        isinstance(reasons, list) and all(isinstance(r, str) for r in reasons),
        f"{where}.qcFailReasons",
        "not strings",
    )
    if "geojson" in scan:
        _collection(scan["geojson"], f"{where}.geojson", typed=True)
    if "workflow" in scan:
        _workflow(_object(scan["workflow"], f"{where}.workflow"), f"{where}.workflow")


def _workflow(workflow: dict[str, Any], where: str) -> None:
    _need(isinstance(workflow.get("ruo", False), bool), f"{where}.ruo", "must be a boolean")
    for name in ("model_name", "provider", "key", "value"):
        _need(isinstance(workflow.get(name, ""), str), f"{where}.{name}", "must be a string")
    report = _object(workflow.get("report", {"type": "Basic"}), f"{where}.report")
    _need(
        report.get("type") in REPORTS,
        f"{where}.report.type",
        f"{report.get('type')!r} is not a report type",
    )
    if report["type"] == "Basic":
        _basic(report, f"{where}.report")


def _basic(report: dict[str, Any], where: str) -> None:
    for part in ("results", "segments"):
        lines = report.get(part, [])
        _need(isinstance(lines, list), f"{where}.{part}", "must be a list")
        for number, value in enumerate(lines):
            at = f"{where}.{part}[{number}]"
            line = _object(value, at)
            _need(isinstance(line.get("name"), str), f"{at}.name", "must be a string")
            _need(isinstance(line.get("result"), str), f"{at}.result", "must be a string")
            if "feature_collection" in line:
                _collection(line["feature_collection"], f"{at}.feature_collection", typed=False)


def _collection(value: Any, where: str, *, typed: bool) -> None:
    """A FeatureCollection; `typed` is the top-level one, whose features must say their `annotation_type`."""
    collection = _object(value, where)
    _need(
        collection.get("type") == "FeatureCollection", f"{where}.type", "must be FeatureCollection"
    )
    features = collection.get("features")
    _need(isinstance(features, list), f"{where}.features", "must be a list")
    for number, feature in enumerate(features or ()):
        _feature(
            _object(feature, f"{where}.features[{number}]"),
            f"{where}.features[{number}]",
            typed=typed,
        )


def _feature(feature: dict[str, Any], where: str, *, typed: bool) -> None:
    _need(feature.get("type") == "Feature", f"{where}.type", "must be Feature")
    properties = _object(feature.get("properties") or {}, f"{where}.properties")
    kind = properties.get("annotation_type")
    _need(
        not typed or (isinstance(kind, str) and kind),
        f"{where}.properties.annotation_type",
        "must be a string",
    )
    colours = properties.get("contour_colors", [])
    _need(_are_colours(colours), f"{where}.properties.contour_colors", "must be a list of #rrggbb")
    if "bbox" in feature:
        box = feature["bbox"]
        _need(
            isinstance(box, list) and len(box) == 4 and all(map(_number, box)),
            f"{where}.bbox",
            "must be 4 numbers",
        )
    _geometry(_object(feature.get("geometry"), f"{where}.geometry"), f"{where}.geometry")


def _are_colours(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(c, str) and re.fullmatch("#[0-9a-fA-F]{6}", c) for c in value
    )


def _geometry(geometry: dict[str, Any], where: str) -> None:
    kind = geometry.get("type")
    _need(kind in GEOMETRIES, f"{where}.type", f"{kind!r} is not a geometry")
    if kind == "GeometryCollection":
        for number, part in enumerate(geometry.get("geometries", ())):
            _geometry(
                _object(part, f"{where}.geometries[{number}]"), f"{where}.geometries[{number}]"
            )
    elif kind == "Polygon":
        rings = geometry.get("coordinates")
        _need(
            isinstance(rings, list) and rings and all(map(_ring, rings)),
            where,
            "every ring must be closed, 4+ points",
        )


def _ring(ring: Any) -> bool:
    return (
        isinstance(ring, list)
        and len(ring) >= 4
        and ring[0] == ring[-1]
        and all(map(_position, ring))
    )


def _position(value: Any) -> bool:
    return isinstance(value, list) and len(value) >= 2 and all(map(_number, value))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
