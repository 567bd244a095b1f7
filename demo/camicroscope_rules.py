"""Checks documents as caMicroscope 3 reads them: its server takes nearly anything, its viewer not.

Shares no code with the worker's writer of the format, so that both cannot make the same mistake.
"""

import json
import math
import re
from typing import Any

MAX_DOCUMENT_BYTES = 16 * 2**20
_COLOR = re.compile(r"#[0-9a-f]{6}")


def check_document(collection: str, document: Any) -> None:
    """Raise `ValueError` with the rule that a document breaks."""
    if len(json.dumps(document)) > MAX_DOCUMENT_BYTES:
        raise ValueError("a document is larger than MongoDB stores")
    if collection == "Heatmap":
        _check_heat_map(document)
    else:
        _check_mark(document)


def names(document: Any) -> tuple[str, str]:
    """Return slide and execution id, which are all that the server's validator looks at.

    Raise `ValueError` where one is missing.
    """
    try:
        slide = document["provenance"]["image"]["slide"]
        execution_id = document["provenance"]["analysis"]["execution_id"]
    except (LookupError, TypeError):
        raise ValueError("provenance lacks image.slide or analysis.execution_id") from None
    if not isinstance(slide, str) or not isinstance(execution_id, str):
        raise ValueError("slide and execution_id must be text")  # noqa: TRY004 - the text is wrong
    return slide, execution_id


def _check_mark(mark: dict[str, Any]) -> None:
    analysis = mark["provenance"]["analysis"]
    if analysis.get("source") != "computer" or analysis.get("computation") != "segmentation":
        raise ValueError("analysis: the segment layer shows computer segmentations")
    for name in ("x", "y", "footprint"):
        _number(mark.get(name), name)
    if mark["footprint"] <= 0:
        raise ValueError("footprint: the layer asks for what is larger than 0")
    feature = mark["geometries"]["features"][0]
    style = feature.get("properties", {}).get("style")
    if not isinstance(style, dict) or not _COLOR.fullmatch(str(style.get("color"))):
        raise ValueError("style: one mark without it leaves the whole layer empty")
    if len(mark["geometries"]["features"]) != 1:
        raise ValueError("features: only the first one is drawn")
    ring = _ring(feature["geometry"])
    xs = [x for x, _ in ring]
    ys = [y for _, y in ring]
    if mark["bbox"] != [min(xs), min(ys), max(xs), max(ys)]:
        raise ValueError("bbox: it is not that of the ring")
    if not (min(xs) <= mark["x"] <= max(xs) and min(ys) <= mark["y"] <= max(ys)):
        raise ValueError("x, y: outside the mark")
    _ring(feature["bound"])


def _ring(geometry: dict[str, Any]) -> list[tuple[float, float]]:
    """Return the only ring of a polygon: closed, in shares of the slide."""
    if geometry.get("type") != "Polygon" or len(geometry["coordinates"]) != 1:
        raise ValueError("geometry: one polygon of one ring is drawn")
    points = [(_share(x), _share(y)) for x, y in geometry["coordinates"][0]]
    if len(points) < 4 or points[0] != points[-1]:
        raise ValueError("ring: it is drawn up to its last point but one, so it must be closed")
    return points


def _check_heat_map(document: dict[str, Any]) -> None:
    analysis = document["provenance"]["analysis"]
    if analysis.get("computation") != "heatmap":
        raise ValueError("computation must be heatmap")
    width, height = analysis["size"]
    if _share(width) <= 0 or _share(height) <= 0:
        raise ValueError("size: the width and height of a tile")
    fields = [field["name"] for field in analysis["fields"]]
    if not fields or len(set(fields)) < len(fields) or analysis["setting"]["field"] not in fields:
        raise ValueError("fields: names that differ, and setting.field is one of them")
    for row in document["data"]:
        if len(row) != 2 + len(fields):
            raise ValueError(f"data: a row needs x, y and {len(fields)} values")
        for value in row:
            _share(value)
    if not document["data"]:
        raise ValueError("data: there is no tile")


def _share(value: Any) -> float:
    number = _number(value, "coordinate")
    if not 0 <= number <= 1:
        raise ValueError(f"{number} is no share of the slide")
    return number


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a number: a query never finds text")
    return value
