"""The body of Techcyte's external results post: every scan of the order in one post.

One post ends the task, so all scans must be in it. Coordinates are level-0 pixels, x right, y down.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from broker.errors import OrderError
from broker.orders.order import ScanWarning
from worker.delivery.destinations.techcyte.reports import (
    NO_FEATURES,
    report_fields,
    report_pieces,
)
from worker.results.json_text import numbers_json, strict_json
from worker.results.polygons import simple_rings
from worker.results.result import MAX_POSTED_BYTES, FailedScan, Result
from worker.results.techcyte_rules.body import check_body, check_features

PROVIDER = "Slidelane"
FEATURES_PER_BATCH = 1024


def write(
    results: Sequence[Result],
    file: BinaryIO,
    failed: Sequence[FailedScan] = (),
    *,
    has_case_results: bool = False,
) -> None:
    """Write the whole body, checked against Techcyte's rules.

    `failed` are scans without a result; each says so in its summary, because a scan that the post
    leaves out waits at Techcyte for ever. With `has_case_results` the answer for the case, where
    there is one, is `caseResults` too.

    Raise `OrderError("parcel_invalid")` if Techcyte would reject it.
    """
    case: dict[str, Any] = {}
    if has_case_results:
        case = case_fields(results)
        check_body(strict_json({"scanResults": [], **case}))
    file.write(b'{"scanResults":[')
    for number, result in enumerate(results):
        if number:
            file.write(b",")
        if result.posted is None:
            file.writelines(_checked_pieces(result))
        else:
            file.write(_checked_entry(result, result.posted))
    for scan in failed:
        fields = _failed_fields(scan, results[0].order_id)
        check_body(strict_json({"scanResults": [fields]}))
        file.write(b"," + strict_json(fields))
    file.write(b"]")
    if case:
        file.write(b"," + strict_json(case)[1:-1])
    file.write(b"}")


def case_fields(results: Sequence[Result]) -> dict[str, Any]:
    """Return `caseResults`: the one answer for all scans; nothing where each has its own.

    Its warnings are those of all scans, for all of them are what the answer is made of.
    """
    first = results[0]
    case = first.findings.summary.get("case")
    if first.card.scope != "case" or not isinstance(case, Mapping):
        return {}
    warnings = [
        {"scan": result.scan_id, **warning.model_dump()}
        for result in results
        for warning in result.warnings
    ]
    fields = {
        "summary": _headline(first.findings.headline, _each_once(results)),
        **case,
        "warnings": warnings,
        "order_id": first.order_id,
        "algorithm": _algorithm(first),
        "ruo": first.card.ruo,
    }
    return {"caseResults": fields}


def _each_once(results: Sequence[Result]) -> list[ScanWarning]:
    """Return the warnings of all scans; one that stands with several scans stands once."""
    return list(dict.fromkeys(warning for result in results for warning in result.warnings))


def _checked_pieces(result: Result) -> Iterator[bytes]:
    """Yield the JSON of one scan in pieces, each of which is checked before."""
    scan = _without_lists(result)
    check_body(strict_json({"scanResults": [scan]}))
    yield from _scan_pieces(result, scan)


def _checked_entry(result: Result, posted: Path) -> bytes:
    """Return the scan's entry as the code of the site wrote it, once it keeps all rules.

    It must name this scan and this order, by which a lost answer is resolved.
    """
    with posted.open("rb") as content:
        entry = content.read(MAX_POSTED_BYTES + 1)
    if len(entry) > MAX_POSTED_BYTES:
        raise OrderError("parcel_invalid", f"the scan's entry has over {MAX_POSTED_BYTES} bytes")
    check_body(b'{"scanResults":[' + entry + b"]}")
    fields = json.loads(entry)
    if (fields["scanId"], fields["results"]["order_id"]) != (result.scan_id, result.order_id):
        raise OrderError("parcel_invalid", "the scan's entry is that of another scan or order")
    return entry


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
    findings = result.findings
    return {
        "summary": _headline(findings.headline, result.warnings),
        "warnings": [warning.model_dump() for warning in result.warnings],
        "order_id": result.order_id,
        "algorithm": _algorithm(result),
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
        "value": _headline(result.findings.headline, result.warnings),
    }


def _algorithm(result: Result) -> dict[str, str]:
    card = result.card
    return {"name": card.name, "version": card.version, "digest": card.digest}


def _headline(headline: str, warnings: Iterable[ScanWarning]) -> str:
    """Return the headline, after the warnings: nobody must read the figure without them."""
    parts = [f"WARNING {warning.code}: {warning.detail}." for warning in warnings]
    return " ".join([*parts, headline])
