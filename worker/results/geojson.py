"""Writes features.geojson in QuPath's dialect, feature by feature.

QuPath 0.6 (`QuPathTypeAdapters.java`) expects a UUID as `id`, `objectType` inside `properties`, a
classification with both name and colour, and colours as three integers.
"""

import json
import uuid
from collections.abc import Iterator
from itertools import islice
from typing import Any, BinaryIO

from broker.orders.algorithm_card import ClassCard
from worker.results.json_text import numbers_json, strict_json
from worker.results.polygons import Ring, rings
from worker.results.result import Result

BATCH = 512
"""Features that are written at a time."""


def write(result: Result, file: BinaryIO) -> int:
    """Write all objects of the scan; return how many were left out as their outline has no area.

    Coordinates are level-0 pixels of the full canvas, as the member `frame` states. QuPath crops a
    slide that has bounds (MRXS and some others) unless it is opened with `--no-crop`; only then
    must `frame.bounds_offset` be subtracted.

    Raises ValueError where a coordinate, score or probability is not finite.
    """
    header = strict_json(_header(result))[1:-1]
    file.write(b'{"type":"FeatureCollection",' + header + b',"features":[')
    written = 0
    separator = b"\n"
    features = _features(result)
    while batch := list(islice(features, BATCH)):
        file.write(separator + ",\n".join(batch).encode("ascii"))
        separator = b",\n"
        written += len(batch)
    left_out = len(result.findings.objects) - written
    file.write(b'\n],"left_out":%d}\n' % left_out)
    return left_out


def rgb(color: str) -> tuple[int, int, int]:
    """Return red, green and blue, 0 to 255 each, of `#rrggbb`."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _header(result: Result) -> dict[str, Any]:
    """Return the members that stand before the features."""
    card = result.card
    return {
        "algorithm": {"name": card.name, "version": card.version, "digest": card.digest},
        "frame": result.findings.frame.as_dict(),
        "order": result.order_id,
        "scan": result.scan_id,
    }


def _features(result: Result) -> Iterator[str]:
    scan_uuid = uuid.uuid5(uuid.NAMESPACE_OID, f"{result.order_id}/{result.scan_id}")
    object_type = _object_type(result.card.output)
    shared = [_class_properties(entry, object_type) for entry in result.card.classes]
    names = ['"score"']
    names += [json.dumps(f"prob_{entry.name}") for entry in result.card.classes]
    for ring in rings(result.findings):
        feature_id = uuid.uuid5(scan_uuid, str(ring.number))
        yield _feature(str(feature_id), ring, shared[ring.kind], names)


def _feature(feature_id: str, ring: Ring, shared: str, names: list[str]) -> str:
    """Return one feature; it has as many measurements as the ring has values for `names`."""
    geometry = f'{{"type":"Polygon","coordinates":[{numbers_json(ring.points)}]}}'
    values = zip(names, [ring.score, *ring.probabilities], strict=False)
    measurements = ",".join(f"{name}:{round(value, 4)}" for name, value in values)
    properties = f'{{{shared},"measurements":{{{measurements}}}}}'
    return (
        f'{{"type":"Feature","id":"{feature_id}","geometry":{geometry},"properties":{properties}}}'
    )


def _object_type(output: str) -> str:
    """Return QuPath's object type for an algorithm's output.

    Nuclei are detections, which QuPath shows fast and nobody edits; the few shapes of a report are
    annotations, which people may edit.
    """
    if output == "objects":
        return "detection"
    if output == "tiles":
        return "tile"
    return "annotation"


def _class_properties(entry: ClassCard, object_type: str) -> str:
    """Return the properties that all objects of a class share, as JSON without the braces."""
    classification = {"name": entry.name, "color": rgb(entry.color)}
    properties = strict_json({"objectType": object_type, "classification": classification})
    return properties[1:-1].decode()
