"""Writes features.geojson and region.geojson in QuPath's dialect.

QuPath 0.6 (`QuPathTypeAdapters.java`) expects a UUID as `id`, `objectType` inside `properties`, a
classification with both name and colour, and colours as three integers. It counts detections whose
class is named `Positive` and `Negative`.
"""

import hashlib
import json
import uuid
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, BinaryIO, Final

from broker.orders.algorithm_card import ClassCard
from worker.geometry.frame import Floats
from worker.results.json_text import numbers_json, significant, strict_json
from worker.results.polygons import Ring, rings
from worker.results.result import Result

BATCH: Final = 512
"""Features that are written at a time."""
AREA: Final = "area_um2"
"""The measurement that holds the size of an outline in square microns."""


def write(result: Result, file: BinaryIO) -> int:
    """Write all objects of the scan; return how many were left out as their outline has no area.

    Raises ValueError where a coordinate, score, probability or measurement is not finite.
    """
    writer = FeatureWriter(result, file)
    found = rings(result.findings)
    while batch := list(islice(found, BATCH)):
        writer.add(batch)
    return writer.end()


class FeatureWriter:
    """Writes a collection of features, batch by batch.

    Coordinates are level-0 pixels of the full canvas, as the member `frame` states. QuPath crops a
    slide that has bounds (MRXS and some others) unless it is opened with `--no-crop`; only then
    must `frame.bounds_offset` be subtracted.
    """

    def __init__(self, result: Result, file: BinaryIO) -> None:
        card = result.card
        object_type = _object_type(card.output)
        self._file = file
        self._objects = len(result.findings.objects)
        self._written = 0
        self._ids = ObjectIds(result)
        self._has_classes = bool(card.object_classes)
        self._shared = [_class_properties(entry, object_type) for entry in card.object_classes]
        if not self._has_classes:
            self._shared = [f'"objectType":"{object_type}"']
        self._probabilities = [json.dumps(f"prob_{entry.name}") for entry in card.classes]
        self._measurements = [json.dumps(name) for name in card.measurements]
        self._um2_per_px2 = None
        if object_type != "tile":
            self._um2_per_px2 = um2_per_px2(result)
        header = strict_json(_header(result))[1:-1]
        file.write(b'{"type":"FeatureCollection",' + header + b',"features":[')

    def add(self, batch: Sequence[Ring]) -> None:
        """Write a feature for each ring. The batch must not be empty."""
        separator = b",\n"
        if not self._written:
            separator = b"\n"
        features = ",\n".join([self._feature(ring) for ring in batch])
        self._file.write(separator + features.encode("ascii"))
        self._written += len(batch)

    def end(self) -> int:
        """Write the end of the file; return how many objects of the scan have no feature."""
        left_out = self._objects - self._written
        self._file.write(b'\n],"left_out":%d}\n' % left_out)
        return left_out

    def _feature(self, ring: Ring) -> str:
        rings = numbers_json(ring.points)
        if ring.holes:
            rings = ",".join([rings, *map(numbers_json, ring.holes)])
        geometry = f'{{"type":"Polygon","coordinates":[{rings}]}}'
        if not self._has_classes:
            return self._unclassified(ring, geometry)
        measurements = f'"score":{round(ring.score, 4)}'
        for name, value in zip(self._probabilities, ring.probabilities, strict=False):
            measurements += f",{name}:{round(value, 4)}"
        for name, value in zip(self._measurements, ring.measurements, strict=False):
            measurements += f",{name}:{round(value, 4)}"
        if self._um2_per_px2 is not None:
            measurements += f',"{AREA}":{round(ring.area_px2 * self._um2_per_px2, 2)}'
        properties = f'{{{self._shared[ring.kind]},"measurements":{{{measurements}}}}}'
        return (
            f'{{"type":"Feature","id":"{self._ids.of(ring.number)}",'
            f'"geometry":{geometry},"properties":{properties}}}'
        )

    def _unclassified(self, ring: Ring, geometry: str) -> str:
        """Return the feature of an object without class and score, such as a tile with a vector."""
        pairs = zip(self._measurements, ring.measurements, strict=True)
        measurements = ",".join([f"{name}:{significant(value)}" for name, value in pairs])
        properties = f'{{{self._shared[0]},"measurements":{{{measurements}}}}}'
        return (
            f'{{"type":"Feature","id":"{self._ids.of(ring.number)}",'
            f'"geometry":{geometry},"properties":{properties}}}'
        )


class ObjectIds:
    """The UUIDs of a scan's objects; the same scan of the same order has the same ones."""

    def __init__(self, result: Result) -> None:
        scan = uuid.uuid5(uuid.NAMESPACE_OID, f"{result.order_id}/{result.scan_id}")
        self._scan = hashlib.sha1(scan.bytes, usedforsecurity=False)

    def of(self, name: object) -> str:
        """Return the object's UUID of version 5 (RFC 9562), which `uuid.uuid5` makes slowly."""
        digest = self._scan.copy()
        digest.update(str(name).encode())
        text = digest.hexdigest()
        variant = "89ab"[int(text[16], 16) & 3]
        return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"


def region(result: Result, polygons: Iterable[Sequence[Floats]]) -> bytes:
    """Return region.geojson: the area of the result as one locked annotation.

    Each polygon is a list of closed rings, (N, 2) each in level-0 pixels: its border, then its
    holes. The figures of the summary are the annotation's measurements.
    """
    coordinates = [[ring.round(1).tolist() for ring in polygon] for polygon in polygons]
    geometry: dict[str, Any] = {"type": "MultiPolygon", "coordinates": coordinates}
    if len(coordinates) == 1:
        geometry = {"type": "Polygon", "coordinates": coordinates[0]}
    properties = {
        "objectType": "annotation",
        "name": result.card.title,
        "isLocked": True,
        "measurements": _figures(result.findings.summary),
    }
    feature = {
        "type": "Feature",
        "id": ObjectIds(result).of("region"),
        "geometry": geometry,
        "properties": properties,
    }
    collection = {"type": "FeatureCollection", **_header(result), "features": [feature]}
    return strict_json(collection) + b"\n"


def um2_per_px2(result: Result) -> float | None:
    """Return the square microns of a level-0 pixel, or None where its size is not known."""
    frame = result.findings.frame
    if frame.mpp_x is None or frame.mpp_y is None:
        return None
    return frame.mpp_x * frame.mpp_y


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
        "warnings": [warning.model_dump() for warning in result.warnings],
    }


def _figures(summary: dict[str, Any]) -> dict[str, float]:
    """Return the summary's members that are numbers."""
    return {
        name: value
        for name, value in summary.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _object_type(output: str) -> str:
    """Return QuPath's object type for an algorithm's output.

    Nuclei are detections, which QuPath shows fast and nobody edits; the few shapes of a report are
    annotations, which people may edit.
    """
    if output == "objects":
        return "detection"
    if output in ("tiles", "embeddings", "slide"):
        return "tile"
    return "annotation"


def _class_properties(entry: ClassCard, object_type: str) -> str:
    """Return the properties that all objects of a class share, as JSON without the braces."""
    classification = {"name": entry.label, "color": rgb(entry.color)}
    properties = strict_json({"objectType": object_type, "classification": classification})
    return properties[1:-1].decode()
