"""GeoJSON in QuPath's dialect, written feature by feature. It knows no receiver: Techcyte's dialect is another file.

QuPath 0.6 (`QuPathTypeAdapters.java`) wants a UUID as `id`, `objectType` inside `properties`, a classification with
both name and colour, and colours as three integers.
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


def write(result: Result, file: BinaryIO) -> int:
    """Write all objects of the scan; returns how many were left out because their outline has no area.

    Coordinates are level-0 pixels of the full canvas, as the member `frame` says. QuPath crops a slide that has bounds
    (MRXS and some others) unless it is opened with `--no-crop`; only there, take `frame.bounds_offset` off.
    """
    file.write(
        b'{"type":"FeatureCollection",' + strict_json(_about(result))[1:-1] + b',"features":['
    )
    written = 0
    features = _features(result)
    while batch := list(islice(features, BATCH)):
        file.write((",\n" if written else "\n").encode() + ",\n".join(batch).encode("ascii"))
        written += len(batch)
    left_out = len(result.findings.objects) - written
    file.write(b'\n],"left_out":%d}\n' % left_out)
    return left_out


def rgb(color: str) -> tuple[int, int, int]:
    """Red, green, blue 0..255 of `#rrggbb`."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _about(result: Result) -> dict[str, Any]:
    card = result.card
    return {
        "algorithm": {"name": card.name, "version": card.version, "digest": card.digest},
        "frame": result.findings.frame.as_dict(),
        "order": result.order_id,
        "scan": result.scan_id,
    }


def _features(result: Result) -> Iterator[str]:
    scan = uuid.uuid5(uuid.NAMESPACE_OID, f"{result.order_id}/{result.scan_id}")
    names = [json.dumps(f"prob_{entry.name}") for entry in result.card.classes]
    shared = [_shared(entry, _object_type(result)) for entry in result.card.classes]
    for ring in rings(result.findings):
        yield _feature(str(uuid.uuid5(scan, str(ring.number))), ring, shared[ring.kind], names)


def _feature(identity: str, ring: Ring, shared: str, names: list[str]) -> str:
    geometry = f'{{"type":"Polygon","coordinates":[{numbers_json(ring.points)}]}}'
    measured = zip(['"score"', *names], [ring.score, *ring.probabilities], strict=False)
    told = ",".join(f"{name}:{round(value, 4)}" for name, value in measured)
    properties = f'{{{shared},"measurements":{{{told}}}}}'
    return f'{{"type":"Feature","id":"{identity}","geometry":{geometry},"properties":{properties}}}'


def _object_type(result: Result) -> str:
    """Nuclei are detections, fast and fixed; the few shapes of a report are annotations, which people may edit."""
    return {"objects": "detection", "tiles": "tile"}.get(result.card.output, "annotation")


def _shared(entry: ClassCard, object_type: str) -> str:
    """The properties that all objects of a class have in common, without the braces."""
    classification = {"name": entry.name, "color": rgb(entry.color)}
    return strict_json({"objectType": object_type, "classification": classification})[1:-1].decode()
