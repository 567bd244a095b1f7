"""The body of Techcyte's external results post: every scan of the order in one post.

One post ends the task, so all scans must be in it. Coordinates are level-0 pixels, x right, y down.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, BinaryIO

from worker.delivery.destinations.techcyte.posted import is_posted, write_posted
from worker.delivery.destinations.techcyte.reports import (
    NO_FEATURES,
    report_fields,
    report_pieces,
)
from worker.results.json_text import numbers_json, strict_json
from worker.results.polygons import simple_rings
from worker.results.result import FailedScan, Result
from worker.results.techcyte_rules.body import check_body, check_features

PROVIDER = "Slidelane"
FEATURES_PER_BATCH = 1024


def write(results: Sequence[Result], file: BinaryIO, failed: Sequence[FailedScan] = ()) -> None:
    """Write the whole body, checked against Techcyte's rules.

    `failed` are scans without a result; each says so in its summary, because a scan that the post
    leaves out waits at Techcyte for ever.

    Raise `OrderError("parcel_invalid")` if Techcyte would reject it.
    """
    without_result = [_failed_fields(scan, results[0].order_id) for scan in failed]
    if is_posted(results):
        write_posted(results, without_result, file)
        return
    scans = [_without_lists(result) for result in results]
    check_body(strict_json({"scanResults": scans + without_result}))
    file.write(b'{"scanResults":[')
    for number, (result, scan) in enumerate(zip(results, scans, strict=True)):
        if number:
            file.write(b",")
        file.writelines(_scan_pieces(result, scan))
    for fields in without_result:
        file.write(b"," + strict_json(fields))
    file.write(b"]}")


def _failed_fields(scan: FailedScan, order_id: str) -> dict[str, Any]:
    """Return a scan without a result: why it has none, and no objects and no report."""
    results = {"summary": scan.summary, "order_id": order_id, "error": scan.code}
    return {"scanId": scan.id, "results": results}


def _without_lists(result: Result) -> dict[str, Any]:
    """Return the scan without what is checked while it is written: objects, points and boxes."""
    workflow = {**_workflow(result), "report": report_fields(result)}
    return {**_scan_fields(result), "workflow": workflow, "geojson": NO_FEATURES}


def _scan_pieces(result: Result, scan: dict[str, Any]) -> Iterator[bytes]:
    """Yield the JSON of one scan in pieces, its objects first.

    `scan` is what `_without_lists` returned for it.
    """
    yield b'{"geojson":{"type":"FeatureCollection","features":['
    for number, batch in enumerate(_checked_batches(result)):
        if number:
            yield b","
        yield batch
    yield b']},"workflow":{"report":'
    yield from report_pieces(result, scan["workflow"]["report"])
    yield b"," + strict_json(_without(scan["workflow"], "report"))[1:]
    yield b"," + strict_json(_without(scan, "geojson", "workflow"))[1:]


def _without(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


def _checked_batches(result: Result) -> Iterator[bytes]:
    """Yield the features in checked batches.

    All features of a slide as Python objects would take gigabytes.
    """
    features = _features(result)
    while batch := ",".join(islice(features, FEATURES_PER_BATCH)).encode("ascii"):
        check_features(batch)
        yield batch


def _scan_fields(result: Result) -> dict[str, Any]:
    """Return everything of a scan but its objects and its workflow."""
    return {"scanId": result.scan_id, "results": _results(result)}


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
    """Return everything of the workflow but its report."""
    return {
        "model_name": result.card.name,
        "provider": PROVIDER,
        "ruo": result.card.ruo,
        "key": result.card.title,
        "value": _headline(result),
    }


def _headline(result: Result) -> str:
    """Return the headline, after the warnings: nobody must read the figure without them."""
    parts = [f"WARNING {warning.code}: {warning.detail}." for warning in result.warnings]
    return " ".join([*parts, result.findings.headline])
