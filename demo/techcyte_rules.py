"""Checks results by the documentation of Techcyte's external results API.

Shares no code with the worker's model of the same rules, so that both cannot make the same mistake.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
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
    """Return the body as JSON. Raise `ValueError` with the place of the first broken rule."""
    results = json.loads(body, parse_constant=_no_constant)
    _need(isinstance(results, dict), "body", "must be an object")
    scans = results.get("scanResults")
    _need(isinstance(scans, list) and scans, "scanResults", "must be a list with at least one scan")
    for number, scan in enumerate(scans):
        _check_scan(scan, f"scanResults[{number}]")
    counts = Counter(scan["scanId"] for scan in scans)
    twice = [scan_id for scan_id, times in counts.items() if times > 1]
    _need(not twice, "scanResults", f"scans given twice: {twice}")
    if "caseResults" in results:
        _object(results["caseResults"], "caseResults")
    return dict(results)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _need(condition: Any, where: str, rule: str) -> None:
    if not condition:
        raise ValueError(f"{where}: {rule}")


def _object(value: Any, where: str) -> dict[str, Any]:
    _need(isinstance(value, dict), where, "must be an object")
    return dict(value)


def _check_scan(value: Any, where: str) -> None:
    scan = _object(value, where)
    _need(_is_text(scan.get("scanId")), f"{where}.scanId", "must be a string")
    results = _object(scan.get("results", {}), f"{where}.results")
    has_summary = isinstance(results.get("summary", ""), str)
    _need(has_summary, f"{where}.results.summary", "must be a string")
    reasons = scan.get("qcFailReasons") or []
    are_strings = isinstance(reasons, list) and all(isinstance(text, str) for text in reasons)
    _need(are_strings, f"{where}.qcFailReasons", "not strings")
    if "geojson" in scan:
        _check_collection(scan["geojson"], f"{where}.geojson", needs_type=True)
    if "workflow" in scan:
        _check_workflow(scan["workflow"], f"{where}.workflow")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _check_workflow(value: Any, where: str) -> None:
    workflow = _object(value, where)
    _need(isinstance(workflow.get("ruo", False), bool), f"{where}.ruo", "must be a boolean")
    for name in ("model_name", "provider", "key", "value"):
        _need(isinstance(workflow.get(name, ""), str), f"{where}.{name}", "must be a string")
    report = _object(workflow.get("report", {"type": "Basic"}), f"{where}.report")
    kind = report.get("type")
    _need(kind in REPORTS, f"{where}.report.type", f"{kind!r} is not a report type")
    at = f"{where}.report"
    if kind == "Basic":
        _check_basic_report(report, at)
    elif kind in ("RegionCounting", "AiMitosisCounting"):
        _check_list(report, "objects", at, _check_box)
        _check_list(report, "regions", at, _check_region)
    elif kind == "TumorCellularity":
        _check_cellularity(report, at)
    else:
        _check_differential(report, at)


def _check_basic_report(report: dict[str, Any], where: str) -> None:
    for part in ("results", "segments"):
        lines = report.get(part, [])
        _need(isinstance(lines, list), f"{where}.{part}", "must be a list")
        for number, value in enumerate(lines):
            at = f"{where}.{part}[{number}]"
            line = _object(value, at)
            _need(isinstance(line.get("name"), str), f"{at}.name", "must be a string")
            _need(isinstance(line.get("result"), str), f"{at}.result", "must be a string")
            if "feature_collection" in line:
                nested = line["feature_collection"]
                _check_collection(nested, f"{at}.feature_collection", needs_type=False)


def _check_list(
    value: dict[str, Any], name: str, where: str, check: Callable[[Any, str], None]
) -> None:
    """Check a list that must be there, and each of its members."""
    members = value.get(name)
    _need(isinstance(members, list), f"{where}.{name}", "must be a list")
    for number, member in enumerate(members or ()):
        check(member, f"{where}.{name}[{number}]")


def _check_numbers(value: Any, names: Sequence[str], where: str) -> None:
    members = _object(value, where)
    for name in names:
        _need(_is_number(members.get(name)), f"{where}.{name}", "must be a number")


def _check_box(value: Any, where: str) -> None:
    _check_numbers(value, ("x", "y", "width", "height"), where)


def _check_point(value: Any, where: str) -> None:
    _check_numbers(value, ("x", "y", "score"), where)
    _need(isinstance(value.get("type"), str), f"{where}.type", "must be a string")


def _check_region(value: Any, where: str) -> None:
    _check_feature(value, where, needs_type=False)


def _check_differential_region(value: Any, where: str) -> None:
    _check_numbers(value, ("weight", "score"), where)
    _check_region(value.get("region"), f"{where}.region")
    _check_list(value, "points", where, _check_point)


def _check_differential(report: dict[str, Any], where: str) -> None:
    kind = report["type"]
    scores = _object(report.get("scores"), f"{where}.scores")
    _need(all(map(_is_number, scores.values())), f"{where}.scores", "must be numbers")
    if kind != "SemiQuantitativeDifferential":
        _check_numbers(report, ("positivity_threshold",), where)
    if kind == "AreaDifferential":
        _check_list(report, "regions", where, _check_differential_region)
    else:
        _check_list(report, "points", where, _check_point)


def _check_cellularity(report: dict[str, Any], where: str) -> None:
    thresholds = _object(report.get("threshold_map"), f"{where}.threshold_map")
    for label, value in thresholds.items():
        at = f"{where}.threshold_map.{label}"
        _check_numbers(value, ("tumor_cellularity", "area"), at)
        _check_list(value, "counts", at, _check_count)
        _check_region(value.get("region"), f"{at}.region")


def _check_count(value: Any, where: str) -> None:
    _check_numbers(value, ("count",), where)
    _need(_is_text(value.get("label")), f"{where}.label", "must be a string")


def _check_collection(value: Any, where: str, *, needs_type: bool) -> None:
    """Check a FeatureCollection. The features of the top-level one need an `annotation_type`."""
    collection = _object(value, where)
    is_collection = collection.get("type") == "FeatureCollection"
    _need(is_collection, f"{where}.type", "must be FeatureCollection")
    features = collection.get("features")
    _need(isinstance(features, list), f"{where}.features", "must be a list")
    for number, feature in enumerate(features or ()):
        _check_feature(feature, f"{where}.features[{number}]", needs_type=needs_type)


def _check_feature(value: Any, where: str, *, needs_type: bool) -> None:
    feature = _object(value, where)
    _need(feature.get("type") == "Feature", f"{where}.type", "must be Feature")
    properties = _object(feature.get("properties") or {}, f"{where}.properties")
    if needs_type:
        kind = properties.get("annotation_type")
        _need(_is_text(kind), f"{where}.properties.annotation_type", "must be a string")
    if "bbox" in feature:
        _need(_is_box(feature["bbox"]), f"{where}.bbox", "must be 4 numbers")
    _check_geometry(feature.get("geometry"), f"{where}.geometry")
    if "contour_colors" in properties:
        _check_heat_map(feature["geometry"], properties["contour_colors"], where)


def _check_heat_map(geometry: dict[str, Any], colours: Any, where: str) -> None:
    """Check that the contours are polygons, each with its colour."""
    at = f"{where}.properties.contour_colors"
    _need(_are_colours(colours), at, "must be a list of #rrggbb")
    contours = geometry.get("geometries", [])
    are_polygons = all(part["type"] == "Polygon" for part in contours)
    is_heat_map = geometry["type"] == "GeometryCollection" and are_polygons
    _need(is_heat_map, where, "contours are a GeometryCollection of polygons")
    _need(len(colours) == len(contours), at, "must have one colour for each contour")


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))


def _are_colours(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_colour, value))


def _is_colour(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("#[0-9a-fA-F]{6}", value) is not None


def _check_geometry(value: Any, where: str) -> None:
    geometry = _object(value, where)
    kind = geometry.get("type")
    _need(kind in GEOMETRIES, f"{where}.type", f"{kind!r} is not a geometry")
    if kind == "GeometryCollection":
        for number, part in enumerate(geometry.get("geometries", ())):
            _check_geometry(part, f"{where}.geometries[{number}]")
    elif kind == "Polygon":
        rings = geometry.get("coordinates")
        are_closed = isinstance(rings, list) and rings and all(map(_is_ring, rings))
        _need(are_closed, where, "every ring must be closed, 4+ points")


def _is_ring(value: Any) -> bool:
    if not isinstance(value, list) or len(value) < 4:
        return False
    return value[0] == value[-1] and all(map(_is_position, value))


def _is_position(value: Any) -> bool:
    return isinstance(value, list) and len(value) >= 2 and all(map(_is_number, value))


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return math.isfinite(value)
