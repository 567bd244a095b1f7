"""The body of Techcyte's external results post: every scan of the order, in one post, because it ends the task.

It knows no address and no token. Coordinates are level-0 pixels, x right, y down.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, BinaryIO

from worker.delivery.destinations.techcyte.schema import check, check_features
from worker.results.json_text import numbers_json, strict_json
from worker.results.polygons import rings
from worker.results.result import Result

PROVIDER = "Slidelane"
BATCH = 1024
EMPTY = {"type": "FeatureCollection", "features": []}


def write(results: Sequence[Result], file: BinaryIO) -> None:
    """The whole post, checked against Techcyte's rules. Raises `OrderError("parcel_invalid")`."""
    scans = [_about(result) for result in results]
    check(strict_json({"scanResults": [{**scan, "geojson": EMPTY} for scan in scans]}))
    file.write(b'{"scanResults":[')
    for number, (result, about) in enumerate(zip(results, scans, strict=True)):
        file.write(b"," if number else b"")
        file.writelines(_scan(result, about))
    file.write(b"]}")


def _scan(result: Result, about: dict[str, Any]) -> Iterator[bytes]:
    yield b'{"geojson":{"type":"FeatureCollection","features":['
    for number, batch in enumerate(_checked_batches(result)):
        yield b"," + batch if number else batch
    yield b"]}," + strict_json(about)[1:]


def _checked_batches(result: Result) -> Iterator[bytes]:
    """The features, checked as text, some at a time: all of a slide as Python objects would be gigabytes."""
    features = _features(result)
    while batch := ",".join(islice(features, BATCH)).encode("ascii"):
        check_features(batch)
        yield batch


def _about(result: Result) -> dict[str, Any]:
    """Everything of a scan but its objects."""
    return {"scanId": result.scan_id, "results": _results(result), "workflow": _workflow(result)}


def _features(result: Result) -> Iterator[str]:
    properties = [
        strict_json({"annotation_type": c.annotation_type}).decode() for c in result.card.classes
    ]
    for ring in rings(result.findings):
        bbox, shared = numbers_json(ring.bbox), properties[ring.kind]
        geometry = f'{{"type":"Polygon","coordinates":[{numbers_json(ring.points)}]}}'
        yield f'{{"type":"Feature","bbox":{bbox},"geometry":{geometry},"properties":{shared}}}'


def _results(result: Result) -> dict[str, Any]:
    """What the case shows and `case_evaluations` gives back: `order_id` is how a lost answer is cleared up."""
    card, findings = result.card, result.findings
    return {
        "summary": findings.headline,
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
        "value": result.findings.headline,
        "report": {
            "type": "Basic",
            "results": list(_lines(result.findings.summary)),
            "segments": _segments(result),
        },
    }


def _lines(summary: Mapping[str, Any], above: str = "") -> Iterator[dict[str, str]]:
    for key, value in summary.items():
        name = f"{above} {key}".replace("_", " ").strip()
        if isinstance(value, Mapping):
            yield from _lines(value, name)
        else:
            yield {"name": name[:1].upper() + name[1:], "result": _text(value)}


def _text(value: Any) -> str:
    """A measurement as Techcyte wants it, a string."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return (
        value if isinstance(value, str) else "not available" if value is None else json.dumps(value)
    )


def _segments(result: Result) -> list[dict[str, Any]]:
    return [
        {"name": n, "result": str(count), "feature_collection": EMPTY}
        for n, count in result.counts().items()
    ]
