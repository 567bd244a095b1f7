"""The body of Techcyte's external results post: every scan of the order in one post.

One post ends the task, so all scans must be in it. Coordinates are level-0 pixels, x right, y down.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, BinaryIO

from broker.orders.order import ScanWarning
from worker.delivery.destinations.techcyte.schema import check_body, check_features
from worker.results.json_text import numbers_json, strict_json
from worker.results.polygons import simple_rings
from worker.results.result import Result

PROVIDER = "Slidelane"
FEATURES_PER_BATCH = 1024
NO_FEATURES = {"type": "FeatureCollection", "features": []}


def write(results: Sequence[Result], file: BinaryIO) -> None:
    """Write the whole body, checked against Techcyte's rules.

    Raise `OrderError("parcel_invalid")` if Techcyte would reject it.
    """
    scans = [_scan_fields(result) for result in results]
    check_body(strict_json({"scanResults": [{**scan, "geojson": NO_FEATURES} for scan in scans]}))
    file.write(b'{"scanResults":[')
    for number, (result, fields) in enumerate(zip(results, scans, strict=True)):
        if number:
            file.write(b",")
        file.writelines(_scan_pieces(result, fields))
    file.write(b"]}")


def _scan_pieces(result: Result, fields: dict[str, Any]) -> Iterator[bytes]:
    """Yield the JSON of one scan in pieces, its objects first."""
    yield b'{"geojson":{"type":"FeatureCollection","features":['
    for number, batch in enumerate(_checked_batches(result)):
        if number:
            yield b","
        yield batch
    yield b"]}," + strict_json(fields)[1:]


def _checked_batches(result: Result) -> Iterator[bytes]:
    """Yield the features in checked batches.

    All features of a slide as Python objects would take gigabytes.
    """
    features = _features(result)
    while batch := ",".join(islice(features, FEATURES_PER_BATCH)).encode("ascii"):
        check_features(batch)
        yield batch


def _scan_fields(result: Result) -> dict[str, Any]:
    """Return everything of a scan but its objects."""
    return {"scanId": result.scan_id, "results": _results(result), "workflow": _workflow(result)}


def _features(result: Result) -> Iterator[str]:
    """Yield each object as the JSON text of a GeoJSON feature.

    Objects without a class are not sent: a feature needs an `annotation_type`.
    """
    if not result.card.object_classes:
        return
    properties = [
        strict_json({"annotation_type": entry.annotation_type}).decode()
        for entry in result.card.object_classes
    ]
    for ring in simple_rings(result.findings):
        bbox = numbers_json(ring.bbox)
        geometry = f'{{"type":"Polygon","coordinates":[{numbers_json(ring.points)}]}}'
        shared = properties[ring.kind]
        yield f'{{"type":"Feature","bbox":{bbox},"geometry":{geometry},"properties":{shared}}}'


def _results(result: Result) -> dict[str, Any]:
    """Return what the case shows and `case_evaluations` gives back.

    `order_id` is how a lost answer is resolved.
    """
    card = result.card
    findings = result.findings
    return {
        "summary": _headline(result),
        "warnings": [warning.model_dump() for warning in result.warnings],
        "order_id": result.order_id,
        "algorithm": {"name": card.name, "version": card.version, "digest": card.digest},
        "parameters": result.parameters,
        "frame": findings.frame.as_dict(),
        "measurements": findings.summary,
        "provenance": result.provenance,
    }


def _workflow(result: Result) -> dict[str, Any]:
    return {
        "model_name": result.card.name,
        "provider": PROVIDER,
        "ruo": result.card.ruo,
        "key": result.card.title,
        "value": _headline(result),
        "report": {
            "type": "Basic",
            "results": [
                *_warning_lines(result.warnings),
                *_report_lines(result.findings.summary),
            ],
            "segments": _segments(result),
        },
    }


def _headline(result: Result) -> str:
    """Return the headline, after the warnings: nobody must read the figure without them."""
    parts = [f"WARNING {warning.code}: {warning.detail}." for warning in result.warnings]
    return " ".join([*parts, result.findings.headline])


def _warning_lines(warnings: Sequence[ScanWarning]) -> Iterator[dict[str, str]]:
    for warning in warnings:
        yield {"name": f"Warning {warning.code}", "result": warning.detail}


def _report_lines(summary: Mapping[str, Any], prefix: str = "") -> Iterator[dict[str, str]]:
    """Yield one named line for each value; nested fields are named after all keys above them."""
    for key, value in summary.items():
        name = f"{prefix} {key}".replace("_", " ").strip()
        if isinstance(value, Mapping):
            yield from _report_lines(value, name)
        else:
            yield {"name": name[:1].upper() + name[1:], "result": _text(value)}


def _text(value: Any) -> str:
    """Return a measurement as the string that Techcyte requires."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str):
        return value
    if value is None:
        return "not available"
    return json.dumps(value)


def _segments(result: Result) -> list[dict[str, Any]]:
    return [
        {"name": name, "result": str(count), "feature_collection": NO_FEATURES}
        for name, count in result.counts().items()
    ]
